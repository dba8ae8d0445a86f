"""What the two sides of an exchange send: parsed as it comes, held until it is asked for, or sent on at once.

Held are at most `HOLD_BOUND` bytes of content and one read of the loop; what follows a message is left to the next one.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar, cast

from gateway.exchange.fields import trailers_of
from gateway.model.errors import DownstreamError
from gateway.model.reasons import Reason
from gateway.net.stream import HOLD_BOUND, Feeder, Stream
from gateway.wire.http.messages import End, Event, Fields, MalformedMessage, Request, Response
from gateway.wire.http.writing import chunk, last_chunk

H = TypeVar("H", Request, Response)


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

    def part(self) -> None:
        """Nothing follows: it lets go of its outlet, or they would keep each other."""
        ...


class Sink(Protocol):
    """Where a message goes: a connection of HTTP/1 as it is, or one stream of HTTP/2. `is_congested`: more is queued
    than the peer takes, of which `feeder` is told when it begins and when it ends."""

    feeder: Feeder | None
    is_congested: bool

    def write(self, data: bytes) -> None:
        """The next bytes; they are queued."""
        ...

    def queued(self) -> int:
        """Bytes that the peer has not taken."""
        ...

    def abort(self) -> None:
        """End it as something that is not whole."""
        ...


HeadFields = list[tuple[str, str]]
"""A head of HTTP/2, its pseudo-header fields first."""

Head = bytes | HeadFields
"""As its sink takes it: a connection of HTTP/1 takes bytes."""


class Channel(Sink, Protocol):
    """A sink that frames messages by itself, so that content is written to it as it is."""

    def begin(self, head: HeadFields, first: bytes, trailers: Fields | None) -> None:
        """A head, the first of its content and, if they are not None, the end."""
        ...

    def conclude(self, trailers: Fields) -> None:
        """The end, behind what is queued."""
        ...


class Outlet:
    """Content on its way to `stream`, framed anew; while the peer does not take it, `source` is not read.

    `size` counts content without framing. `pacing` is None where nothing bounds its bytes.
    """

    __slots__ = ("_channel", "_is_chunked", "_trailers", "_write", "pacing", "size", "source", "stream")

    def __init__(self, stream: Sink, source: "Inlet[Request] | Inlet[Response]", is_chunked: bool) -> None:
        self.stream = stream
        self._channel = None if isinstance(stream, Stream) else cast("Channel", stream)
        self._trailers: Fields | None = None
        self.source = source
        self.size = 0
        self.pacing: Pacing | None = None
        self._is_chunked = is_chunked and self._channel is None
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
        """What says that the content is complete; a channel says that by itself."""
        if self._channel is not None:
            self._trailers = trailers_of(end)
            return b""
        if not self._is_chunked:
            return b""
        return last_chunk(trailers_of(end)) if end.trailers else last_chunk()

    def opening(self, held: bytes, end: End | None) -> bytes:
        """What of the content is there already, `framed`, and its `ending` where that is there as well."""
        first = self.framed(held) if held else b""
        return first if end is None else first + self.ending(end)

    @property
    def trailers(self) -> Fields | None:
        """Of a channel's message whose end may be said; None: it may not yet."""
        return self._trailers

    def begin(self, head: Head, first: bytes) -> None:
        """A head and its `opening`, at once."""
        if isinstance(head, bytes):
            self._write(head + first)
        elif self._channel is not None:
            self._channel.begin(head, first, self.trailers)

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
        if self._channel is not None:
            self._channel.conclude(self._trailers or ())

    def congested(self) -> None:
        """See `Feeder`."""
        self.source.pause()

    def relieved(self) -> None:
        """See `Feeder`."""
        if self.pacing is None or not self.pacing.is_resting:
            self.source.go_on()


class Inlet(ABC, Generic[H]):
    """What one side sends. `tell` is called when something came that nobody has taken.

    `heads` are those not yet taken. `end` is the end of the message at hand. `has_begun`: a byte of it came. `fault`:
    it was malformed. `is_over`: the peer sends no more; `is_lost`: nor does it read.
    """

    __slots__ = (
        "_content",
        "_held",
        "_is_paused",
        "_outlet",
        "end",
        "fault",
        "has_begun",
        "heads",
        "is_lost",
        "is_over",
        "tell",
    )

    def __init__(self, tell: Callable[[], None]) -> None:
        self.heads: list[H] = []
        self.end: End | None = None
        self.fault: MalformedMessage | None = None
        self.has_begun = False
        self.is_over = False
        self.is_lost = False
        self.tell = tell
        self._content: list[bytes] = []
        self._held = 0
        self._outlet: Outlet | None = None
        self._is_paused = False

    def lost(self) -> None:
        """The peer is gone."""
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

    def fail(self, malformed: MalformedMessage) -> None:
        """What came was this."""
        self.take(malformed.events)
        malformed.__cause__ = malformed.__context__ = None
        self.fault = malformed.with_traceback(None)  # a traceback holds this inlet
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
        if outlet.stream.is_congested:  # told before anybody listened
            self.pause()
        elif outlet.pacing is None or not outlet.pacing.is_resting:
            self.go_on()

    def begin(self) -> None:
        """The message at hand was dealt with; what comes is the next."""
        if self._outlet is not None:
            self._leave()
        self.end = None
        self.has_begun = False
        if self._content:
            self.drop()
        if self._is_paused:
            self.go_on()

    @abstractmethod
    def part(self) -> None:
        """Take nothing more."""

    @abstractmethod
    def pause(self) -> None:
        """Let the peer send no more for now."""

    @abstractmethod
    def go_on(self) -> None:
        """Let it send again."""

    def _leave(self) -> None:
        outlet, self._outlet = self._outlet, None
        if outlet is None:
            return
        if outlet.stream.feeder is outlet:  # else it is fed by somebody else by now
            outlet.stream.feeder = None
        if outlet.pacing is not None:
            outlet.pacing.part()


def check_request(inlet: Inlet[Request]) -> None:
    """Raise `DownstreamError` if the request at hand cannot be completed, or nobody reads the answer."""
    if inlet.is_lost:
        raise DownstreamError(Reason.DOWNSTREAM_RESET, "before its answer was complete")
    if inlet.fault is not None:
        raise DownstreamError(inlet.fault.reason, inlet.fault.detail)
