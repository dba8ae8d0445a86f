"""Listening sockets. They are opened apart from serving them, so that this can happen before privileges are dropped or
workers start, and they can outlive the process that serves them."""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import islice

from gateway.model.addresses import Address, parse_address
from gateway.model.errors import ConfigError
from gateway.net.addresses.original_destination import accept_any_destination
from gateway.net.stream import HOLD_BOUND, KEEP_ALIVE, Stream

BACKLOG = 4096  # the kernel caps it at net.core.somaxconn

Peer = tuple[Address, int]

_logger = logging.getLogger(__name__)

NOBODY: Peer = (Address(4, 0), 0)
"""Stands for a peer that was gone before its address could be read."""

_PROBLEMS = {
    errno.EADDRINUSE: "the address is already in use (`ss -ltnp` says by whom)",
    errno.EACCES: "permission denied (ports below 1024 need CAP_NET_BIND_SERVICE)",
    errno.EADDRNOTAVAIL: "this machine does not have the address",
}


def open_listener(address: Address, port: int, backlog: int = BACKLOG, transparent: bool = False) -> socket.socket:
    """A listening TCP socket; port 0 lets the kernel choose. `[::]` takes IPv4 as well; without IPv6 it is 0.0.0.0.

    Raises ConfigError in one line that names the address.
    """
    [sock] = open_listeners(address, port, 1, backlog, transparent)
    return sock


def open_listeners(
    address: Address, port: int, count: int, backlog: int = BACKLOG, transparent: bool = False
) -> list[socket.socket]:
    """`count` sockets at one address, among which the kernel spreads incoming connections (SO_REUSEPORT). The first is
    bound without sharing, so that an address that another program uses is an error. Raises as `open_listener`."""
    opened: list[socket.socket] = []
    try:
        for _ in range(count):
            sock, host = _socket_for(address)
            opened.append(sock)
            if transparent and not accept_any_destination(sock):
                _logger.warning("port %d takes redirected connections only: TPROXY needs CAP_NET_ADMIN", port)
            _bind(sock, host, opened[0].getsockname()[1] if len(opened) > 1 else port, len(opened) > 1)
            if count > 1:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.listen(backlog)
    except OSError as error:
        for sock in opened:
            sock.close()
        problem = _PROBLEMS.get(error.errno or 0, error.strerror)
        raise ConfigError(f"{address.uri_host}:{port}", f"cannot listen: {problem}") from error
    return opened


def _bind(sock: socket.socket, host: str, port: int, shared: bool) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
    for level, option, value in KEEP_ALIVE:
        sock.setsockopt(level, option, value)  # accepted sockets inherit it
    sock.bind((host, port))


def _socket_for(address: Address) -> tuple[socket.socket, str]:
    if address.version == 4:
        return _tcp_socket(socket.AF_INET), str(address)
    try:
        sock = _tcp_socket(socket.AF_INET6)
    except OSError as error:
        if address.value or error.errno != errno.EAFNOSUPPORT:
            raise
        return _tcp_socket(socket.AF_INET), "0.0.0.0"
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, bool(address.value))
    return sock, str(address)


def _tcp_socket(family: socket.AddressFamily) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    return sock


class Listener:
    """Serves a listening socket: `accept` is called on the loop for every connection and closes the stream it is given.

    A connection that was reset before it was accepted comes as a lost stream of `NOBODY`. When descriptors run out,
    libuv closes the connections that wait, and the listener goes on.
    """

    def __init__(self, sock: socket.socket, accept: Callable[[Stream, Peer], None], bound: int = HOLD_BOUND) -> None:
        self._sock = sock
        self._accept = accept
        self._make_stream = partial(Stream, bound, self._greet)
        self._server: asyncio.Server | None = None

    async def start(self, backlog: int = BACKLOG) -> None:
        """Accept from now on."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._make_stream, sock=self._sock, backlog=backlog)

    async def finish(self) -> None:
        """Accept what waits in the kernel's queue, which closing would reset, then `close`. No more than the queue can
        hold is accepted, so new connections do not prolong it."""
        waiting = list(islice(_waiting(self._sock), BACKLOG)) if self._server is not None else []
        self.close()
        for sock in waiting:
            with suppress(OSError):  # gone already
                await asyncio.get_running_loop().connect_accepted_socket(self._make_stream, sock)

    def _greet(self, stream: Stream) -> None:
        peer = _peer_of(stream.transport)
        if peer is NOBODY:
            stream.transport.abort()
            stream.is_lost = True  # the transport tells only in the next turn of the loop
        self._accept(stream, peer)

    def close(self) -> None:
        """Accept no more and close the socket; connections already accepted go on. Idempotent."""
        if self._server is not None:
            self._server.close()
        self._sock.close()


def _waiting(listening: socket.socket) -> Iterator[socket.socket]:
    """Connections that the kernel completed and nobody has accepted. When descriptors run out the rest is reset."""
    with suppress(OSError):
        while True:
            sock, _ = listening.accept()
            sock.setblocking(False)
            yield sock


def _peer_of(transport: asyncio.Transport) -> Peer:
    """`NOBODY` if the connection is gone already. A link-local address comes with its zone."""
    name = transport.get_extra_info("peername")
    if name is None:
        return NOBODY
    host: str = name[0]
    address = parse_address(host.partition("%")[0])
    return NOBODY if address is None else (address, name[1])
