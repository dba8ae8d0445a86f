"""The smallest CONNECT proxy, with faults that a benchmark must notice."""

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Change = Callable[[bytes], bytes]


def _pump(source: socket.socket, sink: socket.socket, change: Change) -> None:
    with suppress(OSError):
        while received := source.recv(65536):
            sink.sendall(change(received))
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


class _Tunnel(socketserver.BaseRequestHandler):
    server: "ConnectProxy"
    request: socket.socket

    def handle(self) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.request.recv(1)
        self.request.sendall(self.server.answer)
        if b" 200 " not in self.server.answer:
            return
        port = int(head.split()[1].rpartition(b":")[2])
        with socket.create_connection(("127.0.0.1", port)) as upstream:
            back = threading.Thread(target=_pump, args=(upstream, self.request, self.server.change), daemon=True)
            back.start()
            _pump(self.request, upstream, lambda received: received)
            back.join()


class ConnectProxy(socketserver.ThreadingTCPServer):
    """Dials the port that is asked for on loopback, whatever the name; `change` alters what comes back."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, answer: bytes, change: Change) -> None:
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.answer, self.change = answer, change
        self.port = self.socket.getsockname()[1]


@contextmanager
def connect_proxy(
    answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n", change: Change = lambda received: received
) -> Iterator[ConnectProxy]:
    """The proxy serves while the block runs."""
    with ConnectProxy(answer, change) as proxy:
        serving = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            serving.join()
