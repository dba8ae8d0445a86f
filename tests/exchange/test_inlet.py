"""Who waits for a signal hears that it rang, or that the time is over."""

import asyncio

from gateway.exchange.inlet import Signal
from gateway.serve.deadlines import DeadlineWheel

TICK = 0.01


async def test_a_wait_that_is_over_leaves_nothing_behind_that_could_end_the_next_one() -> None:
    loop = asyncio.get_running_loop()
    wheel, signal = DeadlineWheel(loop, TICK), Signal()
    loop.call_soon(signal.ring)
    assert await signal.rings_within(5 * TICK, wheel)
    cancelled = loop.create_task(signal.rings_within(5 * TICK, wheel))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    started = loop.time()
    assert not await signal.rings_within(20 * TICK, wheel)
    assert loop.time() - started >= 20 * TICK - 1e-9


async def test_a_ring_that_comes_with_the_end_of_the_time_is_heard() -> None:
    wheel, signal = DeadlineWheel(asyncio.get_running_loop(), TICK), Signal()
    waiting = asyncio.create_task(signal.rings_within(60, wheel))
    await asyncio.sleep(0)
    signal.ring()
    signal.expire()
    assert await waiting
