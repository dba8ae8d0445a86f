"""Content that goes on no faster than its bandwidth, and no further than its budget."""

import asyncio
from math import inf
from typing import TypeVar

from gateway.exchange.inlet import Outlet
from gateway.model.roles import Pace

AnOutlet = TypeVar("AnOutlet", bound=Outlet)


def paced(outlet: AnOutlet, pace: Pace | None) -> AnOutlet:
    """The same outlet; unchanged where nothing bounds its bytes."""
    if pace is not None:
        outlet.pacing = OutletPacing(outlet, pace)
    return outlet


def is_cut(outlet: Outlet | None) -> bool:
    """Nothing may follow any more: a budget is spent."""
    return outlet is not None and outlet.pacing is not None and outlet.pacing.is_cut


def part(*outlets: Outlet | None) -> None:
    """Nothing is written into these outlets any more."""
    for outlet in outlets:
        if outlet is not None and outlet.pacing is not None:
            outlet.pacing.part()


class OutletPacing:
    """Fulfils `inlet.Pacing`: written bytes are counted; then the outlet's source is not read for as long as the rate
    needs to make up for them."""

    __slots__ = ("_outlet", "_pace", "is_cut", "is_resting")

    def __init__(self, outlet: Outlet, pace: Pace) -> None:
        self._outlet: Outlet | None = outlet
        self._pace = pace
        self.is_resting = False
        self.is_cut = False

    def moved(self, size: int) -> None:
        """See `inlet.Pacing`."""
        seconds = self._pace.spend(size)
        if not seconds or self.is_resting or self._outlet is None:
            return
        self.is_resting = True
        self._outlet.source.pause()
        if seconds == inf:
            self.is_cut = True
            self._outlet.source.tell()
        else:
            asyncio.get_running_loop().call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        self.is_resting = False
        outlet = self._outlet
        if outlet is not None and outlet.stream.feeder is outlet and not outlet.stream.is_congested:
            outlet.relieved()

    def part(self) -> None:
        """See `inlet.Pacing`."""
        self._outlet = None
