"""What is offered to a destination for what a client offers."""

import pytest

from gateway.intercept.handshakes import alpn_for_client, alpn_for_destination, left_without_request
from gateway.model.errors import DownstreamError
from gateway.model.reasons import Reason


@pytest.mark.parametrize(
    ("offered", "passed_on"),
    [
        ((), ()),
        (("http/1.1",), ("http/1.1",)),
        (("h2", "http/1.1"), ("h2", "http/1.1")),
        (("h2",), ("h2", "http/1.1")),
        (("x", "http/1.1"), ("http/1.1",)),
    ],
)
def test_what_is_inspected_is_offered_for_those_that_offer_it(
    offered: tuple[str, ...], passed_on: tuple[str, ...]
) -> None:
    assert alpn_for_destination(offered) == passed_on


@pytest.mark.parametrize("offered", [("h3",), ("h2c", "h3"), ("http/1.0",)])
def test_what_is_not_inspected_alone_is_refused(offered: tuple[str, ...]) -> None:
    with pytest.raises(DownstreamError) as refusal:
        alpn_for_destination(offered)
    assert refusal.value.reason is Reason.ALPN_UNSUPPORTED


@pytest.mark.parametrize(
    ("offered", "taken", "seen"),
    [
        (("h2", "http/1.1"), "h2", ("h2",)),
        (("h2", "http/1.1"), "http/1.1", ("http/1.1",)),
        (("h2", "http/1.1"), None, ()),
        (("h2",), "http/1.1", ("h2",)),
        (("h2",), None, ("h2",)),
        (("http/1.1",), None, ()),
        ((), None, ()),
    ],
)
def test_the_client_is_offered_what_the_destination_took_if_it_knows_that(
    offered: tuple[str, ...], taken: str | None, seen: tuple[str, ...]
) -> None:
    assert alpn_for_client(offered, taken) == seen


@pytest.mark.parametrize(
    ("alert", "seconds", "reason"),
    [
        ("unknown ca", 9.0, Reason.CLIENT_REJECTED_CERTIFICATE),
        ("bad record mac", 0.1, Reason.DOWNSTREAM_RESET),
        (None, 0.1, Reason.CLIENT_REJECTED_CERTIFICATE),
        (None, 9.0, None),
    ],
)
def test_an_alert_after_the_handshake_says_why_a_client_left(
    alert: str | None, seconds: float, reason: Reason | None
) -> None:
    why = left_without_request(alert, seconds)
    assert (None if why is None else why.reason) == reason
    assert alert is None or (why is not None and alert in why.detail)
