"""A deadline rings a little late, never early, and only while its block runs."""

import asyncio
from functools import partial
from itertools import pairwise

import pytest

from gateway.model.errors import DownstreamError
from gateway.model.reasons import Reason
from gateway.serve.deadlines import DeadlineWheel

TICK = 0.01


@pytest.fixture
async def wheel() -> DeadlineWheel:
    return DeadlineWheel(asyncio.get_running_loop(), TICK)


def _error() -> DownstreamError:
    return DownstreamError(Reason.HEAD_TIMEOUT)


async def test_what_takes_too_long_is_cancelled_and_becomes_the_error(wheel: DeadlineWheel) -> None:
    started = asyncio.get_running_loop().time()
    with pytest.raises(DownstreamError, match="head_timeout"), wheel.within(0.05, _error):
        await asyncio.Event().wait()
    assert asyncio.get_running_loop().time() - started >= 0.05


@pytest.mark.parametrize("seconds", [TICK / 2, TICK, 7 * TICK])
async def test_alarms_that_are_set_all_the_time_ring_all_and_none_early(wheel: DeadlineWheel, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    rung: list[float] = []
    every = 40
    done = asyncio.Event()

    def ring(set_at: float) -> None:
        rung.append(loop.time() - set_at)
        if len(rung) == every:
            done.set()

    for _ in range(every):
        wheel.after(seconds, partial(ring, loop.time()))
        await asyncio.sleep(TICK / 8)
    await asyncio.wait_for(done.wait(), timeout=30)
    assert min(rung) >= seconds - 1e-9  # sums of whole milliseconds are no exact floats


async def test_what_is_done_in_time_is_left_alone(wheel: DeadlineWheel) -> None:
    with wheel.within(0.2, _error):
        await asyncio.sleep(0)
    await asyncio.sleep(0.3)  # past the deadline: nothing must come after the block


async def test_somebody_elses_cancellation_stays_a_cancellation(wheel: DeadlineWheel) -> None:
    async def block() -> None:
        with wheel.within(60, _error):
            await asyncio.Event().wait()

    task = asyncio.create_task(block())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_at_the_same_moment_as_the_deadline_wins(wheel: DeadlineWheel) -> None:
    async def block() -> None:
        with wheel.within(0.02, _error):
            await asyncio.Event().wait()

    task = asyncio.create_task(block())
    await asyncio.sleep(0)
    wheel.after(0.0, lambda: None)
    asyncio.get_running_loop().call_later(0.02, task.cancel)
    with pytest.raises((asyncio.CancelledError, DownstreamError)):
        await task
    assert task.cancelled() or task.done()


async def test_the_inner_of_two_blocks_rings_first(wheel: DeadlineWheel) -> None:
    with (
        wheel.within(5, lambda: DownstreamError(Reason.CLIENT_SILENT)),
        pytest.raises(DownstreamError, match="head_timeout"),
        wheel.within(0.02, _error),
    ):
        await asyncio.Event().wait()


async def test_alarms_ring_in_order_and_never_early(wheel: DeadlineWheel) -> None:
    loop = asyncio.get_running_loop()
    rung: list[tuple[float, float]] = []
    all_rung = asyncio.Event()

    def ring(due_at: float) -> None:
        rung.append((due_at, loop.time()))
        if len(rung) == 4:
            all_rung.set()

    for seconds in (0.08, 0.02, 0.0, 0.05):
        wheel.after(seconds, partial(ring, loop.time() + seconds))
    await all_rung.wait()
    ticks = [int(due_at / TICK) for due_at, _ in rung]
    assert all(one <= next_one + 1 for one, next_one in pairwise(ticks))  # close to each other in any order
    assert all(at >= due_at for due_at, at in rung)


async def test_a_cancelled_alarm_does_not_ring_even_from_its_own_slot(wheel: DeadlineWheel) -> None:
    rung: list[str] = []
    done = asyncio.Event()
    alarms = [wheel.after(0.02, lambda: rung.append("one"))]

    def cancel_the_rest() -> None:
        for alarm in alarms:
            alarm.cancel()

    alarms.append(wheel.after(0.02, cancel_the_rest))
    alarms.append(wheel.after(0.02, cancel_the_rest))
    wheel.after(0.05, done.set)
    await done.wait()
    assert len(rung) <= 1


async def test_an_alarm_that_fails_does_not_stop_the_others(
    wheel: DeadlineWheel, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("planted")

    rung = asyncio.Event()
    wheel.after(0.01, fail)
    wheel.after(0.03, rung.set)
    await asyncio.wait_for(rung.wait(), 60)
    assert "an alarm failed" in caplog.text


async def test_many_far_deadlines_share_few_slots(wheel: DeadlineWheel) -> None:
    alarms = [wheel.after(3600 + number / 10, lambda: None) for number in range(5_000)]
    assert len(wheel._slots) < 200
    for alarm in alarms:
        alarm.cancel()
