"""Destinations on loopback that remember what reached them: each accepted connection and every byte that was read."""

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

RESET = b"please reset"

Serve = Callable[[socket.socket, "Visit"], None]


class Visit:
    """One connection that an origin accepted. `received` is the payload that it read (inside TLS: the clear bytes)."""

    def __init__(self, peer: tuple[str, int]) -> None:
        self.peer = peer
        self.received = bytearray()


class Origin:
    """A TCP server with a thread for each connection. `serve` gets the accepted socket and the visit to write to."""

    def __init__(self, serve: Serve, address: str = "127.0.0.1", port: int = 0) -> None:
        self.visits: list[Visit] = []
        self._serve = serve
        self._listener = socket.create_server(
            (address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET
        )
        # For what it accepts: else what is sent right before a reset may still be held back then, and is lost with it.
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def received(self) -> bytes:
        """All payload of all visits, in the order of their accepts."""
        return b"".join(bytes(visit.received) for visit in self.visits)

    def forget(self) -> None:
        """What ended so far, for those that go on for long."""
        self.visits.clear()
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        self._sockets = [connection for connection in self._sockets if connection.fileno() >= 0]

    def settled(self) -> int:
        """How many visits there were, once every connection that the kernel has taken by now is among them.

        A connection of our own goes through the same queue; when it comes out, all before it have. An earlier visit
        may have had the port that it has.
        """
        before = set(self.visits)
        with socket.create_connection(self._listener.getsockname()[:2]) as probe:
            own = probe.getsockname()[:2]
            while not (seen := [visit for visit in self.visits if visit.peer == own and visit not in before]):
                time.sleep(0.001)
        self.visits.remove(seen[0])
        return len(self.visits)

    def close(self) -> None:
        """Stop accepting, cut off what is open, and wait for every thread."""
        _shut(self._listener)
        self._accepting.join()
        for connection in self._sockets:
            _shut(connection)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, peer = self._listener.accept()
            except OSError:  # closed
                return
            visit = Visit(peer[:2])
            self.visits.append(visit)
            self._sockets.append(connection)
            thread = threading.Thread(target=self._run, args=(connection, visit), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, connection: socket.socket, visit: Visit) -> None:
        # The peer or the end of the test may cut it off; what was read by then is recorded.
        with connection, contextlib.suppress(OSError):
            self._serve(connection, visit)


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # not connected any more
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def echo(connection: socket.socket, visit: Visit) -> None:
    """Send back what comes; half-close when the client does, reset on `RESET`."""
    while data := connection.recv(65536):
        visit.received += data
        if data == RESET:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


def silent(connection: socket.socket, visit: Visit) -> None:
    """Read and never answer."""
    while data := connection.recv(65536):
        visit.received += data


def greeting(text: bytes) -> Serve:
    """Speak first, then echo: the shape of SMTP, MySQL and PostgreSQL's cousins."""

    def serve(connection: socket.socket, visit: Visit) -> None:
        connection.sendall(text)
        echo(connection, visit)

    return serve


def https(context: ssl.SSLContext, body: bytes = b"hello from the origin\n") -> Serve:
    """HTTP/1.1 over TLS: answers every GET or POST on a kept-alive connection with `body`."""

    def serve(connection: socket.socket, visit: Visit) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            http(body)(secure, visit)

    return serve


def http(body: bytes = b"hello from the origin\n") -> Serve:
    """The same without TLS. Requests with a body are not needed here and not understood."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)

    def serve(connection: socket.socket, visit: Visit) -> None:
        buffered = b""
        while data := connection.recv(65536):
            visit.received += data
            *requests, buffered = (buffered + data).split(b"\r\n\r\n")
            for request in requests:
                head_only = request.startswith(b"HEAD ")
                connection.sendall(answer[: -len(body)] if head_only else answer)

    return serve
