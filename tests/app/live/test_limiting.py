"""What a process does on its own while the store of limits does not answer."""

import time
from typing import Any

import pytest

from gateway.app.live.limiting import Limiting, Seat
from gateway.limits.tables.table import StoreUnavailable
from gateway.model.limits.limit import Counted, Limit
from gateway.policy.buckets import Draw, Taken
from gateway.settings.gateway import GatewaySettings

DRAWS = [Draw(Limit("c", Counted.CONCURRENT, rate=24.0), ())]


def settings(**said: Any) -> GatewaySettings:
    return GatewaySettings.model_validate({"limits": {"store": "redis://127.0.0.1:1", **said}})


async def passing(limiting: Limiting) -> int:
    """How many places are free yet."""
    count = 0
    while isinstance(await limiting.limiter.store.take(DRAWS), Taken):
        count += 1
    return count


async def test_the_share_of_a_worker_is_that_of_a_gateway_over_its_workers_also_after_a_reload() -> None:
    limiting = Limiting(settings(replicas=4).limits, time, Seat(table=-1, slot=0, workers=3))
    assert await passing(limiting) == 24 // (4 * 3)
    limiting.prepare(settings(replicas=2))()
    assert await passing(limiting) == 24 // (2 * 3) - 2
    limiting.prepare(settings(on_store_failure="deny"))()
    with pytest.raises(StoreUnavailable):
        await passing(limiting)
    await limiting.close()
