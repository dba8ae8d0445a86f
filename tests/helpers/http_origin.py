"""An origin that reads requests exactly and answers each as a test says, byte for byte."""

import contextlib
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.helpers.origins import Origin, Visit


@dataclass
class Got:
    """One request as it arrived: nothing was normalised but the case of header names."""

    line: str
    fields: list[tuple[str, str]]
    body: bytes = b""
    visit: int = 0

    @property
    def method(self) -> str:
        return self.line.split(" ")[0]

    @property
    def path(self) -> str:
        return self.line.split(" ")[1]

    def values(self, name: str) -> list[str]:
        return [value for each, value in self.fields if each == name]


class Talk:
    """A connection of an `HttpOrigin`, in the hands of the function that answers."""

    def __init__(self, connection: socket.socket, visit: Visit, number: int) -> None:
        self.socket = connection
        self.number = number
        self._visit = visit
        self._held = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reply(self, body: bytes = b"hello\n", status: str = "200 OK", *fields: str) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields, "", ""]
        self.send("\r\n".join(lines).encode() + body)

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()
        raise ConnectionResetError

    def close(self) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        raise ConnectionResetError

    def read_some(self) -> bytes:
        if self._held:
            data, self._held = self._held, b""
            return data
        data = self.socket.recv(65536)
        self._visit.received += data
        return data

    def read_until(self, mark: bytes) -> bytes:
        """Up to and including `mark`; empty at the end."""
        data = b""
        while mark not in data:
            more = self.read_some()
            if not more:
                return b""
            data += more
        found, self._held = data[: data.index(mark) + len(mark)], data[data.index(mark) + len(mark) :]
        return found

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (more := self.read_some()):
            data += more
        data, self._held = data[:size], data[size:]
        return data

    def read_head(self) -> Got | None:
        head = self.read_until(b"\r\n\r\n")
        if not head:
            return None
        line, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        pairs = [each.split(":", 1) for each in lines]
        return Got(line, [(name.lower(), value.strip()) for name, value in pairs], visit=self.number)

    def read_body(self, got: Got) -> None:
        if got.values("transfer-encoding"):
            while size := int(self.read_until(b"\r\n"), 16):
                got.body += self.read(size)
                self.read(2)
            while (line := self.read_until(b"\r\n")) not in (b"\r\n", b""):
                got.fields.append(("trailer: " + line.decode().strip(), ""))
        else:
            got.body = self.read(int(([*got.values("content-length"), "0"])[0]))


Answer = Callable[[Talk, Got], None]


def plain(talk: Talk, got: Got) -> None:
    """Read the body, and answer 200 with a few bytes."""
    talk.read_body(got)
    talk.reply(b"" if got.method == "HEAD" else b"hello\n")


@dataclass
class HttpOrigin:
    """`answers` by path without query; every other path is answered by `plain`. `requests` are in their order."""

    answers: Mapping[str, Answer] = field(default_factory=dict)
    address: str = "127.0.0.1"
    port: int = 0
    requests: list[Got] = field(default_factory=list)

    def __enter__(self) -> "HttpOrigin":
        self.origin = Origin(self._serve, self.address, self.port)
        self.port = self.origin.port
        return self

    def __exit__(self, *_: object) -> None:
        self.origin.close()

    @property
    def connections(self) -> int:
        return len(self.origin.visits)

    def _serve(self, connection: socket.socket, visit: Visit) -> None:
        talk = Talk(connection, visit, len(self.origin.visits))
        with contextlib.suppress(ConnectionError):
            while (got := talk.read_head()) is not None:
                self.requests.append(got)
                self.answers.get(got.path.partition("?")[0], plain)(talk, got)
