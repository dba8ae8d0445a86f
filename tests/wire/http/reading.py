"""What a reader, and what a library alone, makes of bytes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

import h11
import httptools

from gateway.wire.http.codec import RequestReader, ResponseReader
from gateway.wire.http.messages import End, Event, Fields, MalformedMessage, Request, Response


@dataclass
class Outcome:
    """Events with neighbouring body data joined; whether a fault followed; what was left over."""

    events: list[Event] = field(default_factory=list)
    refused: bool = False
    leftover: bytes = b""

    def add(self, events: Iterable[Event]) -> None:
        for event in events:
            last = self.events[-1] if self.events else None
            if isinstance(event, bytes) and isinstance(last, bytes):
                self.events[-1] = last + event
            else:
                self.events.append(event)

    def run(self, steps: Iterable[Callable[[], list[Event]]]) -> None:
        try:
            for step in steps:
                self.add(step())
        except MalformedMessage as fault:
            self.add(fault.events)
            self.refused = True


def read_requests(reader: RequestReader, segments: Iterable[bytes]) -> Outcome:
    """Every request, each proceeded from as soon as it has ended, and then the client's end."""
    outcome = Outcome()

    def proceeding(step: Callable[[], list[Event]]) -> None:
        outcome.run([step])
        while not outcome.refused and reader.leftover:
            outcome.run([reader.proceed])
        reader_is_paused = bool(outcome.events) and isinstance(outcome.events[-1], End)
        if reader_is_paused and not outcome.refused:
            outcome.run([reader.proceed])

    steps: list[Callable[[], list[Event]]] = [partial(reader.receive, segment) for segment in segments]
    for step in [*steps, reader.receive_end]:
        if not outcome.refused:
            proceeding(step)
    return outcome


def read_request(reader: RequestReader, segments: Iterable[bytes]) -> Outcome:
    """One request, and what is left over."""
    outcome = Outcome()
    outcome.run([*[partial(reader.receive, segment) for segment in segments], reader.receive_end])
    outcome.leftover = reader.leftover
    return outcome


def read_response(reader: ResponseReader, segments: Iterable[bytes], method: str = "GET") -> Outcome:
    """The responses to one request that may be answered by a switch, and the origin's end."""
    outcome = Outcome()
    reader.expect(method, upgrade=True)
    outcome.run([*[partial(reader.receive, segment) for segment in segments], reader.receive_end])
    outcome.leftover = reader.leftover
    return outcome


@dataclass
class Reading:
    """One message as a library reads it, without a look at it by us."""

    first: tuple[object, ...] = ()
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    is_whole: bool = False


def reading_of(events: list[Event]) -> Reading:
    """What we say of the last message among the events, in the same words."""
    reading = Reading()
    for event in events:
        match event:
            case Request():
                reading = Reading((event.method.encode(), event.target.encode()), _pairs(event.fields))
            case Response():
                reading = Reading((event.status, event.phrase.encode("latin-1")), _pairs(event.fields))
            case bytes():
                reading.body += event
            case End(trailers):
                reading.trailers = _pairs(trailers)
                reading.is_whole = True
    return reading


def _pairs(fields: Fields) -> list[tuple[bytes, bytes]]:
    """As both libraries may be compared: names in lower case, and the one value that h11 lowers."""
    pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields]
    return [(name, value.lower() if name == b"transfer-encoding" else value) for name, value in pairs]


def h11_alone(data: bytes, *, is_request: bool) -> Reading:
    """One message, and for a response the interim ones before it. Raises `h11.RemoteProtocolError`."""
    connection = h11.Connection(h11.SERVER if is_request else h11.CLIENT, max_incomplete_event_size=1 << 20)
    if not is_request:
        fields = [("Host", "a"), ("Connection", "upgrade"), ("Upgrade", "any")]
        connection.send(h11.Request(method="GET", target="/", headers=fields))
        connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    if not is_request:
        connection.receive_data(b"")
    reading = Reading()
    while True:
        event = connection.next_event()
        match event:
            case h11.Request():
                reading = Reading((event.method, event.target), list(event.headers))
            case h11.Response() | h11.InformationalResponse():
                reading = Reading((event.status_code, event.reason), list(event.headers))
                if event.status_code == 101:
                    reading.is_whole = True
                    return reading
            case h11.Data():
                reading.body += bytes(event.data)
            case h11.EndOfMessage():
                reading.trailers = list(event.headers)
                reading.is_whole = True
                return reading
            case _:
                return reading


class LlhttpAlone:
    """One message, or a response with the interim ones before it. Raises `httptools.HttpParserError`."""

    def __init__(self, data: bytes, *, is_request: bool) -> None:
        self.reading = Reading()
        self._first = b""
        self._in_head = True
        self._is_request = is_request
        self._parser = (httptools.HttpRequestParser if is_request else httptools.HttpResponseParser)(self)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.is_switch = True
        else:
            self.is_switch = False

    def on_message_begin(self) -> None:
        self.reading = Reading()
        self._first = b""
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        self._first = url

    def on_status(self, phrase: bytes) -> None:
        self._first = phrase

    def on_header(self, name: bytes, value: bytes) -> None:
        value = value.rstrip(b" \t")
        pair = (name.lower(), value.lower() if name.lower() == b"transfer-encoding" else value)
        (self.reading.fields if self._in_head else self.reading.trailers).append(pair)

    def on_headers_complete(self) -> None:
        self._in_head = False
        if isinstance(self._parser, httptools.HttpRequestParser):
            self.reading.first = (self._parser.get_method(), self._first)
        else:
            self.reading.first = (self._parser.get_status_code(), self._first)

    def on_body(self, data: bytes) -> None:
        self.reading.body += data

    def on_message_complete(self) -> None:
        self.reading.is_whole = True


def is_switch(events: list[Event]) -> bool:
    """Whether a library alone would stop reading HTTP after this head; we decide that later."""
    return any((isinstance(e, Request) and e.pauses) or (isinstance(e, Response) and e.status == 101) for e in events)


def check_others_agree(read: Callable[[bytes], Outcome], data: bytes, *, is_request: bool) -> None:
    """If `read` takes `data`, so do both libraries, to the same end. h11 knows no empty line before a request."""
    outcome = read(data)
    if outcome.refused:
        return
    message = data[: len(data) - len(outcome.leftover)]
    if is_request:
        message = message.removeprefix(b"\r\n")
    if not outcome.events:
        return
    ours = reading_of(outcome.events)
    assert ours == h11_alone(message, is_request=is_request)
    if any(isinstance(event, Response) and event.is_interim and event.values("connection") for event in outcome.events):
        return  # for llhttp an interim response with `Connection: close` is the last
    by_llhttp = LlhttpAlone(message, is_request=is_request)
    if not by_llhttp.is_switch:
        by_llhttp.reading.is_whole |= not is_request and outcome.events[-2:-1] != []  # until close
        assert ours == by_llhttp.reading
