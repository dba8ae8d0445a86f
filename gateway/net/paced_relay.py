"""Directions with a bound on bytes: after bytes have moved, the source rests for as long as the rate needs to make up
for them. In either form of a direction bytes are counted after they moved.
"""

import asyncio
from functools import partial
from math import inf

from gateway.model.reasons import Reason
from gateway.model.roles import Meter, Pace
from gateway.net.relay import Direction, Joining, Relay, join
from gateway.net.stream import Stream


def joining_for(meter: Meter | None) -> Joining:
    """How a relay joins two streams under these bounds."""
    return join if meter is None else partial(_join_paced, meter)


class _Paced(Direction):
    """The source is not read while it `_rests`, which its pace demands, or while the sink `_is_congested`."""

    __slots__ = ("_has_rested", "_is_congested", "_pace", "_rests", "_timer")

    def __init__(self, pace: Pace, relay: Relay, source: Stream, sink: Stream, is_up: bool) -> None:
        self._pace = pace
        self._rests = self._has_rested = self._is_congested = False
        self._timer: asyncio.Handle | None = None
        super().__init__(relay, source, sink, is_up)

    def begin(self) -> None:
        """Also rest for what earlier connections moved; last, because consuming what is held resumes reading."""
        super().begin()
        if self.source.receiver is not None:
            self._rest_for(self._pace.settle())

    def detach(self) -> None:
        """The timer is cancelled, as it may run for hours and would hold the tunnel for as long."""
        super().detach()
        if self._timer is not None:
            self._timer.cancel()

    def has_rested(self) -> bool:
        has_rested, self._has_rested = self._has_rested, self._rests
        return has_rested

    def received(self, data: bytes) -> None:
        super().received(data)
        self._rest_for(self._pace.spend(len(data)))

    def count(self, size: int) -> None:
        super().count(size)
        if size > 0:
            self._rest_for(self._pace.spend(size))

    def congested(self) -> None:
        self._is_congested = True
        super().congested()

    def relieved(self) -> None:
        self._is_congested = False
        if not self._rests or self.source.has_ended:
            super().relieved()

    def _start_splice(self) -> None:
        super()._start_splice()
        if self._splice is not None:
            self._splice.piece = min(self._splice.piece, self._pace.piece)
            if self._rests:
                self._splice.rest()
        elif self._rests and not self.source.has_ended:
            self.source.transport.pause_reading()

    def _rest_for(self, seconds: float) -> None:
        if not seconds or self._rests:
            return
        self._rests = self._has_rested = True
        if self._splice is not None:
            self._splice.rest()
        elif not self._in_kernel and not self.source.has_ended:
            self.source.transport.pause_reading()
        loop = self._relay.loop
        if seconds == inf:
            self._timer = loop.call_soon(self._cut)  # not from within the call that reports the bytes
        else:
            self._timer = loop.call_later(seconds, self._wake)

    def _cut(self) -> None:
        self._pace.refuse()
        self._relay.cut(Reason.BUDGET_SPENT)

    def _wake(self) -> None:
        self._rests = False
        if self._splice is not None:
            self._splice.go_on()
        elif not self._in_kernel and not self._is_congested and not self.source.has_ended:
            self.source.read_on()


def _join_paced(meter: Meter, relay: Relay, downstream: Stream, upstream: Stream) -> tuple[Direction, Direction]:
    return (
        _direction(meter.up, relay, downstream, upstream, is_up=True),
        _direction(meter.down, relay, upstream, downstream, is_up=False),
    )


def _direction(pace: Pace | None, relay: Relay, source: Stream, sink: Stream, is_up: bool) -> Direction:
    if pace is None:
        return Direction(relay, source, sink, is_up)
    return _Paced(pace, relay, source, sink, is_up)
