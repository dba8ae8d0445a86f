"""Content that goes on no faster than its bandwidth, and no further than its budget."""

import asyncio
from math import inf
from typing import TypeVar

from gateway.exchange.inlet import Outlet
from gateway.model.roles import Pace

AnOutlet = TypeVar("AnOutlet", bound=Outlet)


def paced(outlet: AnOutlet, pace: Pace | None) -> AnOutlet:
    """Bound what the outlet writes, if anything bounds it; returns the outlet."""
    if pace is not None:
        outlet.pacing = OutletPacing(outlet, pace)
    return outlet


def cut_by(*outlets: Outlet | None) -> Pace | None:
    """What lets nothing follow into one of these outlets any more, because a budget is spent."""
    pacings = (outlet.pacing for outlet in outlets if outlet is not None)
    return next((pacing.cut_by for pacing in pacings if pacing is not None and pacing.cut_by is not None), None)


def is_resting(*outlets: Outlet | None) -> bool:
    """Whether one of them writes nothing for the moment, because a bandwidth demands it."""
    return any(outlet is not None and outlet.pacing is not None and outlet.pacing.is_resting for outlet in outlets)


def detach(*outlets: Outlet | None) -> None:
    """Nothing is written into these outlets any more."""
    for outlet in outlets:
        if outlet is not None and outlet.pacing is not None:
            outlet.pacing.detach()


class OutletPacing:
    """Fulfils `inlet.Pacing`: counts bytes as they are written, and has the outlet's source rest for as long as the
    rate needs to make up for them. Who waits for the source is told of the end of a rest: from then on it may idle."""

    __slots__ = ("_outlet", "_pace", "_timer", "cut_by", "is_resting")

    def __init__(self, outlet: Outlet, pace: Pace) -> None:
        self._outlet: Outlet | None = outlet
        self._pace = pace
        self._timer: asyncio.TimerHandle | None = None
        self.is_resting = False
        self.cut_by: Pace | None = None

    def moved(self, size: int) -> None:
        """See `inlet.Pacing`."""
        seconds = self._pace.spend(size)
        if not seconds or self.is_resting or self._outlet is None:
            return
        self.is_resting = True
        self._outlet.source.pause()
        if seconds == inf:
            self.cut_by = self._pace
            self._outlet.source.tell()
        else:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        self.is_resting = False
        outlet = self._outlet
        if outlet is None:
            return
        outlet.source.tell()
        if outlet.stream.feeder is outlet and not outlet.stream.is_congested:
            outlet.relieved()

    def detach(self) -> None:
        """See `inlet.Pacing`."""
        self._outlet = None
        if self._timer is not None:
            self._timer.cancel()  # it may run for long
