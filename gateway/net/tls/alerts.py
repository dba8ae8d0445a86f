"""What an alert means with which a destination ends TLS: in the handshake or, over a certificate of ours in TLS 1.3,
right after it (RFC 8446 sections 4.4.2.4 and 6.2).
"""

from gateway.model.errors import UpstreamError
from gateway.model.reasons import Reason

_CERTIFICATE_REQUIRED = "certificate required"
_BAD_CERTIFICATE = "bad certificate"  # also for a missing one: in TLS 1.2, and by many servers of TLS 1.3


def refused_with(alert: str, presented: bool) -> UpstreamError:
    """`alert` is OpenSSL's name for it. `presented`: we showed a certificate, which may be what it does not accept."""
    if alert == _CERTIFICATE_REQUIRED or (alert == _BAD_CERTIFICATE and not presented):
        return UpstreamError(Reason.UPSTREAM_WANTS_CERTIFICATE, alert)
    return UpstreamError(Reason.UPSTREAM_TLS_ALERT, alert)
