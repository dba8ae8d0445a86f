"""Who waits for a bucket, and in which order they come through."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence

import pytest

from gateway.limits.queues import WAITING_OF_CLIENT, NotServed, Overdrawn, Queues
from gateway.limits.store import TableStore
from gateway.limits.tables.memory import MemoryTable
from gateway.model.errors import DownstreamError
from gateway.model.limits.limit import Counted, Limit
from gateway.policy.buckets import Draw, Lacking, Taken

QUEUE = Limit("q", Counted.REQUESTS, rate=50.0, burst=1.0, queue=True, max_wait=1.0)
HELD = Limit("h", Counted.CONCURRENT, rate=1.0, queue=True, max_wait=1.0)


class Queueing:
    """A store, its queues, and what became of everyone who came."""

    def __init__(self) -> None:
        self.store = TableStore(MemoryTable(), time)
        self.queues = Queues(self.store)
        self.longest: Counter[str] = Counter()

    async def come(self, client: str, draws: Sequence[Draw]) -> bool:
        """Whether it came through."""
        started = time.monotonic()
        try:
            before = self.queues.queue_before(draws)
            outcome = before or await self.store.take(draws)
            if isinstance(outcome, Lacking):
                outcome = await self.queues.wait(draws, client, outcome)
        except NotServed:
            return False
        finally:
            self.longest[client] = max(self.longest[client], time.monotonic() - started)  # type: ignore[assignment]  # seconds
        return isinstance(outcome, Taken)


async def test_small_clients_get_all_they_ask_beside_one_that_asks_ten_times_as_much() -> None:
    """50/s for three that ask for 100, 10 and 10 a second."""
    queueing, seconds = Queueing(), 2.5
    outcomes: dict[str, list[asyncio.Task[bool]]] = {"large": [], "small": [], "other": []}
    loop = asyncio.get_running_loop()
    started, late, behind = loop.time(), 0.0, 0.0
    for tick in range(int(seconds * 100)):
        await asyncio.sleep(max(0.0, started + tick / 100 - loop.time()))
        before, behind = behind, loop.time() - started - tick / 100
        if behind - before > 0.02:
            late += behind - before  # what the machine held everybody up for, all in all
        for client in ("large", "small", "other") if tick % 10 == 0 else ("large",):
            outcomes[client].append(asyncio.create_task(queueing.come(client, [Draw(QUEUE, ())])))
    passed = {client: sum([await task for task in tasks]) for client, tasks in outcomes.items()}
    assert passed["small"] == passed["other"] == seconds * 10
    assert passed["large"] < len(outcomes["large"])
    assert sum(passed.values()) <= 50 * (loop.time() - started) + 1
    assert max(queueing.longest.values()) < QUEUE.max_wait + 0.25 + late
    assert queueing.longest["small"] < 0.5 + late
    assert queueing.queues.waiting == 0


async def test_nobody_overtakes_a_line() -> None:
    queueing = Queueing()
    order: list[int] = []

    async def come(number: int) -> None:
        await queueing.come("one", [Draw(QUEUE, ())])
        order.append(number)

    await asyncio.gather(*(come(number) for number in range(6)))
    assert order == list(range(6))


async def test_a_place_that_is_given_back_wakes_the_next() -> None:
    queueing, draws = Queueing(), [Draw(HELD, ())]
    assert await queueing.come("a", draws)
    waiting = asyncio.create_task(queueing.come("b", draws))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    queueing.store.put_back(draws)
    queueing.queues.released(draws)
    assert await waiting


async def test_who_is_cancelled_or_gone_holds_nothing() -> None:
    queueing, draws = Queueing(), [Draw(HELD, ())]
    assert await queueing.come("a", draws)
    leaving = asyncio.create_task(queueing.come("b", draws))
    gone = asyncio.Event()

    async def presence() -> None:
        await gone.wait()

    going = asyncio.create_task(queueing.queues.wait(draws, "c", Lacking(Draw(HELD, ()), 1.0), presence))
    await asyncio.sleep(0.01)
    leaving.cancel()
    gone.set()
    with pytest.raises(DownstreamError):
        await going
    queueing.store.put_back(draws)
    queueing.queues.released(draws)
    assert await queueing.come("d", draws)
    assert queueing.queues.waiting == 0


async def test_a_limit_that_does_not_queue_refuses_who_waits_for_another() -> None:
    queueing = Queueing()
    strict = Limit("s", Counted.REQUESTS, rate=0.1, burst=1.0)
    assert await queueing.come("a", [Draw(QUEUE, ()), Draw(strict, ())])
    with pytest.raises(Overdrawn):
        await queueing.come("a", [Draw(QUEUE, ()), Draw(strict, ())])
    slow = strict._replace(name="slow")
    await queueing.store.take([Draw(slow, ())])
    await queueing.come("a", [Draw(QUEUE, ())])
    with pytest.raises(Overdrawn):
        await queueing.queues.wait([Draw(QUEUE, ()), Draw(slow, ())], "a", Lacking(Draw(QUEUE, ()), 0.01))


def _lines() -> set[str]:
    return {task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("queue of ")}


async def test_who_lacks_something_else_by_now_waits_in_that_line_alone() -> None:
    queueing = Queueing()
    draws = [Draw(QUEUE._replace(max_wait=30.0), ()), Draw(HELD._replace(max_wait=30.0), ())]
    assert await queueing.come("a", draws)
    waiting = asyncio.create_task(queueing.queues.wait(draws, "b", Lacking(draws[0], 0.01)))
    async with asyncio.timeout(20):
        while _lines() != {"queue of h"}:  # noqa: ASYNC110  # nobody is told of that
            await asyncio.sleep(0.001)
    queueing.store.put_back(draws)
    queueing.queues.released(draws)
    assert isinstance(await waiting, Taken)
    assert queueing.queues.waiting == 0


async def test_a_line_holds_no_more_than_so_many_of_one_client() -> None:
    queueing, draws = Queueing(), [Draw(HELD, ())]
    assert await queueing.come("a", draws)
    waiting = [asyncio.create_task(queueing.come("b", draws)) for _ in range(WAITING_OF_CLIENT)]
    await asyncio.sleep(0)
    assert not await queueing.come("b", draws)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_one_client_does_not_take_all_places_by_standing_in_many_lines() -> None:
    queueing, lines = Queueing(), 8
    each = [[Draw(HELD, (f"host {number}",))] for number in range(lines)]
    for draws in each:
        assert await queueing.come("a", draws)
    waiting = [
        asyncio.create_task(queueing.come("b", draws)) for draws in each for _ in range(WAITING_OF_CLIENT // lines)
    ]
    await asyncio.sleep(0)
    assert queueing.queues.waiting == WAITING_OF_CLIENT
    assert not await queueing.come("b", each[0])
    others = asyncio.create_task(queueing.come("c", each[0]))
    await asyncio.sleep(0)
    assert queueing.queues.waiting == WAITING_OF_CLIENT + 1
    for task in (*waiting, others):
        task.cancel()
    await asyncio.gather(*waiting, others, return_exceptions=True)
    assert queueing.queues.waiting == 0
    for draws in each:
        queueing.store.put_back(draws)
    assert await queueing.come("b", each[0])
