"""Who waits for a signal hears that it rang, or that the time is over."""

import asyncio

from gateway.exchange.http1.inlets import RequestInlet
from gateway.exchange.inlet import Signal
from gateway.serve.deadlines import DeadlineWheel
from gateway.wire.http.codec import DEFAULT_BOUNDS, open_codec
from tests.helpers.deadlines import HandDeadlines
from tests.helpers.streams import stream_and_peer

TICK = 0.01
REQUEST = b"GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n"


async def test_while_further_requests_wait_that_are_here_already_nothing_more_is_read() -> None:
    downstream, client = await stream_and_peer()
    with client:
        inlet = RequestInlet(downstream, open_codec("auto").request_reader(DEFAULT_BOUNDS), lambda: None)
        inlet.attach()
        inlet.received(3 * REQUEST)
        reads = []
        for _ in range(2):
            inlet.proceed()
            reads.append(downstream.transport.is_reading())
        assert reads == [False, True]
        downstream.abort()


async def test_a_wait_that_another_task_leaves_behind_takes_no_time_out_from_the_one_that_follows() -> None:
    wheel, signal = DeadlineWheel(asyncio.get_running_loop(), TICK), Signal()
    former = asyncio.create_task(signal.rings_within(5 * TICK, wheel))
    await asyncio.sleep(0)
    following = asyncio.create_task(signal.rings_within(5 * TICK, wheel))
    await asyncio.sleep(0)
    former.cancel()
    async with asyncio.timeout(5):
        assert not await following


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


async def test_a_ring_that_comes_behind_the_end_of_the_time_is_heard() -> None:
    """A look at what has moved would pass over it, and nobody would look at what has rung again."""
    wheel, signal = DeadlineWheel(asyncio.get_running_loop(), TICK), Signal()
    for moved in (None, lambda: 0):
        waiting = asyncio.create_task(signal.rings_within(60, wheel, moved))
        await asyncio.sleep(0)
        signal.expire()
        signal.ring()
        async with asyncio.timeout(5):
            assert await waiting


async def test_a_wait_that_another_task_leaves_behind_ends_no_look_of_the_one_that_follows() -> None:
    deadlines, signal = HandDeadlines(), Signal()
    former = asyncio.create_task(signal.rings_within(1.0, deadlines))
    await asyncio.sleep(0)
    following = asyncio.create_task(signal.rings_within(4.0, deadlines, lambda: 0))
    await asyncio.sleep(0)
    former.cancel()
    await asyncio.wait([former])
    for _ in range(3):
        await _pass(deadlines, 1.0)
    assert not following.done()
    await _pass(deadlines, 1.0)
    assert not await following


async def test_a_wait_that_another_task_leaves_behind_ends_none_after_one_without_a_time() -> None:
    """Who is refused while it waits in a limit's queue sends the rest of its request, and then may be idle."""
    deadlines, signal = HandDeadlines(), Signal()

    async def follow() -> bool:
        await signal.wait()
        return await signal.rings_within(60.0, deadlines)

    former = asyncio.create_task(signal.rings_within(1.0, deadlines))
    await asyncio.sleep(0)
    following = asyncio.create_task(follow())
    await asyncio.sleep(0)
    former.cancel()
    await asyncio.wait([former])
    signal.ring()
    await _pass(deadlines, 0.0)
    await _pass(deadlines, 59.0)
    assert not following.done()
    await _pass(deadlines, 1.0)
    assert not await following


async def test_what_moves_without_a_ring_begins_the_time_anew_and_not_twice_of_it() -> None:
    deadlines, signal, moved = HandDeadlines(), Signal(), [0]
    waiting = asyncio.create_task(signal.rings_within(4.0, deadlines, lambda: moved[0]))
    await asyncio.sleep(0)
    moved[0] = 1
    for _ in range(4):
        await _pass(deadlines, 1.0)
    assert not waiting.done()
    await _pass(deadlines, 1.0)
    assert not await waiting


async def _pass(deadlines: HandDeadlines, seconds: float) -> None:
    deadlines.advance(seconds)
    for _ in range(3):
        await asyncio.sleep(0)
