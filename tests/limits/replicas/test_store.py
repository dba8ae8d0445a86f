"""Limits over three replicas and one real Redis: bounded together, whatever becomes of it."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path
from typing import NamedTuple

import pytest
from redis import Redis

from gateway.limits.replicas import store as store_of_replicas
from gateway.limits.replicas.link import CONNECTIONS, Link
from gateway.limits.replicas.script import TAG
from gateway.limits.replicas.store import OnFailure, ReplicaStore
from gateway.limits.store_url import parse_store_url
from gateway.limits.tables.memory import MemoryTable
from gateway.limits.tables.table import StoreUnavailable, TooManyKeys
from gateway.model.limits.limit import Counted, Limit
from gateway.policy.buckets import Draw, Lacking, Taken
from tests.helpers.redis_server import RedisServer

REPLICA = Path(__file__).with_name("replica.py")
RATE, BURST, LEASE, STALL = 100, 20, 5, 10
RETURN = 2 / 3 * RATE * 2.0
"""Two replicas have found Redis again and share the whole rate, while one still goes by its own third (or the other way
round): for two seconds, or less where the machine is not busy."""

Event = tuple[float, Callable[[], None]]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process: that a busy machine is late says nothing of the store. Replicas have the real patience."""
    monkeypatch.setattr("gateway.limits.replicas.link.ANSWER_SECONDS", 30.0)


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
        place = parse_store_url(redis.url)
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


async def _is_reported(store: ReplicaStore) -> None:
    async with asyncio.timeout(15):
        while store._owed or not store.is_up:  # noqa: ASYNC110  # nobody is told of what is reported in the background
            await asyncio.sleep(0.05)


async def test_what_moved_while_a_report_failed_is_reported_with_the_next_one(tmp_path: Path) -> None:
    """In the batch that failed: what had to wait for a later one was never lost. One that is counted may be followed by
    another that fails."""
    budget = Limit("b", Counted.BYTES, rate=1000.0, period=86400.0)
    with RedisServer(tmp_path) as redis:
        link = _Stumbling(parse_store_url(redis.url), "mine")
        store = ReplicaStore(link, time, OnFailure.DENY, None)
        await store.start()
        for amount in (200.0, 400.0):
            link.stumbles = True
            store.spend(Draw(budget, ("client",), amount))
            async with asyncio.timeout(15):
                while store.is_up:  # noqa: ASYNC110  # it notices in the background
                    await asyncio.sleep(0.01)
            await _is_reported(store)
            assert not link.stumbles
        assert store.spend(Draw(budget, ("client",), 399.0)) == 0.0
        await _is_reported(store)
        async with asyncio.timeout(15):
            while not store.spend(Draw(budget, ("client",), 1.0)):  # noqa: ASYNC110  # the answer comes in the background
                await asyncio.sleep(0.05)
        await store.close()


class _Faulty(Link):
    """Answers, but for what is broken in this program."""

    heartbeats = reports = 0

    async def send_heartbeat(self) -> int:
        self.heartbeats += 1
        if self.heartbeats == 2:
            raise RuntimeError("a bug of a heartbeat")
        return 1

    async def run(self, keys: Sequence[str], arguments: Sequence[str]) -> Sequence[bytes | int]:
        self.reports += 1
        if self.reports == 1:
            raise RuntimeError("a bug of a report")
        raise StoreUnavailable("not here")


async def test_a_fault_of_ours_is_logged_and_ends_neither_heartbeats_nor_reports(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(store_of_replicas, "HEARTBEAT_SECONDS", 0.01)
    link = _Faulty(parse_store_url("redis://127.0.0.1:1"), "mine")
    store = ReplicaStore(link, time, OnFailure.DENY, None)
    await store.start()
    async with asyncio.timeout(15):
        while link.reports < 2 or link.heartbeats < 3:
            store.spend(Draw(Limit("b", Counted.BYTES, rate=1000.0, period=86400.0), (), 600.0))
            await asyncio.sleep(0.01)
    await store.close()
    assert "a bug of a heartbeat" in caplog.text
    assert "a bug of a report" in caplog.text


async def test_what_a_fault_left_unreported_waits_for_nothing_else_that_is_to_be_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store_of_replicas, "HEARTBEAT_SECONDS", 0.01)
    link = _Faulty(parse_store_url("redis://127.0.0.1:1"), "mine")
    store = ReplicaStore(link, time, OnFailure.DENY, None)
    await store.start()
    budget = Limit("b", Counted.BYTES, rate=1000.0, period=86400.0)
    for client in range(store_of_replicas.BATCH + 1):
        store.spend(Draw(budget, (str(client),), 600.0))
    async with asyncio.timeout(5):
        while link.reports < 2:  # noqa: ASYNC110  # nobody is told of what is reported in the background
            await asyncio.sleep(0.01)
    await store.close()


class _Slow(Link):
    """Counts what moved, and its answer comes too late."""

    counted = 0

    async def send_heartbeat(self) -> int:
        return 1

    async def run(self, keys: Sequence[str], arguments: Sequence[str]) -> Sequence[bytes | int]:
        self.counted += 1
        raise StoreUnavailable("too late")


async def test_what_a_slow_store_counted_without_an_answer_is_not_reported_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store_of_replicas, "PROBE_SECONDS", 0.01)
    link = _Slow(parse_store_url("redis://127.0.0.1:1"), "mine")
    store = ReplicaStore(link, time, OnFailure.DENY, None)
    await store.start()
    for reports in (2, 4):
        store.spend(Draw(Limit("b", Counted.BYTES, rate=1000.0, period=86400.0), (), 600.0))
        await _is_reported(store)
        assert link.counted == reports
    assert not store._repeated
    await store.close()


async def test_a_rate_that_was_raised_holds_at_once_over_replicas(tmp_path: Path) -> None:
    narrow = Limit("r", Counted.CONNECTIONS, rate=10 / 3600, burst=10.0)
    with RedisServer(tmp_path) as redis:
        store = ReplicaStore(Link(parse_store_url(redis.url), "mine"), time, OnFailure.DENY, None)
        await store.start()
        for _ in range(10):
            assert isinstance(await store.take([Draw(narrow, ())]), Taken)
        lacking = await store.take([Draw(narrow, ())])
        assert isinstance(lacking, Lacking)
        assert lacking.wait > 300
        raised = [Draw(narrow._replace(rate=0.5), ())]
        assert isinstance(await store.take(raised), Taken)
        lacking = await store.take(raised)
        assert isinstance(lacking, Lacking)
        assert lacking.wait <= 2.0
        await store.close()


DAY = Limit("d", Counted.BYTES, rate=10.0, period=1.0)


class _Stopped:
    """The clock of a gateway on which the period of a budget does not end."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.monotonic = monotonic
        self._time = time.time()

    def time(self) -> float:
        return self._time


async def test_a_budget_that_is_spent_is_not_carried_into_the_next_period_by_a_gateway_whose_clock_is_behind(
    tmp_path: Path,
) -> None:
    draws = [Draw(DAY, (), 0.0)]
    with RedisServer(tmp_path) as redis:
        mine = ReplicaStore(Link(parse_store_url(redis.url), "mine"), _Stopped(), OnFailure.DENY, None)
        await mine.start()
        mine.spend(Draw(DAY, (), 20.0))
        async with asyncio.timeout(15):
            while not list(mine.listed()):  # noqa: ASYNC110  # it is told in the background
                await asyncio.sleep(0.01)
            while isinstance(await mine.take(draws), Lacking):  # noqa: ASYNC110  # Redis's own time passes
                await asyncio.sleep(0.05)
        await mine.close()


@pytest.mark.parametrize("counted", [Counted.BANDWIDTH, Counted.BYTES])
async def test_what_moved_too_much_waits_until_the_store_has_something_again(tmp_path: Path, counted: Counted) -> None:
    """Of 2,500 bytes the burst is 500; the others take two seconds, and the next one a thousandth. A budget waits for
    its next period. Both are known at once, and the store agrees."""
    limit, clock = Limit("l", counted, rate=1000.0, burst=500.0, period=86_400.0), _Stopped(lambda: 1.0)
    with RedisServer(tmp_path) as redis:
        store = ReplicaStore(Link(parse_store_url(redis.url), "mine"), clock, OnFailure.DENY, None)
        await store.start()
        wait = 2.001 if counted is Counted.BANDWIDTH else 86_400.0 - clock.time() % 86_400.0
        assert store.spend(Draw(limit, (), 2500.0)) == pytest.approx(wait)
        async with asyncio.timeout(15):
            while not list(store.listed()):  # noqa: ASYNC110  # it is told in the background
                await asyncio.sleep(0.01)
        assert store.spend(Draw(limit, (), 0.0)) == pytest.approx(wait)
        await store.close()


async def test_a_budget_in_report_mode_lets_all_pass_after_it_is_spent(tmp_path: Path) -> None:
    draws = [Draw(Limit("b", Counted.BYTES, rate=1000.0, period=86_400.0, report=True), (), 0.0)]
    with RedisServer(tmp_path) as redis:
        store = ReplicaStore(Link(parse_store_url(redis.url), "mine"), time, OnFailure.DENY, None)
        await store.start()
        store.spend(draws[0]._replace(amount=2500.0))
        async with asyncio.timeout(15):
            while not store.spend(draws[0]):  # noqa: ASYNC110  # it is told in the background
                await asyncio.sleep(0.01)
        assert isinstance(await store.take(draws), Taken)
        await store.close()


async def test_a_client_that_invents_keys_does_not_fill_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.limits.replicas.share.MemoryTable", lambda: MemoryTable(keys=10))
    slow = Limit("r", Counted.CONNECTIONS, rate=0.01)
    with RedisServer(tmp_path) as redis:
        store = ReplicaStore(Link(parse_store_url(redis.url), "mine"), time, OnFailure.DENY, None)
        await store.start()

        async def passes(key: str, client: str) -> bool:
            try:
                return isinstance(await store.take([Draw(slow, (key,), client=client)]), Taken)
            except TooManyKeys:
                return False

        assert [await passes(f"{number}.test", "evil") for number in range(8)] == [True] * 5 + [False] * 3
        assert await passes("new.test", "other")
        assert not await passes("0.test", "other")
        with Redis.from_url(redis.url) as client:
            assert sum(1 for _ in client.scan_iter(f"{TAG}:r*")) == 6
        await store.close()


async def test_what_a_limit_in_report_mode_would_refuse_takes_nothing_in_redis_either(tmp_path: Path) -> None:
    shadow = Limit("r", Counted.CONNECTIONS, rate=0.01, report=True)
    with RedisServer(tmp_path) as redis:
        store = ReplicaStore(Link(parse_store_url(redis.url), "mine"), time, OnFailure.DENY, None)
        await store.start()
        taken = [await store.take([Draw(shadow, ())]) for _ in range(10)]
        assert [outcome.over for outcome in taken if isinstance(outcome, Taken)] == [(), *[(shadow,)] * 9]
        ((_, (full_at, _)),) = store.listed()
        assert full_at - time.monotonic() <= 100.0
        await store.close()


async def test_a_store_that_refuses_the_login_is_told_of_by_its_refusal_and_what_holds_meanwhile(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with RedisServer(tmp_path, "--requirepass", "secret") as redis:
        for on_failure, replicas in (
            (OnFailure.DENY, 2),
            (OnFailure.ALLOW, 2),
            (OnFailure.LOCAL, 2),
            (OnFailure.LOCAL, None),
        ):
            store = ReplicaStore(Link(parse_store_url(redis.url), "mine"), time, on_failure, replicas)
            await store.start()
            await store.close()
    told = [
        message.partition("the limits' store does not answer (AuthenticationError): ")[2] for message in caplog.messages
    ]
    assert told == [
        "what has limits is refused",
        "nothing is counted",
        "each replica has its share of every limit",
        "what has limits is refused, as limits.replicas does not say how many share them",
    ]


class _Crowded(Link):
    """Counts who asks at the same time. Nobody is there to answer, but for a sign of life."""

    asking = most = 0

    async def send_heartbeat(self) -> int:
        return 1

    async def run(self, keys: Sequence[str], arguments: Sequence[str]) -> Sequence[bytes | int]:
        self.asking += 1
        self.most = max(self.most, self.asking)
        await asyncio.sleep(0)
        self.asking -= 1
        return [1, 0, b"0", b"0.1", 0, 0, 0]


async def test_no_more_ask_at_once_than_there_are_connections_however_many_buckets_there_are() -> None:
    """A pool that has none left says that the store cannot be reached, and that is believed."""
    limit = Limit("r", Counted.CONNECTIONS, rate=100.0, burst=20.0)
    link = _Crowded(parse_store_url("redis://127.0.0.1:1"), "mine")
    store = ReplicaStore(link, time, OnFailure.DENY, None)
    await store.start()
    outcomes = await asyncio.gather(*(store.take([Draw(limit, (str(client),))]) for client in range(100)))
    assert {type(outcome) for outcome in outcomes} == {Taken}
    assert 1 < link.most <= CONNECTIONS - 2
    await store.close()


def test_what_was_drawn_ahead_is_not_lost_when_others_invent_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_of_replicas, "BUCKETS", 10)
    busy = Draw(Limit("r", Counted.CONNECTIONS, rate=100.0, burst=20.0), ("busy",))
    store = ReplicaStore(Link(parse_store_url("redis://127.0.0.1:1"), "mine"), time, OnFailure.DENY, None)
    ahead = store._ahead(busy)
    for number in range(30):
        store._ahead(busy._replace(key=(str(number),)))
        assert store._ahead(busy) is ahead
    assert len(store._aheads) == 10


class _Babbling(Link):
    """Answers nonsense for as long as it `babbles`."""

    babbles = True

    async def send_heartbeat(self) -> int:
        if self.babbles:
            raise StoreUnavailable("nonsense")
        return 1

    async def run(self, keys: Sequence[str], arguments: Sequence[str]) -> Sequence[bytes | int]:
        return [b"what?"] if self.babbles else [1, 0, b"0", b"0.1", 0, 0, 0]


async def test_a_store_that_answers_nonsense_is_away_until_it_answers_sense() -> None:
    draws = [Draw(Limit("c", Counted.CONCURRENT, rate=1.0), ())]
    link = _Babbling(parse_store_url("redis://127.0.0.1:1"), "mine")
    link.babbles = False
    store = ReplicaStore(link, time, OnFailure.DENY, None)
    await store.start()
    link.babbles = True
    with pytest.raises(StoreUnavailable):
        await store.take(draws)
    assert (store.is_up, store._share.held) == (False, {})
    link.babbles = False
    async with asyncio.timeout(15):
        while not store.is_up:  # noqa: ASYNC110  # it looks by itself
            await asyncio.sleep(0.05)
    assert isinstance(await store.take(draws), Taken)
    await store.close()


class _Gone(Link):
    """Nobody answers."""

    async def send_heartbeat(self) -> int:
        raise StoreUnavailable("gone")


async def test_what_a_reload_says_of_an_outage_holds_during_it() -> None:
    draws = [Draw(Limit("c", Counted.CONCURRENT, rate=4.0), ())]
    store = ReplicaStore(_Gone(parse_store_url("redis://127.0.0.1:1"), "mine"), time, OnFailure.DENY, None)
    with pytest.raises(StoreUnavailable):
        await store.take(draws)
    store.follow(OnFailure.LOCAL, 4)
    assert isinstance(await store.take(draws), Taken)
    assert isinstance(await store.take(draws), Lacking)
    store.follow(OnFailure.ALLOW, None)
    assert isinstance(await store.take(draws), Taken)
    assert store.spend(Draw(Limit("b", Counted.BANDWIDTH, rate=1.0), (), 1e6)) == 0.0
    assert store.unchecked == 1  # a connection, however many bytes it moves


async def test_what_is_not_held_any_more_is_not_listed_whether_the_store_answers_or_not() -> None:
    draws = [Draw(Limit("c", Counted.CONCURRENT, rate=4.0), ())]
    store = ReplicaStore(_Gone(parse_store_url("redis://127.0.0.1:1"), "mine"), time, OnFailure.LOCAL, 2)
    for _ in range(2):
        assert isinstance(await store.take(draws), Taken)
    assert dict(store.listed()) == {("c", ()): (2.0, 0.0)}
    assert isinstance(await store.take(draws), Lacking)
    store.put_back(2 * draws)
    assert dict(store.listed()) == {}


async def test_how_many_replicas_there_are_is_the_stores_to_say() -> None:
    draws = [Draw(Limit("c", Counted.CONCURRENT, rate=1.0), ())]
    link = _Babbling(parse_store_url("redis://127.0.0.1:1"), "mine")
    link.babbles = False
    store = ReplicaStore(link, time, OnFailure.LOCAL, 4)
    await store.start()
    store.follow(OnFailure.LOCAL, 4)
    link.babbles = True
    assert isinstance(await store.take(draws), Taken)
    store.put_back(draws)
    store.follow(OnFailure.LOCAL, 4)
    assert isinstance(await store.take(draws), Taken)
    await store.close()


async def test_what_cannot_be_told_while_the_store_is_away_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_of_replicas, "BUCKETS", 100)
    held = Limit("c", Counted.CONCURRENT, rate=1000.0)
    gate = Limit("r.retry_after", Counted.BANDWIDTH, rate=1e6, burst=1e3)
    store = ReplicaStore(_Gone(parse_store_url("redis://127.0.0.1:1"), "mine"), time, OnFailure.ALLOW, None)
    await store.start()
    await store.take([Draw(held, ("kept",))])
    for host in range(1000):
        draws = [Draw(held, (str(host),))]
        await store.take(draws)
        store.put_back(draws)
        store.hold_off(Draw(gate, (str(host),)), 60.0)
    assert len(store._unreported) <= 103
    assert ("c", ("kept",)) in store._unreported
    assert not store._owed
    await store.close()


async def test_a_destination_is_left_alone_until_the_latest_instant_that_it_named(tmp_path: Path) -> None:
    gate = Draw(Limit("r.retry_after", Counted.BANDWIDTH, rate=1e6, burst=1e3), ())
    with RedisServer(tmp_path) as redis:
        url = parse_store_url(redis.url)
        told, other = (ReplicaStore(Link(url, name), time, OnFailure.DENY, None) for name in ("told", "other"))
        await told.start()
        await other.start()
        for seconds in (2.0, 60.0, 5.0):
            told.hold_off(gate, seconds)
            await _is_reported(told)
        for store in (told, other):
            lacking = await store.take([gate])
            assert isinstance(lacking, Lacking)
            assert lacking.wait > 30
        await told.close()
        await other.close()


async def test_what_is_said_while_a_report_is_under_way_is_not_forgotten_for_its_answer(tmp_path: Path) -> None:
    gate = Draw(Limit("r.retry_after", Counted.BANDWIDTH, rate=1e6, burst=1e3), ())
    with RedisServer(tmp_path) as redis:
        store = ReplicaStore(Link(parse_store_url(redis.url), "mine"), time, OnFailure.DENY, None)
        await store.start()
        redis.stop()
        store.hold_off(gate, 2.0)
        while store._owed:  # noqa: ASYNC110  # it is sent in the background
            await asyncio.sleep(0)
        store.hold_off(gate, 60.0)
        redis.go_on()
        await _is_reported(store)
        lacking = await store.take([gate])
        assert isinstance(lacking, Lacking)
        assert lacking.wait > 30
        await store.close()


class _Deaf(Link):
    """Answers no report."""

    async def send_heartbeat(self) -> int:
        return 1

    async def run(self, keys: Sequence[str], arguments: Sequence[str]) -> Sequence[bytes | int]:
        await asyncio.Event().wait()
        raise AssertionError


async def test_bytes_are_waited_for_before_the_store_has_answered() -> None:
    paced = Limit("b", Counted.BANDWIDTH, rate=1000.0, burst=1000.0)
    store = ReplicaStore(_Deaf(parse_store_url("redis://127.0.0.1:1"), "mine"), time, OnFailure.DENY, None)
    await store.start()
    assert store.spend(Draw(paced, (), 999.0)) == 0
    assert store.spend(Draw(paced, (), 2000.0)) == pytest.approx(2.0, abs=0.5)
    assert store.spend(Draw(Limit("d", Counted.BYTES, rate=1000.0, period=86400.0), (), 999.0)) == 0
    assert store.spend(Draw(Limit("d", Counted.BYTES, rate=1000.0, period=86400.0), (), 1.0)) > 0
    await store.close()


async def test_bytes_that_the_store_was_told_of_are_waited_for_once(tmp_path: Path) -> None:
    paced = Limit("b", Counted.BANDWIDTH, rate=1000.0, burst=1000.0)
    with RedisServer(tmp_path) as redis:
        store = ReplicaStore(Link(parse_store_url(redis.url), "mine"), time, OnFailure.DENY, None)
        await store.start()
        for _ in range(2):
            store.spend(Draw(paced, (), 30_000.0))
            await _is_reported(store)
        assert store.spend(Draw(paced, (), 1.0)) == pytest.approx(59.0, abs=10.0)
        await store.close()


class _Uneven(Link):
    """Every other question takes longer to arrive."""

    questions = 0

    async def run(self, keys: Sequence[str], arguments: Sequence[str]) -> Sequence[bytes | int]:
        self.questions += 1
        await asyncio.sleep(0.1 * (self.questions % 2))
        return await super().run(keys, arguments)


async def test_a_report_of_nothing_makes_nobody_wait_longer(tmp_path: Path) -> None:
    paced = Limit("b", Counted.BANDWIDTH, rate=1000.0, burst=1000.0)
    with RedisServer(tmp_path) as redis:
        link = _Uneven(parse_store_url(redis.url), "mine")
        store = ReplicaStore(link, time, OnFailure.DENY, None)
        await store.start()
        until = time.monotonic() + store.spend(Draw(paced, (), 60_000.0))
        while link.questions < 20:
            store.spend(Draw(paced, (), 0.0))
            await asyncio.sleep(0.01)
        assert time.monotonic() + store.spend(Draw(paced, (), 0.0)) == pytest.approx(until, abs=0.5)
        await store.close()
