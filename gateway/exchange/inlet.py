"""The two sides of an exchange: what each sends is parsed as it arrives, then sent on or held until it is taken.

At most `HOLD_BOUND` bytes of content and one read of the loop are held; what follows a message is left to the next one.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, MutableSequence
from typing import Generic, Protocol, TypeVar, cast

from gateway.exchange.fields import trailers_of
from gateway.model.errors import DownstreamError
from gateway.model.reasons import Reason
from gateway.model.roles import Deadlines, Pace, Waiting
from gateway.net.relay import LOOKS
from gateway.net.stream import HOLD_BOUND, Feeder, Stream
from gateway.wire.http.messages import End, Event, Fields, MalformedMessage, Request, Response
from gateway.wire.http.writing import chunk, last_chunk

H = TypeVar("H", Request, Response)

_SMALL = 1024  # bytes


class Signal:
    """Wakes the one task that waits for something to happen on either side."""

    __slots__ = ("_has_rung", "_loop", "_slot", "_waiter")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[bool] | None = None
        self._slot: set[Waiting] | None = None
        self._has_rung = False

    def congested(self) -> None:
        """See `Feeder`."""

    def relieved(self) -> None:
        """See `Feeder`."""
        self.ring()

    def ring(self) -> None:
        """Something happened; the waiting task checks what it was, also if its time is over and it has not run yet."""
        self._has_rung = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(True)

    async def wait(self) -> None:
        """Return at the next ring, or without one."""
        self._waiter, self._slot = self._loop.create_future(), None
        await self._waiter

    async def rings_within(self, seconds: float, deadlines: Deadlines, moved: Callable[[], int] | None = None) -> bool:
        """Return at the next ring. False: `seconds` passed without one. If there is `moved`, a change of what it tells,
        which rings nobody, restarts them; then it may be a quarter late."""
        looks, before = (1, 0) if moved is None else (LOOKS, moved())
        while looks:
            waiter: asyncio.Future[bool] = self._loop.create_future()
            self._waiter, self._has_rung = waiter, False
            slot = self._slot = deadlines.enlist(self, seconds if moved is None else seconds / LOOKS)
            try:
                if await waiter or self._has_rung:
                    return True
            finally:
                if self._waiter is waiter or self._slot is not slot:  # else another task waits by now in this slot
                    slot.discard(self)
            now = before if moved is None else moved()
            looks, before = (looks - 1 if now == before else LOOKS), now
        return False

    def expire(self) -> None:
        """See `Waiting`."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(False)


class Pacing(Protocol):
    """Bounds an outlet. `is_resting`: nothing may follow for the moment; `cut_by`: what lets nothing follow at all."""

    is_resting: bool
    cut_by: Pace | None

    def moved(self, size: int) -> None:
        """`size` bytes were written."""
        ...

    def detach(self) -> None:
        """Nothing follows: let go of the outlet, or the two would keep each other alive."""
        ...


class Sink(Protocol):
    """Where a message goes: a connection of HTTP/1, or one stream of HTTP/2. `is_congested`: more is queued than the
    peer takes; `feeder` is called when that begins and when it ends."""

    feeder: Feeder | None
    is_congested: bool

    def write(self, data: bytes) -> None:
        """The next bytes; they are queued."""
        ...

    def queued(self) -> int:
        """Bytes that the peer has not taken."""
        ...

    def abort(self) -> None:
        """End it as incomplete."""
        ...


HeadFields = list[tuple[str, str]]
"""A head of HTTP/2, its pseudo-header fields first."""

Head = bytes | HeadFields
"""In the form that its sink takes: for a connection of HTTP/1 that is bytes."""


class Channel(Sink, Protocol):
    """A sink that frames messages by itself, so that content is written to it unframed."""

    def begin(self, head: HeadFields, first: bytes, trailers: Fields | None) -> None:
        """A head, the first of its content and, unless they are None, the trailers that end it."""
        ...

    def conclude(self, trailers: Fields) -> None:
        """End the message, after what is queued."""
        ...


class Outlet:
    """Content on its way to `stream`, framed anew; while the peer does not take it, `source` is not read.

    `size` counts content without framing. `pacing` is None where nothing bounds its bytes. `trailers` are those of the
    message, None until that may end.
    """

    __slots__ = ("_is_chunked", "pacing", "size", "source", "stream", "trailers")

    def __init__(self, stream: Sink, source: "Inlet[Request] | Inlet[Response]", is_chunked: bool) -> None:
        self.stream = stream
        self.source = source
        self.size = 0
        self.pacing: Pacing | None = None
        self.trailers: Fields | None = None
        self._is_chunked = is_chunked and isinstance(stream, Stream)

    @property
    def taken(self) -> int:
        """How many bytes of it the socket has taken; framing that is still queued counts as content."""
        return max(0, self.size - self.stream.queued()) if self.size else 0

    def framed(self, data: bytes) -> bytes:
        """`data` with its framing. It counts as written."""
        self.size += len(data)
        if self.pacing is not None:
            self.pacing.moved(len(data))
        return chunk(data) if self._is_chunked else data

    def ending(self, end: End) -> bytes:
        """The bytes that end the content; a channel writes them itself."""
        self.trailers = trailers_of(end) if end.trailers else ()
        return last_chunk(self.trailers) if self._is_chunked else b""

    def opening(self) -> bytes:
        """What the source holds of the content, `framed`, and its `ending` if that is there as well."""
        held, end = self.source.held_content(), self.source.end
        first = self.framed(held) if held else b""
        return first if end is None else first + self.ending(end)

    def begin(self, head: Head, first: bytes) -> None:
        """A head and its `opening`, at once."""
        if isinstance(head, bytes):
            self.stream.write(head + first)
        else:
            cast("Channel", self.stream).begin(head, first, self.trailers)

    def write(self, data: bytes) -> None:
        """The next piece."""
        self.size += len(data)
        write = self.stream.write
        if self._is_chunked:
            write(b"%x\r\n" % len(data))
            write(data)
            write(b"\r\n")
        else:
            write(data)
        if self.pacing is not None:
            self.pacing.moved(len(data))

    def finish(self, end: End) -> None:
        """No piece follows."""
        last = self.ending(end)
        if last:
            self.stream.write(last)
        if not isinstance(self.stream, Stream):
            cast("Channel", self.stream).conclude(self.trailers or ())

    def congested(self) -> None:
        """See `Feeder`."""
        self.source.pause()

    def relieved(self) -> None:
        """See `Feeder`."""
        if self.pacing is None or not self.pacing.is_resting:
            self.source.go_on()


class Inlet(ABC, Generic[H]):
    """What one side sends. `tell` is called when something arrived that was not sent on. `heads` are those that nobody
    took yet. `end` is that of the current message; `has_begun`: a byte of it arrived; `fault`: it was malformed.
    `is_over`: the peer sends no more; `is_lost`: nor does it read."""

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

    @property
    def is_absent(self) -> bool:
        """Whether the peer sends no more, as far as that can be seen."""
        return self.is_over or self.is_lost

    def lost(self) -> None:
        """The peer is gone."""
        self.is_lost = True
        self.tell()

    def take(self, events: list[Event]) -> None:
        """Take over what the reader has parsed."""
        outlet = self._outlet
        for event in events:
            if type(event) is bytes:
                if outlet is not None:
                    outlet.write(event)
                    continue
                gather(self._content, event)
                self._held += len(event)
                if self._held >= HOLD_BOUND:
                    self.pause()
            elif type(event) is End:
                self.end = event
                if outlet is not None:
                    outlet.finish(event)
            else:
                self.heads.append(event)  # type: ignore[arg-type]  # a reader of requests reads no responses
        if outlet is None or self.end is not None:
            self.tell()

    def fail(self, malformed: MalformedMessage) -> None:
        """The peer sent something malformed."""
        self.take(malformed.events)
        malformed.__cause__ = malformed.__context__ = None
        self.fault = malformed.with_traceback(None)  # a traceback holds this inlet
        self.tell()

    # Called by the exchange.

    def held_content(self) -> bytes:
        """Take the content that is held."""
        if not self._content:
            return b""
        held = b"".join(self._content)
        self.drop()
        return held

    def drop(self) -> None:
        """Forget the content that is held."""
        self._content, self._held = [], 0

    def pour_into(self, outlet: Outlet) -> None:
        """Send content on as it arrives, from now on."""
        self._outlet = outlet
        outlet.stream.feeder = outlet
        if outlet.stream.is_congested:  # reported before this was its feeder
            self.pause()
        elif outlet.pacing is None or not outlet.pacing.is_resting:
            self.go_on()

    def begin(self) -> None:
        """The current message is done; what arrives is the next."""
        if self._outlet is not None:
            self._leave()
        self.end, self.has_begun = None, False
        if self._content:
            self.drop()
        if self._is_paused:
            self.go_on()

    @abstractmethod
    def detach(self) -> None:
        """Take nothing more."""

    @abstractmethod
    def pause(self) -> None:
        """Stop reading from the peer for now."""

    @abstractmethod
    def go_on(self) -> None:
        """Read again."""

    def _leave(self) -> None:
        outlet, self._outlet = self._outlet, None
        if outlet is None:
            return
        if outlet.stream.feeder is outlet:  # else it has another feeder by now
            outlet.stream.feeder = None
        if outlet.pacing is not None:
            outlet.pacing.detach()


def gather(pieces: MutableSequence[bytes], data: bytes) -> None:
    """Add to what is held. Small pieces are joined: as objects of their own they would take some twenty times the bytes
    that a bound counts."""
    if pieces and len(pieces[-1]) + len(data) <= _SMALL:
        pieces[-1] += data
    else:
        pieces.append(data)


def check_request(inlet: Inlet[Request]) -> None:
    """Raise `DownstreamError` if the current request cannot be completed, or nobody reads the answer."""
    if inlet.is_lost:
        raise DownstreamError(Reason.DOWNSTREAM_RESET, "before its answer was complete")
    if inlet.fault is not None:
        raise DownstreamError(inlet.fault.reason, inlet.fault.detail)
