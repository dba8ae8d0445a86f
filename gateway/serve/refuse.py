"""How a connection is refused: in HTTP before the tunnel stands, with a TLS alert or a reset after the 200."""

from gateway.model.errors import DownstreamError, GatewayError, InternalError, UpstreamError
from gateway.model.reasons import Reason
from gateway.model.record import Draft
from gateway.model.recording.noting import ABOUT_CERTIFICATES, WRONG_CREDENTIALS, note
from gateway.model.roles import ByteStream
from gateway.serve.services import Services
from gateway.wire.alerts import ACCESS_DENIED, DECODE_ERROR, NO_APPLICATION_PROTOCOL
from gateway.wire.client_hello import HANDSHAKE
from gateway.wire.head import RequestHead
from gateway.wire.replies import may_follow, reply, status_of

_TOLD_BY_TLS = ABOUT_CERTIFICATES | {Reason.TLS_HANDSHAKE_FAILED, Reason.CLIENT_REJECTED_CERTIFICATE}
_ALERTS = {
    Reason.MALFORMED_CLIENT_HELLO: DECODE_ERROR,
    Reason.CLIENT_HELLO_TOO_LARGE: DECODE_ERROR,
    Reason.ALPN_UNSUPPORTED: NO_APPLICATION_PROTOCOL,
}
_TLS_HANDSHAKE = bytes([HANDSHAKE])


def refuse(
    error: GatewayError,
    head: RequestHead | None,
    downstream: ByteStream,
    draft: Draft,
    services: Services,
    is_last: bool = False,
) -> bool:
    """Answer in the protocol that is spoken by now, and note why. True: another request may follow; it may not, and the
    client is told so, if this answer `is_last`."""
    note(error, draft)
    if error.reason is Reason.CLIENT_CLOSED:
        return False
    if draft.status is not None or draft.original is not None:
        _break_off(error, downstream)
        return False
    if _refused_below_http(error.reason, downstream):
        return False
    draft.status = status_of(error.reason)
    downstream.write(reply(error, head, services.proxy_name, draft.connection_id, is_last))
    return not is_last and may_follow(error.reason, head)


async def turn_away(reason: Reason, downstream: ByteStream, draft: Draft, services: Services) -> None:
    """Answer and close a connection for which there is no room, without reading from it. Records it."""
    refuse(InternalError(reason), None, downstream, draft, services)
    services.recorder.record(draft)
    await downstream.aclose()


async def asks_again(downstream: ByteStream, draft: Draft, services: Services) -> bool:
    """Whether a client that was asked for credentials sends another request in time."""
    try:
        with services.deadlines.within(services.head_timeout, lambda: DownstreamError(Reason.HEAD_TIMEOUT)):
            again = bool(downstream.peek()) or await downstream.more()
    except DownstreamError:
        again = False  # the record keeps the answer after which no request came
    if again:  # nothing of the first request applies to the next
        draft.wrong_credentials += draft.reason in WRONG_CREDENTIALS
        draft.client = draft.intent = draft.decision = draft.status = draft.reason = None
        draft.detail = ""
    return again


def _refused_below_http(reason: Reason, downstream: ByteStream) -> bool:
    """Whether the client cannot read an answer in HTTP, because there is no TLS session. Then it gets an alert or a
    reset instead, unless the failed handshake has sent its alert already."""
    if reason is Reason.TLS_HANDSHAKE_TIMEOUT:
        downstream.abort()
    elif reason is Reason.PROXY_HEADER_MISSING and downstream.peek()[:1] == _TLS_HANDSHAKE:
        downstream.write(ACCESS_DENIED)
    else:
        return reason in _TOLD_BY_TLS
    return True


def _break_off(error: GatewayError, downstream: ByteStream) -> None:
    """After the 200, and to a captured client, no HTTP is spoken: a client that began TLS gets an alert, any other a
    reset. It is a reset as well where the destination or the gateway is the cause, so that the client tries again. A
    handshake of ours that failed has sent its own alert."""
    if error.reason in _TOLD_BY_TLS:
        return
    is_client_blameless = isinstance(error, UpstreamError | InternalError)
    if is_client_blameless or downstream.peek()[:1] != _TLS_HANDSHAKE:
        downstream.abort()
        return
    downstream.write(_ALERTS.get(error.reason, ACCESS_DENIED))
