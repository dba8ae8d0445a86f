"""One stream of HTTP/2 as an exchange sees it: an inlet for what comes, and a channel for what goes out.

The peer's window is opened by only as much as the other side of the exchange has taken: content that nobody takes is
neither sent nor held.
"""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from gateway.exchange.http2.session import Session
from gateway.exchange.inlet import H, HeadFields, Inlet, gather
from gateway.model.reasons import Reason
from gateway.net.stream import HOLD_BOUND, Feeder
from gateway.wire.http.messages import Event, Fields, MalformedMessage
from gateway.wire.http2.codes import ErrorCode
from gateway.wire.http2.heads import trailer_fields

_LOW = 16 * 1024
_TURN = 64 * 1024  # bytes that one stream sends in its turn


class Message(Protocol):
    """Reads one direction of a stream: see `wire.http2.messages`."""

    def head(self, fields: Fields, ended: bool) -> list[Event]: ...

    def data(self, data: bytes, ended: bool) -> list[Event]: ...


class StreamInlet(Inlet[H]):
    """Fulfils `session.StreamReceiver`. `code` is the error code of a stream that was reset. What follows a head that
    is too large is not read: it has no meaning, and the head is being answered."""

    __slots__ = ("_malformed", "_message", "_number", "_owed", "_session", "code")

    def __init__(
        self, session: Session, number: int, message: Message, malformed: Reason, tell: Callable[[], None]
    ) -> None:
        super().__init__(tell)
        self.code = ErrorCode.CANCEL
        self._session = session
        self._number = number
        self._message = message
        self._malformed = malformed
        self._owed = 0

    def head_came(self, fields: Fields, ended: bool) -> None:
        """See `StreamReceiver`."""
        self.has_begun = True
        if self.fault is not None:
            return
        try:
            events = self._message.head(fields, ended)
        except MalformedMessage as malformed:
            self._refuse(malformed)
            return
        self.take(events)

    def data_came(self, data: bytes, size: int, ended: bool) -> None:
        """See `StreamReceiver`."""
        self._owed += size
        self._session.withhold(size)
        if self.fault is not None:
            return
        try:
            events = self._message.data(data, ended)
        except MalformedMessage as malformed:
            self._refuse(malformed)
            return
        self.take(events)
        if not self._is_paused:
            self._pay(at_once=True)

    def _refuse(self, malformed: MalformedMessage) -> None:
        """Reset the stream, unless its head is only too large: that can still be answered."""
        if malformed.reason is not Reason.HEAD_TOO_LARGE:
            self.code = ErrorCode.PROTOCOL_ERROR
            self._session.leave(self._number)
            self._session.refuse(self._number, ErrorCode.PROTOCOL_ERROR)
        self.fail(malformed)

    def cut(self, code: ErrorCode, detail: str) -> None:
        """See `StreamReceiver`."""
        self.code = code
        if detail and code is not ErrorCode.REFUSED_STREAM:
            self.fail(MalformedMessage(self._malformed, detail))
        else:
            self.lost()

    def joined(self, number: int) -> None:
        """The stream was opened, and has this number."""
        self._number = number

    def detach(self) -> None:
        """See `Inlet`."""
        self._leave()
        self._pay()
        self._session.leave(self._number)

    def pause(self) -> None:
        """See `Inlet`."""
        self._is_paused = True

    def go_on(self) -> None:
        """See `Inlet`."""
        self._is_paused = False
        self._pay()

    def _pay(self, at_once: bool = False) -> None:
        if self._owed:
            owed, self._owed = self._owed, 0
            self._session.release(self._number, owed, at_once)


class Channel:
    """Fulfils `inlet.Channel`. `number` is 0 until a request of ours opens the stream. `code` is the error code that is
    sent if the stream is aborted; `tell` is called when nothing is queued any more."""

    __slots__ = (
        "_opened",
        "_pieces",
        "_queued",
        "_session",
        "_trailers",
        "code",
        "feeder",
        "has_ended",
        "is_congested",
        "number",
        "tell",
    )

    def __init__(self, session: Session, number: int, tell: Callable[[], None]) -> None:
        self.feeder: Feeder | None = None
        self.number = number
        self.code = ErrorCode.CANCEL
        self.has_ended = False
        self.tell = tell
        self._opened: Callable[[int], None] | None = None
        self._session = session
        self._pieces: deque[bytes] = deque()
        self._queued = 0
        self.is_congested = False
        self._trailers: Fields | None = None

    def opens(self, opened: Callable[[int], None]) -> None:
        """Have the next head open a stream of ours, and `opened` called with its number."""
        self._opened = opened

    def begin(self, head: HeadFields, first: bytes, trailers: Fields | None) -> None:
        """See `inlet.Channel`."""
        ends = trailers == () and not first
        self.send_head(head, ends)
        if ends:
            return
        if first and trailers == () and self._session.room(self.number) >= len(first):
            self._session.sender.send_data(self.number, first, True)
            self.has_ended = True
            return
        if first:
            self.write(first)
        if trailers is not None:
            self.conclude(trailers)

    def send_head(self, head: HeadFields, ends: bool) -> None:
        """One head; `ends`: nothing follows it."""
        session = self._session
        if self._opened is not None:
            opened, self._opened = self._opened, None
            self.number = session.sender.open(head, ends)
            opened(self.number)
        else:
            session.sender.send_head(self.number, head, ends)
        self.has_ended = ends
        session.flush_soon()

    def write(self, data: bytes) -> None:
        """See `Sink`."""
        if self.has_ended:
            return
        session = self._session
        if not self._pieces:
            room = session.room(self.number)
            if room:
                session.sender.send_data(self.number, data[:room], False)
                session.flush_soon()
                data = data[room:]
            if not data:
                return
            session.waiting[self.number] = self
        gather(self._pieces, data)
        self._queued += len(data)
        if self._queued > HOLD_BOUND and not self.is_congested:
            self.is_congested = True
            if self.feeder is not None:
                self.feeder.congested()

    def queued(self) -> int:
        """See `Sink`."""
        return self._queued

    def conclude(self, trailers: Fields) -> None:
        """See `inlet.Channel`."""
        if self._pieces:
            self._trailers = trailers
        else:
            self._finish(trailers)

    def _finish(self, trailers: Fields) -> None:
        if self.has_ended:
            return
        self.has_ended = True
        if trailers:
            self._session.sender.send_head(self.number, trailer_fields(trailers), True)
        else:
            self._session.sender.send_data(self.number, b"", True)
        self._session.flush_soon()

    def abort(self) -> None:
        """See `Sink`."""
        self.drop()
        if self.number:
            self._session.reset(self.number, self.code)

    def drop(self) -> None:
        """Drop what is queued, as nobody takes it, and write nothing more."""
        self._session.waiting.pop(self.number, None)
        self._pieces.clear()
        self._queued = 0
        self._trailers = None
        self._opened = None
        self.has_ended = True

    def pump(self) -> bool:
        """See `session.Writer`."""
        session, sent = self._session, 0
        while self._pieces and sent < _TURN:
            room = min(session.room(self.number), _TURN - sent)
            if not room:
                break
            piece = self._pieces.popleft()
            if len(piece) > room:
                self._pieces.appendleft(piece[room:])
                piece = piece[:room]
            session.sender.send_data(self.number, piece, False)
            sent += len(piece)
        self._queued -= sent
        session.flush_soon()
        if self._pieces:
            session.waiting[self.number] = self
        else:
            session.waiting.pop(self.number, None)
            self._emptied()
        if self.is_congested and self._queued <= _LOW:
            self.is_congested = False
            if self.feeder is not None:
                self.feeder.relieved()
        return bool(self._pieces) and sent >= _TURN

    def _emptied(self) -> None:
        if self._trailers is not None:
            self._finish(self._trailers)
        self.tell()
