"""What an alert of a destination's is taken for."""

import pytest

from gateway.model.reasons import Reason
from gateway.net.tls.alerts import refused_with


@pytest.mark.parametrize(
    ("alert", "shows", "reason"),
    [
        ("certificate required", True, Reason.UPSTREAM_WANTS_CERTIFICATE),
        ("certificate required", False, Reason.UPSTREAM_WANTS_CERTIFICATE),
        ("bad certificate", False, Reason.UPSTREAM_WANTS_CERTIFICATE),
        ("bad certificate", True, Reason.UPSTREAM_TLS_ALERT),
        ("unknown ca", True, Reason.UPSTREAM_TLS_ALERT),
        ("handshake failure", False, Reason.UPSTREAM_TLS_ALERT),
    ],
)
def test_a_destination_that_wants_a_certificate_is_told_from_one_that_wants_another(
    alert: str, shows: bool, reason: Reason
) -> None:
    error = refused_with(alert, shows)
    assert (error.reason, error.detail) == (reason, alert)
