"""From the first bytes on a proxy port to an intent, and from the first bytes in a tunnel to an opening."""

import asyncio
import re
from functools import lru_cache

from gateway.model.authority import LONGEST_AUTHORITY, parse_authority
from gateway.model.errors import DownstreamError
from gateway.model.intent import Door, Intent, Opening
from gateway.model.reasons import Reason
from gateway.model.roles import ByteStream
from gateway.serve.services import Services
from gateway.wire.client_hello import ClientHelloParser, MalformedClientHello
from gateway.wire.head import MalformedHead, RequestHead, parse_head
from gateway.wire.opening import parse_opening

_WITHOUT_SECRETS = re.compile(r"[A-Za-z0-9.:_\[\]-]{1,300}")


def read_head(downstream: ByteStream, services: Services) -> RequestHead | None:
    """The request head, which is not consumed; None while bytes are missing. Raises `DownstreamError` if it is
    malformed or too large."""
    data = downstream.peek()
    try:
        head = parse_head(data)
    except MalformedHead as malformed:
        raise DownstreamError(malformed.reason, str(malformed)) from malformed
    if (len(data) if head is None else head.size) > services.bounds.head:
        raise DownstreamError(Reason.HEAD_TOO_LARGE, f"more than {services.bounds.head} bytes")
    return head


async def await_head(downstream: ByteStream, services: Services) -> RequestHead:
    """The same for a head that was not there at once. Mostly it comes with the connection, and needs no deadline."""
    with services.deadlines.within(services.head_timeout, lambda: DownstreamError(Reason.HEAD_TIMEOUT)):
        while (head := read_head(downstream, services)) is None:
            if not await downstream.more():
                raise DownstreamError(Reason.CLIENT_CLOSED, f"after {len(downstream.peek())} bytes of a request head")
    return head


def begins_exchange(head: RequestHead) -> bool:
    """Whether this is the first of a stream of requests in absolute form."""
    return head.method != "CONNECT" and head.target[:7].lower() == "http://"


def read_intent(head: RequestHead) -> Intent:
    """What the head asks for. Raises `DownstreamError` if that is nothing a proxy could do."""
    if head.method == "CONNECT":
        intent = _connect_to(head.target) if len(head.target) <= LONGEST_AUTHORITY else None
        if intent is None:
            raise DownstreamError(Reason.MALFORMED_AUTHORITY, f"CONNECT target {_quotable(head.target)}")
        return intent
    if head.target[:8].lower() == "https://":
        raise DownstreamError(Reason.HTTPS_WITHOUT_CONNECT, "https:// in absolute form")
    raise DownstreamError(Reason.NOT_A_PROXY_REQUEST, f"{head.method[:20]} that names no http:// URL")


@lru_cache(maxsize=4096)
def _connect_to(target: str) -> Intent | None:
    """The same destinations are asked for again and again."""
    authority = parse_authority(target)
    return None if authority is None else Intent(Door.CONNECT, authority)


def _quotable(target: str) -> str:
    """For the record. Userinfo, path and query may hold secrets: a target that has any is not quoted at all."""
    return repr(target) if _WITHOUT_SECRETS.fullmatch(target) else f"of {len(target)} characters that is no host:port"


async def client_speaks_first(downstream: ByteStream, upstream: ByteStream, seconds: float) -> bool:
    """Whether the client sends something, or leaves, before the destination does and within `seconds`."""
    sides = [asyncio.ensure_future(_speaks(stream)) for stream in (downstream, upstream)]
    try:
        await asyncio.wait(sides, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return bool(downstream.peek()) or sides[0].done()
    finally:
        for side in sides:
            side.cancel()
        await asyncio.wait(sides)


async def _speaks(stream: ByteStream) -> bool:
    """Peeks first: bytes that came before the wait would wake nobody."""
    return bool(stream.peek()) or await stream.more()


async def read_opening(downstream: ByteStream, services: Services, seconds: float) -> Opening:
    """What the client's first bytes in the tunnel are; none of them is consumed.

    Raises `DownstreamError` for a ClientHello that is malformed or too large, and for bytes that do not come in time.
    """

    def too_slow() -> DownstreamError:
        received = len(downstream.peek())
        if received:
            return DownstreamError(Reason.CLIENT_HELLO_TIMEOUT, f"{received} bytes in {seconds:g} s")
        return DownstreamError(
            Reason.CLIENT_SILENT, "the client waits for the server to speak first? such a rule needs `protocol: tcp`"
        )

    hello = ClientHelloParser(services.bounds.client_hello)
    with services.deadlines.within(seconds, too_slow):
        try:
            while (opening := parse_opening(data := downstream.peek(), hello)) is None:
                if not await downstream.more():
                    raise DownstreamError(Reason.CLIENT_CLOSED, f"after {len(data)} bytes in the tunnel")
        except MalformedClientHello as malformed:
            raise DownstreamError(malformed.reason, str(malformed)) from malformed
    return opening
