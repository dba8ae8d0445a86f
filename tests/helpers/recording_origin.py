"""An HTTP/1.1 origin that keeps every request that it receives, byte for byte, and answers as it is told to.

It reads like a strict server: what makes no request stays in `leftovers`. `faults_of` says what is wrong with a request
that a proxy should have written: whatever two servers could read differently, and what is meant for one hop only.
"""

import fcntl
import re
import socket
import struct
import termios
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from tests.helpers.origins import Origin, Visit

_REQUEST_LINE = re.compile(rb"[A-Za-z!#$%&'*+.^_`|~0-9-]+ (?:/[!-~]*|\*) HTTP/1\.1")
_FIELD_LINE = re.compile(rb"[A-Za-z!#$%&'*+.^_`|~0-9-]+: [\t -~\x80-\xff]*")
_CHUNK_LINE = re.compile(rb"[0-9A-Fa-f]{1,16}")
_ONE_HOP = frozenset(
    b"keep-alive proxy-connection proxy-authorization proxy-authenticate te trailer".split()
)  # RFC 9110 section 7.6.1


@dataclass(frozen=True, slots=True)
class Answer:
    """What the origin sends for one request. `after`: keep the connection, close it, reset it, or say it `early`: as
    soon as the head is there."""

    data: bytes
    after: str = "keep"


@dataclass(frozen=True, slots=True)
class Received:
    """One request: its head with the empty line, and its content without the framing."""

    head: bytes
    content: bytes = b""

    @property
    def line(self) -> str:
        """Method and target."""
        return self.head.partition(b"\r\n")[0].rpartition(b" ")[0].decode("latin-1")

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        """Names in lower case, values as they came."""
        lines = self.head.split(b"\r\n")[1:-2]
        return [(name.lower(), value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in lines)]

    def values(self, name: bytes) -> list[bytes]:
        return [value for each, value in self.fields if each == name]


def faults_of(request: Received, upgrades: bool = False) -> list[str]:
    """Everything in it that a proxy must not have written."""
    line, *fields = request.head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    found = [] if _REQUEST_LINE.fullmatch(line) else [f"request line {line[:80]!r}"]
    found += [f"field line {field[:80]!r}" for field in fields if not _FIELD_LINE.fullmatch(field)]
    lengths, codings = request.values(b"content-length"), request.values(b"transfer-encoding")
    if len(lengths) + len(codings) > 1 or any(coding != b"chunked" for coding in codings):
        found.append(f"framing {lengths} {codings}")
    if any(not length.isdigit() for length in lengths):
        found.append(f"length {lengths}")
    if len(request.values(b"host")) != 1:
        found.append(f"hosts {request.values(b'host')}")
    one_hop = _ONE_HOP if upgrades else _ONE_HOP | {b"upgrade"}
    return found + [f"for one hop only: {name!r}" for name, _ in request.fields if name in one_hop]


class _NotARequest(Exception):
    """The bytes at hand make none."""


class RecordingOrigin(Origin):
    """`requests` in the order of their ends; `answers` are given in turn, then `ORDINARY` to each."""

    ORDINARY = Answer(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nok\n")

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        self.requests: list[Received] = []
        self.leftovers: list[bytes] = []
        self.answers: deque[Answer] = deque()
        self._readers: list[_Reader] = []
        self._lock = threading.Lock()
        super().__init__(self._serve_http, address, port)

    def will_answer(self, answers: Iterable[Answer]) -> None:
        """From the next request on."""
        self.answers = deque(answers)

    def is_settled(self, seconds: float) -> bool:
        """Whether no connection is in the middle of a request, or is not any more within `seconds`."""
        self.settled()
        deadline = time.monotonic() + seconds
        while any(reader.unread or reader.has_more() for reader in list(self._readers)):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    def _serve_http(self, connection: socket.socket, visit: Visit) -> None:
        reader = _Reader(connection, visit)
        self._readers.append(reader)
        try:
            while self._serve_one(connection, reader):
                pass
        except (_NotARequest, OSError):
            if reader.unread:
                self.leftovers.append(reader.unread)
        finally:
            self._readers.remove(reader)

    def _serve_one(self, connection: socket.socket, reader: "_Reader") -> bool:
        """Whether another request may follow."""
        head = reader.head()
        if head is None:
            return False
        with self._lock:
            answer = self.answers.popleft() if self.answers else self.ORDINARY
        if answer.after == "early":
            connection.sendall(answer.data)
        request = Received(head, reader.content(Received(head)))
        self.requests.append(request)
        reader.done()
        if answer.after != "early":
            connection.sendall(answer.data)
        if answer.after == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return answer.after in ("keep", "early")


class _Reader:
    """Takes requests off a connection. `unread` is what came and belongs to no finished request."""

    def __init__(self, connection: socket.socket, visit: Visit) -> None:
        self._connection, self._visit = connection, visit
        self.unread = b""
        self._at = 0

    def has_more(self) -> bool:
        """Whether something has come that its thread has not taken yet."""
        try:
            return fcntl.ioctl(self._connection, termios.FIONREAD, bytes(4)) != bytes(4)
        except (OSError, ValueError):  # closed
            return False

    def done(self) -> None:
        """What was read so far is a whole request."""
        self.unread, self._at = self.unread[self._at :], 0

    def head(self) -> bytes | None:
        """None where the connection ended between requests."""
        while (end := self.unread.find(b"\r\n\r\n")) < 0:
            if not self._more():
                if self.unread:
                    raise _NotARequest
                return None
        self._at = end + 4
        return self.unread[: self._at]

    def content(self, request: Received) -> bytes:
        if request.values(b"transfer-encoding"):
            return self._chunks()
        lengths = request.values(b"content-length")
        if lengths and not lengths[0].isdigit():
            raise _NotARequest
        return self._take(int(lengths[0])) if lengths else b""

    def _chunks(self) -> bytes:
        content = b""
        while True:
            size = self._line().partition(b";")[0]
            if not _CHUNK_LINE.fullmatch(size):
                raise _NotARequest
            if int(size, 16) == 0:
                break
            content += self._take(int(size, 16))
            if self._take(2) != b"\r\n":
                raise _NotARequest
        while self._line():
            pass
        return content

    def _line(self) -> bytes:
        while (end := self.unread.find(b"\r\n", self._at)) < 0:
            self._need()
        line, self._at = self.unread[self._at : end], end + 2
        return line

    def _take(self, size: int) -> bytes:
        while len(self.unread) < self._at + size:
            self._need()
        taken, self._at = self.unread[self._at : self._at + size], self._at + size
        return taken

    def _need(self) -> None:
        if not self._more():
            raise _NotARequest

    def _more(self) -> bool:
        data = self._connection.recv(65536)
        self._visit.received += data
        self.unread += data
        return bool(data)
