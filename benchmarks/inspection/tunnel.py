"""A client's way through a proxy: CONNECT, and TLS with the origin's name inside."""

import socket
import ssl

from benchmarks.inspection.bed import NAME
from benchmarks.isolation import Unusable

_SECONDS = 60.0


def open_tunnel(proxy: int, authority: str, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Both hands shaken. Raises `Unusable` if the proxy will not."""
    raw = socket.create_connection(("127.0.0.1", proxy), _SECONDS)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    raw.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = raw.recv(1)
        if not byte:
            raise Unusable("the proxy ended a CONNECT")
        head += byte
    return context.wrap_socket(raw, server_hostname=NAME)
