"""What a listener expects before the first request: a PROXY header, then TLS. After that all connections are alike."""

from gateway.model.addresses import Address, Network
from gateway.model.errors import DownstreamError, InternalError
from gateway.model.reasons import Reason
from gateway.model.record import Draft
from gateway.model.roles import ByteStream
from gateway.net.stream import Stream
from gateway.net.tls.certificates import certificate_of
from gateway.net.tls.contexts import ListenerTls
from gateway.net.tls.transport import TlsFailed, start_tls
from gateway.serve.services import Entrance, Services
from gateway.wire.client_hello import HANDSHAKE
from gateway.wire.proxy_protocol import MalformedProxyHeader, begins_header, parse_proxy_header


async def enter(downstream: Stream, draft: Draft, entrance: Entrance, services: Services) -> None:
    """Note in the draft who the client is; afterwards the next byte of `downstream` is the client's first in the clear.
    Raises `DownstreamError`; by then a TLS alert has been sent where TLS has one."""
    if entrance.trusted is not None:
        await _pass_proxy_header(downstream, draft, entrance.trusted, services)
    if entrance.tls is not None:
        await _shake_hands(downstream, draft, entrance.tls, services)


async def _pass_proxy_header(
    downstream: ByteStream, draft: Draft, trusted: tuple[Network, ...], services: Services
) -> None:
    sender = draft.peer
    with services.deadlines.within(services.head_timeout, lambda: DownstreamError(Reason.HEAD_TIMEOUT, "PROXY header")):
        if any(sender[0] in network for network in trusted):
            source = await _read_proxy_header(downstream)
            if source is not None:
                _admit_as(source, draft, services)
        elif await _sends_header(downstream):
            raise DownstreamError(Reason.PROXY_HEADER_REFUSED, f"{sender[0]} is not trusted to say who its client is")


def _admit_as(client: tuple[Address, int], draft: Draft, services: Services) -> None:
    """From here on the connection is this client's, and counts as one of its own. Raises `InternalError`."""
    refusal = services.admit_as(draft.peer[0], client[0])
    draft.sender, draft.peer = draft.peer, client
    if refusal is not None:
        raise InternalError(refusal)


async def _read_proxy_header(downstream: ByteStream) -> tuple[Address, int] | None:
    """The client that the header names; None where the sender speaks for itself."""
    try:
        while (header := parse_proxy_header(downstream.peek())) is None:
            await _more(downstream, "a PROXY header")
    except MalformedProxyHeader as malformed:
        raise DownstreamError(malformed.reason, str(malformed)) from malformed
    downstream.consume(header.size)
    return header.source


async def _sends_header(downstream: ByteStream) -> bool:
    while (begins := begins_header(downstream.peek())) is None:
        await _more(downstream, "what may be a PROXY header")
    return begins


async def _shake_hands(downstream: Stream, draft: Draft, tls: ListenerTls, services: Services) -> None:
    seconds = services.rules().policy.timeouts.tls_handshake
    with services.deadlines.within(
        seconds, lambda: DownstreamError(Reason.TLS_HANDSHAKE_TIMEOUT, f"not over in {seconds:g} s")
    ):
        while not downstream.peek():
            await _more(downstream, "a TLS hello")
        if downstream.peek()[0] != HANDSHAKE:
            raise DownstreamError(Reason.PLAIN_ON_TLS_PORT, "the first byte is no TLS record's")
        try:
            connection = await start_tls(downstream, tls.context(), server_side=True)
        except TlsFailed as failure:
            raise DownstreamError(_reason_of(failure), failure.detail) from failure
    draft.certificate = certificate_of(connection)


def _reason_of(failure: TlsFailed) -> Reason:
    if not failure.certificate:
        return Reason.TLS_HANDSHAKE_FAILED
    return Reason.CLIENT_CERTIFICATE_MISSING if failure.missing else Reason.CLIENT_CERTIFICATE_INVALID


async def _more(downstream: ByteStream, awaited: str) -> None:
    if not await downstream.more():
        raise DownstreamError(Reason.CLIENT_CLOSED, f"after {len(downstream.peek())} bytes of {awaited}")
