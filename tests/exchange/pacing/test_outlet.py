"""A rest of a request's content is nothing that outlives the request."""

import asyncio
import gc
import weakref
from typing import cast

from gateway.exchange.inlet import Outlet
from gateway.exchange.pacing.outlet import detach, is_resting, paced
from gateway.model.limits.limit import Retry


class Slow:
    """Fulfils `roles.Pace`: after every byte there is something to be waited for."""

    piece = 1

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def spend(self, size: int) -> float:
        return self._seconds

    def settle(self) -> float:
        return 0.0

    def refuse(self) -> Retry:
        raise AssertionError("no budget is spent")


class Source:
    """Of content. `told` is set when whoever waits for it is told of something."""

    def __init__(self) -> None:
        self.told = asyncio.Event()

    def pause(self) -> None:
        """It does not read anyway."""

    def tell(self) -> None:
        self.told.set()


class Writing:
    """In place of a stream, which has another feeder by now."""

    feeder = None


class Poured:
    """In place of an outlet."""

    def __init__(self) -> None:
        self.source = Source()
        self.stream = Writing()
        self.pacing = None


async def test_whoever_waits_for_a_source_is_told_of_the_end_of_its_rest() -> None:
    """From then on it may idle."""
    poured = Poured()
    outlet = cast("Outlet", poured)
    pacing = paced(outlet, Slow(0.01)).pacing
    assert pacing is not None
    pacing.moved(1)
    assert not poured.source.told.is_set()
    await asyncio.wait_for(poured.source.told.wait(), 10)
    assert not is_resting(outlet)


async def test_a_rest_is_over_with_its_request_and_holds_nothing_of_it() -> None:
    outlet, pace = cast("Outlet", Poured()), Slow(3600.0)
    pacing = paced(outlet, pace).pacing
    assert pacing is not None
    pacing.moved(1)
    assert is_resting(outlet)
    detach(outlet)
    held = weakref.ref(pace)
    del outlet, pace, pacing
    gc.collect()
    assert held() is None
