"""What the two sides of an exchange send: parsed as it comes, held until it is asked for, or sent on at once.

Held are at most `HOLD_BOUND` bytes of content and one read of the loop; what follows a message is left to the next one.
"""

import asyncio
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from gateway.exchange.fields import trailers_of
from gateway.model.errors import DownstreamError
from gateway.model.reasons import Reason
from gateway.net.stream import HOLD_BOUND, Stream
from gateway.wire.http.codec import RequestReader
from gateway.wire.http.messages import End, Event, MalformedMessage, Request, Response
from gateway.wire.http.writing import chunk, last_chunk

H = TypeVar("H", Request, Response)


class Reader(Protocol):
    """What both readers of a codec have in common."""

    def receive(self, data: bytes) -> list[Event]: ...

    def receive_end(self) -> list[Event]: ...


class Signal:
    """Wakes the one task that waits for something to happen on either side."""

    __slots__ = ("_loop", "_waiter")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None

    def congested(self) -> None:
        """See `Feeder`."""

    def relieved(self) -> None:
        """See `Feeder`."""
        self.ring()

    def ring(self) -> None:
        """Something happened; who waits looks for himself what it was."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Until the next ring."""
        self._waiter = self._loop.create_future()
        await self._waiter


class Pacing(Protocol):
    """Bounds what an outlet writes. `is_resting`: nothing may follow for the moment; `is_cut`: nor ever."""

    is_resting: bool
    is_cut: bool

    def moved(self, size: int) -> None:
        """So much was written."""
        ...


class Outlet:
    """Content on its way to `stream`, framed anew; while the peer does not take it, `source` is not read.

    `size` counts content without framing. `pacing` is None where nothing bounds its bytes.
    """

    __slots__ = ("_is_chunked", "_write", "pacing", "size", "source", "stream")

    def __init__(self, stream: Stream, source: "Inlet[Request] | Inlet[Response]", is_chunked: bool) -> None:
        self.stream = stream
        self.source = source
        self.size = 0
        self.pacing: Pacing | None = None
        self._is_chunked = is_chunked
        self._write = stream.write

    @property
    def taken(self) -> int:
        """How much of it the socket has taken; framing that is still queued counts as content."""
        return max(0, self.size - self.stream.queued())

    def framed(self, data: bytes) -> bytes:
        """`data` as it goes over the wire. It counts as written."""
        self.size += len(data)
        if self.pacing is not None:
            self.pacing.moved(len(data))
        return chunk(data) if self._is_chunked else data

    def ending(self, end: End) -> bytes:
        """What says that the content is complete."""
        if not self._is_chunked:
            return b""
        return last_chunk(trailers_of(end)) if end.trailers else last_chunk()

    def write(self, data: bytes) -> None:
        """The next piece."""
        self.size += len(data)
        if self._is_chunked:
            self._write(b"%x\r\n" % len(data))
            self._write(data)
            self._write(b"\r\n")
        else:
            self._write(data)
        if self.pacing is not None:
            self.pacing.moved(len(data))

    def finish(self, end: End) -> None:
        """No piece follows."""
        last = self.ending(end)
        if last:
            self._write(last)

    def congested(self) -> None:
        """See `Feeder`."""
        self.source.pause()

    def relieved(self) -> None:
        """See `Feeder`."""
        if self.pacing is None or not self.pacing.is_resting:
            self.source.go_on()


class Inlet(Generic[H]):
    """Fulfils `Receiver` for one stream. `tell` is called when something came that nobody has taken.

    `heads` are those not yet taken. `end` is the end of the message at hand. `has_begun`: a byte of it came. `fault`:
    it was malformed. `is_over`: the peer sends no more; `is_lost`: nor does it read.
    """

    __slots__ = (
        "_content",
        "_held",
        "_is_paused",
        "_outlet",
        "_reader",
        "_stream",
        "end",
        "fault",
        "has_begun",
        "heads",
        "is_lost",
        "is_over",
        "tell",
    )

    def __init__(self, stream: Stream, reader: Reader, tell: Callable[[], None]) -> None:
        self.heads: list[H] = []
        self.end: End | None = None
        self.fault: MalformedMessage | None = None
        self.has_begun = False
        self.is_over = False
        self.is_lost = False
        self.tell = tell
        self._stream = stream
        self._reader = reader
        self._content: list[bytes] = []
        self._held = 0
        self._outlet: Outlet | None = None
        self._is_paused = False

    def join(self) -> None:
        """Take over the stream, with what it holds and what has happened to it."""
        self._stream.receiver = self
        held = self._stream.peek()
        if held:
            self._stream.consume(len(held))
            self.received(held)
        if self._stream.is_lost:
            self.lost()
        elif self._stream.has_ended:
            self.ended()

    # What the stream tells.

    def received(self, data: bytes) -> None:
        """See `Receiver`."""
        self.has_begun = True
        if self.end is not None:  # the next message, before its turn
            self.pause()
        try:
            events = self._reader.receive(data)
        except MalformedMessage as malformed:
            self._fail(malformed)
            return
        self.take(events)

    def ended(self) -> None:
        """See `Receiver`."""
        self.is_over = True
        try:
            events = self._reader.receive_end()
        except MalformedMessage as malformed:
            self._fail(malformed)
            return
        self.take(events)
        self.tell()

    def lost(self) -> None:
        """See `Receiver`."""
        self.is_lost = True
        self.tell()

    def take(self, events: list[Event]) -> None:
        """What the reader has read."""
        outlet = self._outlet
        for event in events:
            if isinstance(event, bytes):
                if outlet is not None:
                    outlet.write(event)
                else:
                    self._content.append(event)
                    self._held += len(event)
            elif isinstance(event, End):
                self.end = event
                if outlet is not None:
                    outlet.finish(event)
            else:
                self.heads.append(event)  # type: ignore[arg-type]  # a reader of requests reads no responses
        if outlet is None and self._held >= HOLD_BOUND:
            self.pause()
        if outlet is None or self.end is not None:
            self.tell()

    def _fail(self, malformed: MalformedMessage) -> None:
        self.take(malformed.events)
        self.fault = malformed
        self.tell()

    # What the exchange does with it.

    def held_content(self) -> bytes:
        """Content that came and was not sent on; it is taken."""
        content = self._content
        if not content:
            return b""
        held = content[0] if len(content) == 1 else b"".join(content)
        self.drop()
        return held

    def drop(self) -> None:
        """Forget the content that is held."""
        self._content = []
        self._held = 0

    def pour_into(self, outlet: Outlet) -> None:
        """From now on content goes on as it comes."""
        self._outlet = outlet
        outlet.stream.feeder = outlet
        if outlet.stream.queued() > HOLD_BOUND:  # told before anybody listened
            self.pause()
        elif outlet.pacing is None or not outlet.pacing.is_resting:
            self.go_on()

    def begin(self) -> None:
        """The message at hand was dealt with; what comes is the next."""
        if self._outlet is not None:
            self._outlet.stream.feeder = None
            self._outlet = None
        self.end = None
        self.has_begun = False
        self.drop()
        self.go_on()

    def part(self) -> None:
        """Leave the stream."""
        self._stream.receiver = None
        if self._outlet is not None:
            self._outlet.stream.feeder = None
            self._outlet = None

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


class RequestInlet(Inlet[Request]):
    """Of the client's side."""

    __slots__ = ("_requests",)

    def __init__(self, stream: Stream, reader: RequestReader, tell: Callable[[], None]) -> None:
        super().__init__(stream, reader, tell)
        self._requests = reader

    def proceed(self) -> None:
        """The request at hand is answered; what comes, or has come, is the next one."""
        self.begin()
        try:
            events = self._requests.proceed()
        except MalformedMessage as malformed:
            self._fail(malformed)
            return
        self.take(events)

    @property
    def has_something(self) -> bool:
        """Whether any of the next request has come."""
        return bool(self.heads) or self.fault is not None or not self._requests.is_between

    @property
    def leftover(self) -> bytes:
        """What came after the end of the request at hand."""
        return self._requests.leftover

    def check(self) -> None:
        """Raise `DownstreamError` if the request at hand cannot be completed, or nobody reads the answer."""
        if self.is_lost:
            raise DownstreamError(Reason.DOWNSTREAM_RESET, "before its answer was complete")
        if self.fault is None:
            return
        if self.is_over:
            raise DownstreamError(Reason.CLIENT_CLOSED, self.fault.detail)
        raise DownstreamError(self.fault.reason, self.fault.detail)
