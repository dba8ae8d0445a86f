"""Reads responses off a raw connection one by one, as a strict client does, and says how each ended."""

import re
import socket
from dataclasses import dataclass

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2}) [\t -~\x80-\xff]*")
_WITHOUT_CONTENT = frozenset({204, 304})
SWITCHING_PROTOCOLS = 101


class NotAResponse(Exception):
    """The bytes at hand make none."""


@dataclass(frozen=True, slots=True)
class Response:
    """A final one. `is_whole` is false where the connection ended inside its content; `interim` are the 1xx before."""

    status: int
    head: bytes
    content: bytes
    is_whole: bool
    interim: tuple[int, ...] = ()

    def values(self, name: bytes) -> list[bytes]:
        """Of the field `name`, in lower case."""
        fields = (line.partition(b":") for line in self.head.split(b"\r\n")[1:-2])
        return [value.strip(b" \t") for each, _, value in fields if each.lower() == name]


class ResponseReader:
    """What was read and belongs to no response yet is `rest`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.rest = b""

    def read(self, bodiless: bool = False) -> Response | None:
        """The next final response, None at the end. `bodiless`: it answers a HEAD, or a CONNECT with success."""
        interim: list[int] = []
        while (head := self._head()) is not None:
            match = _STATUS_LINE.fullmatch(head.partition(b"\r\n")[0])
            if match is None:
                raise NotAResponse(head[:100])
            status = int(match[1])
            if 100 <= status < 200 and status != SWITCHING_PROTOCOLS:
                interim.append(status)
                continue
            without = bodiless or status in _WITHOUT_CONTENT or status == SWITCHING_PROTOCOLS
            content, is_whole = (b"", True) if without else self._content(Response(status, head, b"", True))
            return Response(status, head, content, is_whole, tuple(interim))
        return None

    def peek_status(self) -> int:
        """Of the head that comes next, which stays to be read; 0 if none does."""
        while b"\r\n" not in self.rest and self._more():
            pass
        match = _STATUS_LINE.fullmatch(self.rest.partition(b"\r\n")[0])
        return int(match[1]) if match else 0

    def _head(self) -> bytes | None:
        while (end := self.rest.find(b"\r\n\r\n")) < 0:
            if not self._more():
                if self.rest:
                    raise NotAResponse(self.rest[:100])
                return None
        head, self.rest = self.rest[: end + 4], self.rest[end + 4 :]
        return head

    def _content(self, response: Response) -> tuple[bytes, bool]:
        if response.values(b"transfer-encoding") == [b"chunked"]:
            return self._chunks()
        if lengths := response.values(b"content-length"):
            return self._take(int(lengths[0]))
        while self._more():
            pass
        content, self.rest = self.rest, b""
        return content, True

    def _chunks(self) -> tuple[bytes, bool]:
        content = b""
        while True:
            while b"\r\n" not in self.rest:
                if not self._more():
                    return content, False
            line, _, self.rest = self.rest.partition(b"\r\n")
            size = int(line.partition(b";")[0], 16)
            if size == 0:
                return content, self._trailers()
            chunk, is_whole = self._take(size + 2)
            content += chunk[:size]
            if not is_whole:
                return content, False

    def _trailers(self) -> bool:
        while True:
            while b"\r\n" not in self.rest:
                if not self._more():
                    return False
            line, _, self.rest = self.rest.partition(b"\r\n")
            if not line:
                return True

    def _take(self, size: int) -> tuple[bytes, bool]:
        while len(self.rest) < size:
            if not self._more():
                break
        content, self.rest = self.rest[:size], self.rest[size:]
        return content, len(content) == size

    def _more(self) -> bool:
        try:
            data = self._connection.recv(65536)
        except ConnectionResetError:
            return False
        self.rest += data
        return bool(data)
