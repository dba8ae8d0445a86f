"""A forwarding proxy as one writes it in an afternoon: it looks at the first line and passes raw bytes for the rest.

Nothing is decided, nothing is rewritten. It is what the abuse suite must catch.
"""

import contextlib
import re
import socket
import threading

from tests.helpers.origins import Origin, Visit

_TARGET = re.compile(rb"(\S+)\s+(?:http://)?(?:[^/@\s]*@)?([^/:\s]+):?(\d*)(\S*)", re.IGNORECASE)


class NaiveProxy(Origin):
    """Whatever the name, it dials that port on loopback."""

    def __init__(self) -> None:
        super().__init__(_forward)


def _forward(client: socket.socket, visit: Visit) -> None:
    head = b""
    while b"\r\n\r\n" not in head and b"\n\n" not in head:
        data = client.recv(65536)
        if not data:
            return
        head += data
    match = _TARGET.match(head)
    if match is None:
        client.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        return
    method, _, port, path = match.groups()
    with socket.create_connection(("127.0.0.1", int(port or 80))) as upstream:
        if method == b"CONNECT":
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            upstream.sendall(head.partition(b"\r\n\r\n")[2])
        else:
            upstream.sendall(method + b" " + (path or b"/") + head[match.end() :])
        back = threading.Thread(target=_pump, args=(upstream, client), daemon=True)
        back.start()
        _pump(client, upstream)
        back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):  # either side may be gone
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
