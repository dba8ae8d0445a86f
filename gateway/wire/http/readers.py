"""The two readers, as the protocols in `codec` specify them.

A head is matched by the grammar, its framing is judged, and a witness confirms the reading; then the content is taken
out of its framing.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from itertools import filterfalse
from typing import Generic, TypeVar

from gateway.model.reasons import Reason
from gateway.wire.grammar import REQUEST, RESPONSE, HeadGrammar, MalformedHead, find_head, match_head, split_fields
from gateway.wire.http.content import Bounds, ContentReader, open_content
from gateway.wire.http.framing import request_framing, response_framing
from gateway.wire.http.messages import MOST_INTERIM, Delimiter, End, Event, Fields, MalformedMessage, Request, Response
from gateway.wire.http.witness import Witness

_END = End()
_LINE_END = b"\r\n"
_LONGEST_LEFTOVER = 1_048_576
_LONGEST_REPEATED = 2048
_PIECE = 8192

Message = TypeVar("Message", Request, Response)

_DECISIVE = frozenset(("host", "content-length", "transfer-encoding", "connection", "proxy-connection", "upgrade"))
"""Fields that decide, for us or for a witness, how what follows them is read."""


def _size_of(message: Request | Response) -> int:
    """The size of the content after this head; -1 where that does not tell where the message ends."""
    delimiter, length = message.framing
    if isinstance(message, Response) and message.status < 200:
        return -1
    return length if delimiter is Delimiter.LENGTH else 0 if delimiter is Delimiter.NONE else -1


def _repeatable(head: bytes, fields: Fields) -> dict[str, tuple[str, str]]:
    """The fields whose line means the same wherever it stands, by their lines."""
    lines = head.decode("latin-1").split("\r\n")[1:-2]
    return {line: field for line, field in zip(lines, fields, strict=True) if field[0].lower() not in _DECISIVE}


class _Reader(ABC, Generic[Message]):
    """One message at a time, from a head that arrives in pieces to its end; a fault is final. What a head has in common
    with the one before is not parsed again: all of it, for a client that polls. Readers share nothing."""

    def __init__(self, grammar: HeadGrammar, witness: Witness, bounds: Bounds, is_paused: bool) -> None:
        self._grammar = grammar
        self._witness = witness
        self._bounds = bounds
        self._is_paused = is_paused
        self._held = bytearray()  # the beginning of a head or, while paused, what is left over
        self._seen = 0  # bytes of `_held` before which no head ends
        self._content: ContentReader | None = None
        self._is_closed = False
        self._fault: tuple[Reason, str] | None = None  # not the exception: its traceback leads back here
        self._last_head = b""
        self._last: Message | None = None
        self._last_size = -1  # see `_size_of`
        self._is_fresh = False  # nothing has come since the last message was done with
        self._known: dict[str, tuple[str, str]] = {}  # the fields of a head before, by their lines

    @property
    def leftover(self) -> bytes:
        return bytes(self._held) if self._is_paused else b""

    def receive(self, data: bytes) -> list[Event]:
        if self._is_fresh:  # mostly a whole message comes at once, with the head of the one before
            self._is_fresh = False
            head, last = self._last_head, self._last
            if last is not None and len(data) - len(head) == self._last_size and data.startswith(head):
                self._is_paused = True
                return [last, data[len(head) :], _END] if self._last_size else [last, _END]
        return self._events_of((data,))

    def _events_of(self, pieces: Iterable[bytes]) -> list[Event]:
        """A fault carries the events before it the first time, and is repeated without them."""
        if self._fault is not None:
            raise MalformedMessage(*self._fault)
        events: list[Event] = []
        try:
            for piece in pieces:
                self._read(piece, events)
            if self._is_closed and not self._is_paused:
                self._close(events)
        except MalformedMessage as fault:
            fault.events = events
            self._fault = fault.reason, fault.detail
            raise
        return events

    def receive_end(self) -> list[Event]:
        self._is_closed = True
        return self.receive(b"")

    def _read(self, data: bytes, events: list[Event]) -> None:
        while data and not self._is_paused:
            content = self._content
            if content is None:
                data = self._read_head(data, events)
                continue
            rest = content.read(data, events)
            if rest is None:
                break
            data, self._content, self._is_paused = rest, None, True
        if self._is_paused and data:
            self._keep(data)

    def _read_head(self, data: bytes, events: list[Event]) -> bytes:
        """What follows the head; nothing while it is incomplete."""
        held, grammar, last = self._held, self._grammar, self._last
        if last is not None and not held and data.startswith(self._last_head):
            self._begin(last, events)
            return data[len(self._last_head) :]
        if held:
            held += data
        whole = held or data
        start = 2 if grammar is REQUEST and whole.startswith(_LINE_END) else 0
        try:
            size = find_head(whole, grammar, start, self._seen)
            if (size or len(whole)) > self._bounds.head:
                raise MalformedMessage(grammar.too_large, f"a head of more than {self._bounds.head} bytes")
            if not size:
                self._hold(data)
                return b""
            if held:
                data = bytes(held)
                held.clear()
                self._seen = 0
            head = data[start:size]
            message = self._recall(head) or self._understand(head)
        except MalformedHead as fault:
            raise MalformedMessage(fault.reason, fault.detail) from fault
        if size <= _LONGEST_REPEATED:
            self._last_head, self._last, self._last_size = head, message, _size_of(message)
        self._begin(message, events)
        return data[size:]

    def _begin(self, message: Message, events: list[Event]) -> None:
        """Add the event of a head, and go on to its content."""
        self._open(message, events)

    def _open(self, message: Message, events: list[Event]) -> None:
        events.append(message)
        self._content = open_content(message, self._bounds, self._grammar.malformed)
        if self._content is None:
            events.append(_END)
            self._is_paused = True

    def _hold(self, data: bytes) -> None:
        """Keep the beginning of a head. If anything was held before, `data` was added to it already."""
        if not self._held:
            self._held += data
        self._seen = max(0, len(self._held) - 3)

    def _keep(self, data: bytes) -> None:
        if len(self._held) + len(data) > _LONGEST_LEFTOVER:
            raise MalformedMessage(self._grammar.too_large, f"more than {_LONGEST_LEFTOVER} bytes sent too early")
        self._held += data

    def _recall(self, head: bytes) -> Message | None:
        """The message of a head most of whose lines are known; None where all of it is to be read. The other lines are
        a head of their own, read and confirmed like any."""
        if self._last is None or len(head) > _LONGEST_REPEATED:
            return None
        known = self._known = self._known or _repeatable(self._last_head, self._last.fields)
        first, _, rest = head.decode("latin-1").partition("\r\n")
        lines = rest.split("\r\n")[:-2]
        new: list[str] = list(filterfalse(known.__contains__, lines))
        if len(new) > len(lines) // 2:
            self._known = {}
            return None
        try:
            read = self._understand("\r\n".join([first, *new, "", ""]).encode("latin-1"))
        except MalformedHead:  # it tells the number of a line
            return None
        fields = known | dict(zip(new, read.fields, strict=True))
        return read.with_fields(tuple(map(fields.__getitem__, lines)))

    @abstractmethod
    def _understand(self, head: bytes) -> Message:
        """The message of a whole head, judged and confirmed."""

    @abstractmethod
    def _close(self, events: list[Event]) -> None:
        """The peer sends no more, and the message or its absence is incomplete."""


class WitnessedRequestReader(_Reader[Request]):
    """A `RequestReader`."""

    def __init__(self, witness: Witness, bounds: Bounds) -> None:
        super().__init__(REQUEST, witness, bounds, is_paused=False)

    def is_between(self) -> bool:
        return self._content is None and self._held in (b"", b"\r", _LINE_END)

    def proceed(self) -> list[Event]:
        """What has come may be thousands of requests: only a little more than the next one is copied."""
        ahead = bytearray()
        if self._is_paused:
            ahead, self._held, self._is_paused = self._held, ahead, False
        if not (ahead or self._held or self._is_closed or self._fault):
            self._is_fresh = True
            return []
        return self._events_of(self._pieces_of(ahead))

    def _pieces_of(self, ahead: bytearray) -> Iterator[bytes]:
        """Until one message has ended; what follows that is left over."""
        taken = 0
        while taken < len(ahead) and not self._is_paused:
            piece = bytes(ahead[taken : taken + _PIECE])
            taken += len(piece)
            yield piece
        if self._is_paused:
            del ahead[: taken - len(self._held)]
            self._held = ahead

    def _recall(self, head: bytes) -> Request | None:
        """Many clients change nothing but the target: then the first line is read with Host, without which it would be
        no head, and the framing holds for the same method and version."""
        last = self._last
        if last is not None and head.endswith(lines := self._last_head[self._last_head.index(_LINE_END) :]):
            first = head[: -len(lines)]
            host = next((f"{name}: {value}\r\n" for name, value in last.fields if name.lower() == "host"), "")
            if _LINE_END not in first:
                read = self._understand(first + f"\r\n{host}\r\n".encode("latin-1"))
                if (read.method, read.minor) == (last.method, last.minor):
                    return Request(read.method, read.target, read.minor, last.fields, last.framing)
        return super()._recall(head)

    def _understand(self, head: bytes) -> Request:
        method, target, digit, lines = match_head(head, REQUEST).groups()
        minor, fields = int(digit), split_fields(lines)
        framing = request_framing(method, target, minor, fields)
        request = Request(method, target, minor, fields, framing)
        if not self._witness.confirms_request(head, request):
            raise _read_differently()
        return request

    def _close(self, events: list[Event]) -> None:
        if not self.is_between():
            raise MalformedMessage(Reason.CLIENT_CLOSED, "within a request")


def _read_differently(reason: Reason = Reason.MALFORMED_REQUEST) -> MalformedMessage:
    return MalformedMessage(reason, "a head that another parser reads differently")


class WitnessedResponseReader(_Reader[Response]):
    """A `ResponseReader`."""

    def __init__(self, witness: Witness, bounds: Bounds) -> None:
        super().__init__(RESPONSE, witness, bounds, is_paused=True)
        self._method = ""
        self._may_switch = False
        self._interim = 0
        self._is_switched = False

    def is_between(self) -> bool:
        return self._is_paused and not self._held and not self._is_switched

    def expect(self, method: str, *, upgrade: bool = False) -> None:
        if not self.is_between():
            raise MalformedMessage(Reason.MALFORMED_RESPONSE, "bytes before their request was sent")
        if method != self._method:  # after another method the same head may announce other content
            self._last_head, self._last = b"", None
        self._method = method
        self._may_switch = upgrade
        self._interim = 0
        self._is_paused, self._is_fresh = False, True

    def _understand(self, head: bytes) -> Response:
        digit, code, phrase, lines = match_head(head, RESPONSE).groups(default="")
        minor, status, fields = int(digit), int(code), split_fields(lines)
        framing = response_framing(self._method, status, minor, fields)
        response = Response(status, phrase, minor, fields, framing)
        if not self._witness.confirms_response(head, response):
            raise _read_differently(Reason.MALFORMED_RESPONSE)
        return response

    def _begin(self, message: Response, events: list[Event]) -> None:
        status = message.status
        if status == 101 and not self._may_switch:
            raise MalformedMessage(Reason.MALFORMED_RESPONSE, "a switch of protocols that nobody asked for")
        if status < 200 and status != 101:
            self._interim += 1
            if self._interim > MOST_INTERIM:
                raise MalformedMessage(Reason.MALFORMED_RESPONSE, f"more than {MOST_INTERIM} interim responses")
            events.append(message)
            return
        self._is_switched = status == 101 or (self._method == "CONNECT" and status < 300)
        self._open(message, events)

    def _close(self, events: list[Event]) -> None:
        if self._content is None or not self._content.ends_by_close:
            raise MalformedMessage(Reason.RESPONSE_INCOMPLETE, "the connection ended within a response, or before it")
        events.append(_END)
        self._content, self._is_paused = None, True
