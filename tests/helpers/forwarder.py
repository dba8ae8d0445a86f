"""A way through the proxy for programs that know of none: each connection to `port` is one CONNECT."""

import contextlib
import socket
import threading

from tests.helpers.origins import Origin, Visit
from tests.helpers.raw_client import RawClient, status_of


class Forwarder(Origin):
    """Leads to `authority` through the proxy at `proxy_port`."""

    def __init__(self, proxy_port: int, authority: str) -> None:
        self._proxy_port = proxy_port
        self._authority = authority
        super().__init__(self._forward)

    def _forward(self, connection: socket.socket, visit: Visit) -> None:
        with RawClient(self._proxy_port) as client:
            if status_of(client.connect(self._authority)) != 200:
                return
            back = threading.Thread(target=_pump, args=(client.socket, connection), daemon=True)
            back.start()
            _pump(connection, client.socket)
            back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
