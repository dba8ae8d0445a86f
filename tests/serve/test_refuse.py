"""How a connection is told no, by what is spoken on it by then; and that its record says the same."""

import pytest

from gateway.model.decision import Deny
from gateway.model.errors import DownstreamError, GatewayError, InternalError, Refused, UpstreamError
from gateway.model.reasons import Reason
from gateway.serve.refuse import refuse, turn_away
from gateway.wire.alerts import ACCESS_DENIED, DECODE_ERROR, NO_APPLICATION_PROTOCOL
from tests.helpers.walk import FakeDialer, KeepingRecorder, build_services
from tests.policy.builders import address, build
from tests.telemetry.drafts import accepted

HELLO, REQUEST = b"\x16\x03\x01", b"GET / HTTP/1.1\r\n"
ABORTED = "aborted"


class Told:
    """Fulfils `roles.ByteStream`: holds what the client said first, and keeps what is said to it."""

    was_reset = False

    def __init__(self, held: bytes = b"") -> None:
        self._held = held
        self.said: list[bytes | str] = []

    def peek(self) -> bytes:
        return self._held

    def consume(self, size: int) -> None:
        self._held = self._held[size:]

    async def more(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        self.said.append(data)

    async def aclose(self) -> None:
        self.said.append("closed")

    def abort(self) -> None:
        self.said.append(ABORTED)


def denied() -> GatewayError:
    return Refused(Deny(Reason.NO_RULE, 1))


@pytest.mark.parametrize("captured", [True, False], ids=["captured", "after the 200"])
@pytest.mark.parametrize(
    ("error", "held", "said"),
    [
        (denied(), HELLO, [ACCESS_DENIED]),
        (denied(), REQUEST, [ABORTED]),
        (denied(), b"", [ABORTED]),
        (DownstreamError(Reason.MALFORMED_CLIENT_HELLO), HELLO, [DECODE_ERROR]),
        (DownstreamError(Reason.CLIENT_HELLO_TOO_LARGE), HELLO, [DECODE_ERROR]),
        (DownstreamError(Reason.ALPN_UNSUPPORTED), HELLO, [NO_APPLICATION_PROTOCOL]),
        (DownstreamError(Reason.TLS_HANDSHAKE_FAILED), HELLO, []),
        (DownstreamError(Reason.CLIENT_CLOSED), HELLO, []),
        (UpstreamError(Reason.CONNECTION_REFUSED), HELLO, [ABORTED]),
        (InternalError(Reason.INTERNAL_ERROR), HELLO, [ABORTED]),
    ],
)
async def test_where_no_http_is_spoken_a_client_gets_an_alert_or_a_reset(
    error: GatewayError, held: bytes, said: list[bytes | str], captured: bool
) -> None:
    downstream, draft = Told(held), accepted()
    if captured:
        draft.original = (address("203.0.113.66"), 443)
    else:
        draft.status = 200
    services = build_services(build(), FakeDialer(), KeepingRecorder())
    assert refuse(error, None, downstream, draft, services) is False
    assert downstream.said == said
    assert (draft.reason, draft.status) == (error.reason, None if captured else 200)


@pytest.mark.parametrize(
    ("error", "held", "said"),
    [
        (DownstreamError(Reason.CLIENT_CLOSED), b"", []),
        (DownstreamError(Reason.TLS_HANDSHAKE_TIMEOUT), HELLO, [ABORTED]),
        (DownstreamError(Reason.TLS_HANDSHAKE_FAILED), HELLO, []),
        (DownstreamError(Reason.CLIENT_CERTIFICATE_MISSING), HELLO, []),
        (DownstreamError(Reason.PROXY_HEADER_MISSING), HELLO, [ACCESS_DENIED]),
    ],
)
async def test_before_tls_stands_as_it_should_nobody_reads_an_answer(
    error: GatewayError, held: bytes, said: list[bytes | str]
) -> None:
    downstream, draft = Told(held), accepted()
    services = build_services(build(), FakeDialer(), KeepingRecorder())
    assert refuse(error, None, downstream, draft, services) is False
    assert (downstream.said, draft.reason, draft.status) == (said, error.reason, None)


@pytest.mark.parametrize(
    ("error", "held", "status"),
    [
        (denied(), REQUEST, 403),
        (DownstreamError(Reason.PROXY_HEADER_MISSING), REQUEST, 400),
        (DownstreamError(Reason.PROXY_HEADER_REFUSED), HELLO, 403),
        (UpstreamError(Reason.CONNECTION_REFUSED), REQUEST, 502),
    ],
)
async def test_before_the_200_a_client_is_told_in_http(error: GatewayError, held: bytes, status: int) -> None:
    downstream, draft = Told(held), accepted()
    services = build_services(build(), FakeDialer(), KeepingRecorder())
    assert refuse(error, None, downstream, draft, services) is False
    [answer] = downstream.said
    assert isinstance(answer, bytes)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert (draft.reason, draft.status) == (error.reason, status)


async def test_who_is_turned_away_is_told_and_recorded_and_nothing_is_read() -> None:
    recorder, downstream, draft = KeepingRecorder(), Told(REQUEST), accepted()
    await turn_away(Reason.DRAINING, downstream, draft, build_services(build(), FakeDialer(), recorder))
    answer, closed = downstream.said
    assert isinstance(answer, bytes)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert (closed, downstream.peek()) == ("closed", REQUEST)
    assert recorder.drafts == [draft]
    assert (draft.reason, draft.status) == (Reason.DRAINING, 503)
