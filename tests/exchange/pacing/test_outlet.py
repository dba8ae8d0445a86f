"""A rest of a request's content is nothing that outlives the request."""

import gc
import weakref
from typing import cast

from gateway.exchange.inlet import Outlet
from gateway.exchange.pacing.outlet import detach, is_resting, paced
from gateway.model.limits.limit import Retry


class Slow:
    """Fulfils `roles.Pace`: after every byte there is an hour to be waited for."""

    piece = 1

    def spend(self, size: int) -> float:
        return 3600.0

    def settle(self) -> float:
        return 0.0

    def refuse(self) -> Retry:
        raise AssertionError("no budget is spent")


class Source:
    """Of content."""

    def pause(self) -> None:
        """It does not read anyway."""


class Poured:
    """In place of an outlet."""

    def __init__(self) -> None:
        self.source = Source()
        self.pacing = None


async def test_a_rest_is_over_with_its_request_and_holds_nothing_of_it() -> None:
    outlet, pace = cast("Outlet", Poured()), Slow()
    pacing = paced(outlet, pace).pacing
    assert pacing is not None
    pacing.moved(1)
    assert is_resting(outlet)
    detach(outlet)
    held = weakref.ref(pace)
    del outlet, pace, pacing
    gc.collect()
    assert held() is None
