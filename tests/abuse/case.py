"""What a case of the suite is, what it is played on, and the few ways in which nearly all of them are played."""

import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gateway.model.reasons import Reason
from tests.abuse.complaint import Complaint, escape, wrong_answer
from tests.abuse.world import Mark, World
from tests.helpers.http_client import NotAResponse, Response, ResponseReader


class Need(StrEnum):
    """What a case asks of the proxy's configuration beyond the rules of the bed."""

    RESOLVER = "resolver"  # it asks the suite's name server
    USERS = "users"  # users.test is for ci:correct-horse only
    ADMIN = "admin"  # the address of its admin port is known
    NAME = "name"  # it calls itself abuse.test
    INTERCEPTS = "intercepts"  # it ends TLS for inspected.test, and trusts the suite's authority


@dataclass
class Stage:
    """What a case is played on. `patience`: seconds that the proxy may take, its own time-outs included."""

    proxy: tuple[str, int]
    world: World
    admin: tuple[str, int] | None = None
    patience: float = 8.0
    source: str | None = None

    def connect(self) -> socket.socket:
        """A connection to the proxy, from the address that the case has to itself, if it has one."""
        own = (self.source, 0) if self.source else None
        return socket.create_connection(self.proxy, timeout=self.patience, source_address=own)

    def filled(self, sent: bytes) -> bytes:
        """With the ports of this run for `<web>`, `<tls>`, `<proxy>` and `<admin>`."""
        ports = {b"<web>": self.world.web.port, b"<tls>": self.world.tls.port, b"<proxy>": self.proxy[1]}
        ports[b"<admin>"] = self.admin[1] if self.admin else 9
        for name, port in ports.items():
            sent = sent.replace(name, str(port).encode())
        return sent


_NO_ID = re.compile(r"[^a-z0-9.:+,;-]+")

Play = Callable[[Stage], Sequence[Complaint]]


@dataclass(frozen=True)
class Case:
    """`sent` is what the client sends, for people; `expected` says what must happen. `reason` is what our own gateway
    records. `is_control`: harmless, and must pass, so that whoever refuses everything does not look good. `waits`:
    it lasts as long as a time-out, and looks only at its own connections, so that many may be played at once.
    """

    family: str
    what: str
    source: str
    sent: bytes
    expected: str
    play: Play
    reason: Reason | None = None
    needs: frozenset[Need] = frozenset()
    is_control: bool = False
    waits: bool = False

    @property
    def id(self) -> str:
        """Stays the same as long as `what` does."""
        return f"{self.family}/{_NO_ID.sub('-', self.what.lower()).strip('-')}"


# ----------------------------------------------------------------------------------------------------------- refusals


def connect(authority: str) -> bytes:
    """The head of a CONNECT, as latin-1."""
    return f"CONNECT {authority} HTTP/1.1\r\nHost: x\r\n\r\n".encode("latin-1")


def get(url: str, *fields: str, host: str = "allowed.test:<web>") -> bytes:
    """The head of a GET, as latin-1."""
    return "\r\n".join([f"GET {url} HTTP/1.1", f"Host: {host}", *fields, "", ""]).encode("latin-1")


@dataclass(frozen=True)
class Refused:
    """The client is told one of `told` (0: a close without an answer) and nothing more; nothing leaves the proxy."""

    sent: bytes
    told: tuple[int, ...]
    may_ask: bool = False
    waits: bool = False
    prepare: Callable[[World], None] | None = None

    def __call__(self, stage: Stage) -> Sequence[Complaint]:
        if self.prepare is not None:
            self.prepare(stage.world)
        seen = stage.world.mark()
        found = []
        with stage.connect() as client:
            try:
                found += _of_answer(self.told, client, stage.filled(self.sent))
            except (NotAResponse, OSError, ValueError) as error:
                found.append(wrong_answer(repr(error)))
        found += stage.world.ordinary(stage.proxy, stage.patience)
        return found if self.waits else [*found, *left(stage, seen, self.may_ask)]

    @property
    def expected(self) -> str:
        return f"{' or '.join(str(each) if each else 'a close' for each in self.told)}; nothing leaves"


def _of_answer(told: tuple[int, ...], client: socket.socket, data: bytes) -> list[Complaint]:
    send(client, data)
    reader = ResponseReader(client)
    bodiless = data.startswith(b"CONNECT ") and 200 not in told
    answer = _answer(reader, told, bodiless)
    status = answer.status if answer is not None else 0
    found = [] if status in told else [wrong_answer(f"told {status or 'nothing'}, not {_listed(told)}")]
    if status in told and status:
        client.shutdown(socket.SHUT_WR)
        more = reader.read()
        found += [] if more is None else [escape(f"a second answer: {more.head[:60]!r}")]
    return found


def _answer(reader: ResponseReader, told: tuple[int, ...], bodiless: bool) -> Response | None:
    """A 200 to a CONNECT has no content, and to wait for its end would be to wait for the tunnel's."""
    if not bodiless:
        return reader.read()
    head = reader.peek_status()
    return reader.read(bodiless=head == 200)


def _listed(told: tuple[int, ...]) -> str:
    return "/".join(map(str, told))


def left(stage: Stage, seen: Mark, may_ask: bool) -> Sequence[Complaint]:
    """What left the proxy since, though nothing should have."""
    return [escape(text) for text in stage.world.left_since(seen, may_ask)]


def refused(
    family: str,
    what: str,
    source: str,
    sent: bytes,
    told: tuple[int, ...],
    reason: Reason | None = None,
    *needs: Need,
) -> Case:
    """By what was asked alone: not even a name is looked up."""
    play = Refused(sent, told)
    return Case(family, what, source, sent, play.expected, play, reason, frozenset(needs))


# ------------------------------------------------------------------------------------------------------------ tunnels


@dataclass(frozen=True)
class BrokenOff:
    """A tunnel is opened, then `said` in it; it is closed, an alert at most is told, and the destination
    reads not one byte."""

    host: str
    said: bytes
    port: str = "<tls>"

    def __call__(self, stage: Stage) -> Sequence[Complaint]:
        seen = stage.world.mark()
        with stage.connect() as client:
            found = self._of_client(client, stage)
        found += stage.world.ordinary(stage.proxy, stage.patience)
        return [*found, *[escape(text) for text in stage.world.read_since(seen)]]

    def _of_client(self, client: socket.socket, stage: Stage) -> list[Complaint]:
        reader = ResponseReader(client)
        try:
            send(client, stage.filled(connect(f"{self.host}:{self.port}")))
            answer = reader.read(bodiless=reader.peek_status() == 200)
            if answer is None or answer.status != 200:
                return [wrong_answer(f"told {answer.status if answer else 'nothing'} to an allowed CONNECT")]
            send(client, stage.filled(self.said))
            told = reader.rest + read_to_end(client)
        except TimeoutError:
            return [wrong_answer("the tunnel stays open")]
        except (NotAResponse, OSError) as error:
            return [] if isinstance(error, ConnectionResetError) else [wrong_answer(repr(error))]
        return [] if not told or is_alert(told) else [escape(f"came back: {told[:40]!r}")]


def is_alert(data: bytes) -> bool:
    """One fatal alert, or an HTTP refusal from the proxy itself where HTTP was spoken."""
    return (data[:1] == b"\x15" and len(data) == 7) or re.match(rb"HTTP/1\.[01] 4[0-9][0-9] ", data) is not None


def read_to_end(client: socket.socket, enough: int = 1 << 16) -> bytes:
    """All that comes until the end, or `enough`."""
    data = b""
    while len(data) < enough and (more := client.recv(65536)):
        data += more
    return data


def send(client: socket.socket, data: bytes) -> None:
    """What is refused in the middle need not be read to the end."""
    try:
        client.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        return
