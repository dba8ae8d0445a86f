"""Limits over three replicas and one real Redis: bounded together, whatever becomes of it."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from typing import NamedTuple

from gateway.limits.replicas.link import Link, parse_place
from gateway.limits.replicas.store import OnFailure, ReplicaStore
from gateway.limits.tables.table import StoreUnavailable
from gateway.model.limits.limit import Counted, Limit
from gateway.policy.buckets import Draw, Lacking, Taken
from tests.helpers.redis_server import RedisServer

REPLICA = Path(__file__).with_name("replica.py")
RATE, BURST, LEASE, STALL = 100, 20, 5, 10
RETURN = 2 / 3 * RATE * 2.0
"""Two replicas have found Redis again and share the whole rate, while one still goes by its own third (or the other way
round): for two seconds, or less where the machine is not busy."""

Event = tuple[float, Callable[[], None]]


class Window(NamedTuple):
    """From an instant to another one."""

    begin: float
    end: float


class Offered(NamedTuple):
    """The instants of those that passed, from the first moment on; when each event began and was over; and for how long
    a replica was kept from running: for so long it may have missed what it could have, or told others later."""

    passed: Sequence[float]
    happened: Sequence[Window]
    late: float

    def between(self, begin: float, end: float) -> int:
        """How many passed."""
        return sum(begin <= instant < end for instant in self.passed)

    def check_floor(self, share: float, begin: float, end: float) -> None:
        """That share of the rate passed in the window, as far as the machine let replicas run."""
        assert self.between(begin, end) >= share * RATE * (end - begin - self.late)

    def check_bound(self, slack: float = 0.0, begin: float = 0.0, end: float = inf) -> None:
        """In no window more than rate x W + burst, and `STALL` as many: who asked learns of it when it gets to run."""
        passed = [instant for instant in self.passed if begin <= instant < end]
        windows = ((first, last) for first in range(len(passed)) for last in range(first, len(passed), 7))
        excesses = (
            (last - first + 1 - RATE * (passed[last] - passed[first]) - BURST, passed[first], passed[last])
            for first, last in windows
        )
        excess, begin, end = max(excesses, default=(0.0, begin, end))
        most = STALL + slack + RATE * self.late
        assert excess <= most, f"{excess:.1f} too many from {begin:.2f} s to {end:.2f} s, {most:.1f} are allowed"


def offer(url: str, on_failure: str, seconds: float, *events: Event) -> Offered:
    """Three replicas ask for 1,000 connections a second together. `events` are what happens to Redis, and when."""
    replicas = [
        subprocess.Popen(
            [sys.executable, str(REPLICA), url, on_failure, "333"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for replica in replicas:
        assert replica.stdout is not None
        assert replica.stdout.readline() == "ready\n"
    start = time.monotonic() + 0.3
    for replica in replicas:
        assert replica.stdin is not None
        replica.stdin.write(f"{start} {start + seconds}\n")
        replica.stdin.flush()
    happened = []
    for at, happen in events:
        time.sleep(max(0.0, start + at - time.monotonic()))
        began = time.monotonic() - start
        happen()
        happened.append(Window(began, time.monotonic() - start))
    told = [replica.communicate(timeout=60)[0].splitlines() for replica in replicas]
    late = max(float(lines[-1].removeprefix("late ")) for lines in told)
    return Offered(sorted(float(line) - start for lines in told for line in lines[:-1]), happened, late)


def test_three_replicas_let_through_what_one_would(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as redis:
        offered = offer(redis.url, "local", 3.0)
    offered.check_bound()
    offered.check_floor(0.96, 0.0, 3.0)


def test_while_redis_is_dead_each_keeps_its_share_and_then_they_share_again(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as redis:
        offered = offer(redis.url, "local", 6.0, (1.0, redis.kill), (2.5, redis.start))
    killed, started = offered.happened
    offered.check_bound(slack=3 * LEASE, end=started.begin)
    offered.check_bound(slack=3 * LEASE + RETURN)
    offered.check_floor(0.7, killed.end + 0.3, started.begin)
    offered.check_floor(0.8, started.end + 2.0, 6.0)


def test_deny_lets_nobody_through_while_redis_is_dead(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as redis:
        offered = offer(redis.url, "deny", 6.0, (0.8, redis.kill), (1.6, redis.start))
    killed, started = offered.happened
    offered.check_bound()
    assert offered.between(killed.end + 0.2 + offered.late, started.begin) == 0
    offered.check_floor(0.6, started.end + 2.5, 6.0)


def test_allow_counts_nothing_while_redis_is_dead(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as redis:
        offered = offer(redis.url, "allow", 6.0, (0.6, redis.kill), (1.2, redis.start))
    killed, started = offered.happened
    offered.check_floor(3.7, killed.end + 0.2, started.begin)
    offered.check_bound(begin=started.end + 3.0)


def test_a_redis_that_is_stopped_holds_nobody_up_for_long(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as redis:
        offered = offer(redis.url, "local", 5.0, (0.8, redis.stop), (2.5, redis.go_on))
    stopped, went_on = offered.happened
    offered.check_bound(slack=3 * LEASE, end=went_on.begin)
    offered.check_bound(slack=3 * LEASE + RETURN)
    offered.check_floor(0.6, stopped.end + 0.8, went_on.begin)
    offered.check_floor(0.8, went_on.end + 1.5, 5.0)


def test_a_redis_that_comes_back_empty_adds_no_more_than_two_bursts_each_time(tmp_path: Path) -> None:
    """One of the shares that each goes by meanwhile, one because the store has forgotten."""

    def restart() -> None:
        redis.kill()
        redis.start()

    with RedisServer(tmp_path) as redis:
        offered = offer(redis.url, "local", 3.0, (0.8, restart), (1.6, restart))
    offered.check_bound(slack=3 * LEASE + 2 * 2 * BURST + RETURN)


class _Stumbling(Link):
    """Its next question finds no answer if it `stumbles`."""

    stumbles = False

    async def run(self, keys: Sequence[str], arguments: Sequence[str]) -> Sequence[bytes | int]:
        stumbles, self.stumbles = self.stumbles, False
        if stumbles:
            raise StoreUnavailable("it stumbled")
        return await super().run(keys, arguments)


async def test_what_was_given_back_while_the_store_failed_is_told_once_it_answers(tmp_path: Path) -> None:
    draws = [Draw(Limit("c", Counted.CONCURRENT, rate=1.0), ())]
    with RedisServer(tmp_path) as redis:
        place = parse_place(redis.url)
        link = _Stumbling(place, "mine")
        mine, other = (ReplicaStore(each, time, OnFailure.DENY, None) for each in (link, Link(place, "other")))
        await mine.start()
        await other.start()
        assert isinstance(await mine.take(draws), Taken)
        assert isinstance(await other.take(draws), Lacking)
        link.stumbles = True
        mine.put_back(draws)
        async with asyncio.timeout(15):
            while isinstance(await other.take(draws), Lacking):  # noqa: ASYNC110  # only Redis knows
                await asyncio.sleep(0.05)
        assert not link.stumbles
        await mine.close()
        await other.close()


async def test_a_rate_that_was_raised_holds_at_once_over_replicas(tmp_path: Path) -> None:
    narrow = Limit("r", Counted.CONNECTIONS, rate=10 / 3600, burst=10.0)
    with RedisServer(tmp_path) as redis:
        store = ReplicaStore(Link(parse_place(redis.url), "mine"), time, OnFailure.DENY, None)
        await store.start()
        for _ in range(10):
            assert isinstance(await store.take([Draw(narrow, ())]), Taken)
        lacking = await store.take([Draw(narrow, ())])
        assert isinstance(lacking, Lacking)
        assert lacking.wait > 300
        raised = [Draw(narrow._replace(rate=5.0), ())]
        assert isinstance(await store.take(raised), Taken)
        lacking = await store.take(raised)
        assert isinstance(lacking, Lacking)
        assert lacking.wait <= 0.2
        await store.close()
