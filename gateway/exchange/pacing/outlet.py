"""Content that goes on no faster than its bandwidth, and no further than its budget."""

import asyncio
from math import inf

from gateway.exchange.inlet import Inlet, Outlet
from gateway.model.roles import Pace
from gateway.net.stream import HOLD_BOUND, Stream
from gateway.wire.http.messages import Request, Response


def outlet_for(pace: Pace | None, stream: Stream, source: Inlet[Request] | Inlet[Response], is_chunked: bool) -> Outlet:
    """One that costs nothing where nothing bounds its bytes."""
    if pace is None:
        return Outlet(stream, source, is_chunked)
    return PacedOutlet(pace, stream, source, is_chunked)


class PacedOutlet(Outlet):
    """What it writes is spent; then its source is not read for as long as that takes to be there again."""

    __slots__ = ("_pace", "is_cut", "is_resting")

    def __init__(self, pace: Pace, stream: Stream, source: Inlet[Request] | Inlet[Response], is_chunked: bool) -> None:
        super().__init__(stream, source, is_chunked)
        self._pace = pace
        self.is_resting = False
        self.is_cut = False

    def framed(self, data: bytes) -> bytes:
        """See `Outlet`."""
        framed = super().framed(data)
        self._spend(len(data))
        return framed

    def write(self, data: bytes) -> None:
        """See `Outlet`."""
        super().write(data)
        self._spend(len(data))

    def relieved(self) -> None:
        """See `Feeder`."""
        if not self.is_resting:
            super().relieved()

    def _spend(self, size: int) -> None:
        seconds = self._pace.spend(size)
        if not seconds or self.is_resting:
            return
        self.is_resting = True
        self.source.pause()
        if seconds == inf:
            self.is_cut = True
            self.source.tell()
        else:
            asyncio.get_running_loop().call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        self.is_resting = False
        if self.stream.feeder is self and self.stream.queued() <= HOLD_BOUND:
            self.source.go_on()
