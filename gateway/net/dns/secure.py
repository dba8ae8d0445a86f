"""Questions inside TLS: one kept connection to each name server, opened when it is needed, and again after it ended.

The certificate is always checked, against the configured name or else the server's address. A server that cannot be
authenticated is sent no question, and there is no fallback to plain DNS.
"""

import asyncio
import secrets
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import dns.message

from gateway.net.dns.channel import Channel
from gateway.net.dns.framing import DohFraming, DotFraming, Framing
from gateway.net.dns.transport import PORTS, Over, Question, Reply
from gateway.net.names import NameServer
from gateway.net.tls.contexts import HTTP_2

GOODBYE_SECONDS = 1.0
ALPN = {Over.DOH: HTTP_2}


@dataclass(frozen=True, slots=True)
class Trust:
    """`certificates`: the authorities to believe, as PEM text; None for the system's. `server_name`: what each
    server's certificate must be for; None for the server's own address. `path`: of the DoH resource."""

    certificates: str | None = None
    server_name: str | None = None
    path: str = "/dns-query"


class SecureDns:
    """Fulfils `DnsTransport`. A connection on which a question has waited for `silence` seconds, with nothing received,
    is not used again. Raises `ssl.SSLError` or `ValueError` for text that holds no certificates."""

    def __init__(self, over: Over, trust: Trust, silence: float) -> None:
        self.over = over
        self._trust = trust
        self._silence = silence
        self._context = _context(trust.certificates)
        if over in ALPN:
            self._context.set_alpn_protocols([ALPN[over]])
        self._links: dict[NameServer, _Link] = {}

    async def ask(self, server: NameServer, question: Question) -> Reply:
        """See `DnsTransport.ask`."""
        link = self._links.get(server)
        if link is None:
            link = self._links[server] = _Link(lambda: self._open(server), self._silence)
        return Reply(await link.ask(question), self.over)

    def close(self) -> None:
        """See `DnsTransport.close`."""
        for link in self._links.values():
            link.close()

    async def _open(self, server: NameServer) -> Channel:
        """A connection that is ready for questions. The handshake has a time-out of its own, as uvloop complains about
        one that is cancelled."""
        async with asyncio.timeout(2 * self._silence):
            transport, channel = await asyncio.get_running_loop().create_connection(
                lambda: Channel(self._framing(server)),
                str(server.address),
                server.port,
                ssl=self._context,
                server_hostname=self._trust.server_name or str(server.address),
                ssl_handshake_timeout=self._silence,
                ssl_shutdown_timeout=GOODBYE_SECONDS,
            )
            try:
                wanted = ALPN.get(self.over)
                if wanted is not None and transport.get_extra_info("ssl_object").selected_alpn_protocol() != wanted:
                    raise ConnectionAbortedError(f"{server} does not speak {wanted}")
                await channel.ready
            except BaseException:
                channel.abort()
                raise
        return channel

    def _framing(self, server: NameServer) -> Framing:
        if self.over is Over.DOT:
            return DotFraming(secrets.randbits(16))
        host = self._trust.server_name or server.address.uri_host
        authority = host if server.port == PORTS[Over.DOH] else f"{host}:{server.port}"
        return DohFraming(authority, self._trust.path)


def _context(certificates: str | None) -> ssl.SSLContext:
    """Trusts these authorities and no others. (`create_default_context` takes an empty text for the system's.)"""
    if certificates is None:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=certificates)
    return context


class _Link:
    """A kept connection to one server, replaced when it ends."""

    def __init__(self, open_channel: Callable[[], Coroutine[Any, Any, Channel]], silence: float) -> None:
        self._open = open_channel
        self._silence = silence
        self._channel: Channel | None = None
        self._opening: asyncio.Task[Channel] | None = None
        self._is_closed = False

    async def ask(self, question: Question) -> dns.message.Message:
        """The response. Where a kept connection ends before it, a new one is tried, once (RFC 7766 section 6.2.4)."""
        channel, was_kept = await self._current()
        try:
            return await channel.ask(question)
        except ConnectionError:
            if not was_kept:
                raise
        channel, _ = await self._current()
        return await channel.ask(question)

    async def _current(self) -> tuple[Channel, bool]:
        """The connection, and whether it was open already. Opening it is a task of its own, because whoever asks may be
        cancelled."""
        channel = self._channel
        if channel is not None:
            if channel.is_usable(self._silence):
                return channel, True
            channel.retire()
            self._channel = None
        if self._opening is None:
            self._opening = asyncio.create_task(self._open(), name="connect to a name server")
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening), False

    def _opened(self, opening: asyncio.Task[Channel]) -> None:
        self._opening = None
        if not opening.cancelled() and opening.exception() is None:
            self._channel = opening.result()
            if self._is_closed:
                self._channel.close()

    def close(self) -> None:
        self._is_closed = True
        if self._channel is not None:
            self._channel.close()
