"""Messages that arrive on a connection of HTTP/1, one after the other, as a reader parses them."""

from collections.abc import Callable
from typing import Protocol

from gateway.exchange.inlet import H, Inlet
from gateway.net.stream import Stream
from gateway.wire.http.codec import RequestReader
from gateway.wire.http.messages import Event, MalformedMessage, Request


class Reader(Protocol):
    """What both readers of a codec have in common."""

    def receive(self, data: bytes) -> list[Event]: ...

    def receive_end(self) -> list[Event]: ...


class ConnectionInlet(Inlet[H]):
    """Fulfils `Receiver`: everything that arrives on the connection."""

    __slots__ = ("_reader", "_stream")

    def __init__(self, stream: Stream, reader: Reader, tell: Callable[[], None]) -> None:
        super().__init__(tell)
        self._stream = stream
        self._reader = reader

    def attach(self) -> None:
        """Receive from the stream from now on, beginning with what it holds."""
        self._stream.receiver = self
        held = self._stream.peek()
        if held:
            self._stream.consume(len(held))
            self.received(held)
        if self._stream.is_lost:
            self.lost()
        elif self._stream.has_ended:
            self.ended()

    # Called by the stream.

    def received(self, data: bytes) -> None:
        """See `Receiver`."""
        self.has_begun = True
        if self.end is not None:  # the next message, before its turn
            self.pause()
        try:
            events = self._reader.receive(data)
        except MalformedMessage as malformed:
            self.fail(malformed)
            return
        self.take(events)

    def ended(self) -> None:
        """See `Receiver`."""
        self.is_over = True
        try:
            events = self._reader.receive_end()
        except MalformedMessage as malformed:
            self.fail(malformed)
            return
        self.take(events)
        self.tell()

    @property
    def is_absent(self) -> bool:
        """See `Inlet`. While it is paused, the socket is asked."""
        return super().is_absent or self._stream.ended_unnoticed()

    def detach(self) -> None:
        """Receive nothing more from the stream."""
        self._stream.receiver = None
        self._leave()

    def pause(self) -> None:
        """Read no more for now."""
        if not self._is_paused and not self.is_lost:
            self._is_paused = True
            self._stream.transport.pause_reading()

    def go_on(self) -> None:
        """Read again."""
        if self._is_paused and not self.is_lost:
            self._is_paused = False
            self._stream.read_on()


class RequestInlet(ConnectionInlet[Request]):
    """What the client sends."""

    __slots__ = ("_requests",)

    def __init__(self, stream: Stream, reader: RequestReader, tell: Callable[[], None]) -> None:
        super().__init__(stream, reader, tell)
        self._requests = reader

    def proceed(self) -> None:
        """The current request is answered; what comes, or has come, is the next one."""
        self.begin()
        try:
            events = self._requests.proceed()
        except MalformedMessage as malformed:
            self.fail(malformed)
            return
        if events:
            self.take(events)
        if self.end is not None and not self._requests.is_between():
            self.pause()  # the request after it is here already

    def has_something(self) -> bool:
        """Whether any of the next request has come."""
        return bool(self.heads) or self.fault is not None or not self._requests.is_between()

    @property
    def leftover(self) -> bytes:
        """What came after the end of the current request."""
        return self._requests.leftover
