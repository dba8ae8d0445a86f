"""Streams on real sockets, with the peer's socket in the test's own hands."""

import asyncio
import socket
import struct

from gateway.net.stream import HOLD_BOUND, Stream


def tcp_pair(server: socket.socket | None = None, held: int = 0) -> tuple[socket.socket, socket.socket]:
    """Two ends of one TCP connection over loopback, both non-blocking; the second was accepted by `server`. On the way
    to that one the kernel holds little more than `held` bytes, if it is given."""
    if server is None:
        with socket.create_server(("127.0.0.1", 0)) as once:
            if held:  # before they connect: by a window that is taken back later, what was sent before is lost, and the
                # acknowledgements behind it with it: both sides may then wait for minutes
                once.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, held)
            return tcp_pair(once, held)
    one = socket.socket()
    one.connect(server.getsockname())
    other, _ = server.accept()
    if held:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, held)
    for end in (one, other):
        end.setblocking(False)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return one, other


class ManyPairs:
    """Tens of thousands of pairs. A listening port for each would make the kernel search longer and longer among the
    ports of those that linger in TIME_WAIT; on one address the connecting ports would run out."""

    def __init__(self, from_one_server: int = 4000) -> None:
        self._from_one_server = from_one_server
        self._made = 0

    def make(self) -> tuple[socket.socket, socket.socket]:
        """As `tcp_pair`."""
        if self._made % self._from_one_server == 0:
            self.close()
            self._server = socket.create_server((f"127.9.{self._made // self._from_one_server}.1", 0))
        self._made += 1
        return tcp_pair(self._server)

    def close(self) -> None:
        if self._made:
            self._server.close()


async def stream_and_peer(bound: int = HOLD_BOUND, held: int = 0) -> tuple[Stream, socket.socket]:
    """A stream, and the socket at the other end of its connection. `held` as `tcp_pair`."""
    ours, theirs = tcp_pair(held=held)
    _, stream = await asyncio.get_running_loop().connect_accepted_socket(lambda: Stream(bound), ours)
    return stream, theirs


def reset(sock: socket.socket) -> None:
    """Close with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


async def send(sock: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(sock, data)


async def receive(sock: socket.socket, size: int = 1 << 16) -> bytes:
    """What is there next; empty at the end."""
    return await asyncio.get_running_loop().sock_recv(sock, size)


async def receive_exactly(sock: socket.socket, size: int) -> bytes:
    got = bytearray()
    while len(got) < size and (data := await receive(sock, min(1 << 20, size - len(got)))):
        got += data
    return bytes(got)


async def receive_all(sock: socket.socket) -> bytes:
    """Everything up to the end."""
    got = bytearray()
    while data := await receive(sock, 1 << 20):
        got += data
    return bytes(got)
