"""A client that sends exactly the bytes that a test gives it."""

import socket
import struct
from types import TracebackType
from typing import Self

SECONDS = 60.0


class RawClient:
    """One TCP connection to the proxy."""

    def __init__(self, port: int, address: str = "127.0.0.1", source: str | None = None, source_port: int = 0) -> None:
        self.socket = socket.create_connection(
            (address, port), timeout=SECONDS, source_address=(source, source_port) if source else None
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """All of it."""
        self.socket.sendall(data)

    def connect(self, authority: str, *headers: str, early: bytes = b"") -> bytes:
        """A CONNECT and, in the same segment, `early`. The response head; the tunnel's bytes stay unread."""
        lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}", *headers, "", ""]
        self.send("\r\n".join(lines).encode() + early)
        return self.read_head()

    def read_head(self) -> bytes:
        """Up to and including the empty line, or to the end."""
        head = b""
        while not head.endswith(b"\r\n\r\n") and (byte := self.socket.recv(1)):
            head += byte
        return head

    def read_until(self, mark: bytes) -> bytes:
        """Up to and including `mark`, or to the end."""
        data = b""
        while not data.endswith(mark) and (byte := self.socket.recv(1)):
            data += byte
        return data

    def read(self, size: int) -> bytes:
        """Exactly that much, less only at the end."""
        data = bytearray()
        while len(data) < size and (more := self.socket.recv(size - len(data))):
            data += more
        return bytes(data)

    def read_to_end(self) -> bytes:
        """All that comes until the peer ends. A reset raises `ConnectionResetError`."""
        data = b""
        while more := self.socket.recv(65536):
            data += more
        return data

    def finish(self) -> None:
        """Half-close."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def status_of(head: bytes) -> int:
    """The status code of a response head."""
    return int(head.split(b" ", 2)[1])
