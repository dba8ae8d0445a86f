"""Leases: what one takes, what its end gives back, and what a client is told that gets none."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from gateway.limits.limiter import COME_AGAIN, BucketLimiter
from gateway.limits.queues import LONGEST_SLEEP
from gateway.limits.store import TableStore
from gateway.limits.tables.memory import MemoryTable
from gateway.limits.tables.table import NoAnswer, StoreUnavailable, TooManyKeys
from gateway.limits.tally import Tally
from gateway.model.client import Client
from gateway.model.decision import Permit, Terms
from gateway.model.errors import Refused
from gateway.model.limits.limit import CONNECTION, EXCHANGE, REQUEST, TUNNEL, Counted, KeyPart, Limit
from gateway.model.names import HostName, parse_host_name
from gateway.model.reasons import Reason
from gateway.policy.buckets import Draw, Lacking, Taken
from tests.limits.permits import client_at, permit_under
from tests.net.parts import ManualClock

RATE = Limit("p#r.connections", Counted.CONNECTIONS, rate=0.1, burst=2.0)
HELD = Limit("p#r.concurrent", Counted.CONCURRENT, rate=1.0)
DAY = Limit("p#r.bytes", Counted.BYTES, rate=100.0, period=86400.0)
SLOW = Limit("p#r.bandwidth", Counted.BANDWIDTH, rate=1000.0, burst=1000.0)
CLIENT = client_at()
NOON = 20_000 * 86400.0 + 43_200.0


def name(text: str) -> HostName:
    parsed = parse_host_name(text)
    assert parsed is not None
    return parsed


class Unanswering(TableStore):
    """A store that says why it does not answer, and waits for another machine."""

    def __init__(self, failure: NoAnswer) -> None:
        super().__init__(MemoryTable(), ManualClock())
        self._failure = failure

    def take_at_once(self, draws: Sequence[Draw]) -> Taken | None:
        return None

    async def take(self, draws: Sequence[Draw]) -> Taken | Lacking:
        raise self._failure


class Remote(TableStore):
    """A store whose every answer has to be waited for."""

    def take_at_once(self, draws: Sequence[Draw]) -> Taken | None:
        return None


class Bed:
    """A limiter over one table, and the clock that it looks at."""

    def __init__(self, store: TableStore | None = None) -> None:
        self.clock = ManualClock()
        self.store = store or TableStore(MemoryTable(), self.clock)
        self.limiter = BucketLimiter(self.store, Tally())

    def permit(self, *limits: Limit, client: Client = CLIENT, honours: bool = False) -> Permit:
        return permit_under(Terms(limits=limits, honour_retry_after=honours), client)

    async def once(self, permit: Permit, client: Client = CLIENT, counted: frozenset[Counted] = TUNNEL) -> None:
        """A lease that ends at once."""
        async with self.limiter.lease(permit, client, counted):
            pass

    async def refusal(self, permit: Permit, client: Client = CLIENT, counted: frozenset[Counted] = TUNNEL) -> Refused:
        """Why no lease was given; nothing may be held by it."""
        open_before, waiting_before = self.limiter.held, self.limiter.waiting
        with pytest.raises(Refused) as refusal:
            await self.once(permit, client, counted)
        assert (self.limiter.held, self.limiter.waiting) == (open_before, waiting_before)
        return refusal.value

    def counts(self) -> dict[tuple[str, str], int]:
        return dict(self.limiter.tally.counts)


async def test_who_is_over_a_rate_is_refused_with_the_limit_and_the_time_to_come_again() -> None:
    bed = Bed()
    permit = bed.permit(RATE)
    await bed.once(permit)
    await bed.once(permit)
    bed.clock.advance(4.0)
    refusal = await bed.refusal(permit)
    denial, retry = refusal.denial, refusal.retry
    assert (denial.reason, denial.rule, denial.generation) == (Reason.LIMIT_EXCEEDED, permit.rule, permit.generation)
    assert denial.detail == RATE.name
    assert retry is not None
    assert retry.after == pytest.approx(6.0)
    assert retry.limit is RATE
    assert bed.counts() == {(RATE.name, "passed"): 2, (RATE.name, "refused"): 1}
    assert bed.limiter.tally.refused == {(RATE.name, ()): 1}
    bed.clock.advance(6.0)
    await bed.once(permit)


async def test_what_is_held_comes_back_with_the_end_of_the_lease_and_of_a_rate_nothing_does() -> None:
    bed = Bed()
    permit = bed.permit(HELD, RATE)
    async with bed.limiter.lease(permit, CLIENT, TUNNEL):
        refusal = await bed.refusal(permit)
        assert refusal.denial.reason is Reason.LIMIT_EXCEEDED
        assert refusal.retry is not None
        assert (refusal.retry.after, refusal.retry.limit) == (COME_AGAIN, HELD)
    await bed.once(permit)
    last = await bed.refusal(permit)
    assert last.retry is not None
    assert last.retry.limit is RATE


async def test_what_is_held_comes_back_whatever_ends_the_lease() -> None:
    bed = Bed()
    permit = bed.permit(HELD)
    with pytest.raises(RuntimeError, match="boom"):
        async with bed.limiter.lease(permit, CLIENT, TUNNEL):
            raise RuntimeError("boom")
    held = asyncio.create_task(hold(bed, permit))
    await asyncio.sleep(0)
    assert bed.limiter.held == 1
    held.cancel()
    await asyncio.wait([held])
    await bed.once(permit)
    assert bed.limiter.held == 0


async def hold(bed: Bed, permit: Permit) -> None:
    async with bed.limiter.lease(permit, CLIENT, TUNNEL):
        await asyncio.Event().wait()


async def test_each_client_has_its_own_bucket_where_the_limit_tells_clients_apart() -> None:
    bed, other = Bed(), client_at("10.0.0.2")
    by_client = HELD._replace(key=(KeyPart.CLIENT,))
    async with bed.limiter.lease(bed.permit(by_client), CLIENT, TUNNEL):
        await bed.once(bed.permit(by_client, client=other), other)
        refusal = await bed.refusal(bed.permit(by_client))
    assert refusal.denial.reason is Reason.LIMIT_EXCEEDED
    assert bed.limiter.tally.refused == {(by_client.name, ("10.0.0.1",)): 1}


async def test_only_what_is_about_to_happen_is_counted() -> None:
    bed = Bed()
    permit = bed.permit(RATE)
    for _ in range(5):
        await bed.once(permit, counted=REQUEST)
    await bed.once(permit)
    await bed.once(permit, counted=CONNECTION)
    assert (await bed.refusal(permit, counted=CONNECTION)).denial.reason is Reason.LIMIT_EXCEEDED


async def test_open_tunnels_are_counted_and_what_a_tunnel_carries_is_not() -> None:
    bed = Bed()
    limited, free = bed.permit(RATE), bed.permit()
    async with bed.limiter.lease(limited, CLIENT, TUNNEL), bed.limiter.lease(free, CLIENT, TUNNEL):
        assert bed.limiter.held == 2
        async with bed.limiter.lease(limited, CLIENT, REQUEST), bed.limiter.lease(free, CLIENT, REQUEST):
            assert bed.limiter.held == 2
    assert bed.limiter.held == 0


async def test_a_limit_in_report_mode_refuses_nobody_and_is_named_by_the_lease() -> None:
    bed = Bed()
    shadow, other = RATE._replace(name="shadow", report=True, burst=1.0), RATE._replace(name="second", report=True)
    permit = bed.permit(shadow, other)
    async with bed.limiter.lease(permit, CLIENT, TUNNEL) as first:
        assert first.would_limit is None
    async with bed.limiter.lease(permit, CLIENT, TUNNEL) as second:
        assert second.would_limit == "shadow"
    assert bed.counts() == {("shadow", "passed"): 2, ("second", "passed"): 2, ("shadow", "would_refuse"): 1}


@pytest.mark.parametrize(("former", "newest"), [(1 / 3600, 1000.0), (1000.0, 1 / 3600)])
async def test_a_request_of_an_older_tunnel_does_not_bring_its_former_limit_back_for_others_in_the_queue(
    former: float, newest: float
) -> None:
    bed = Bed()
    terms = RATE._replace(burst=1.0, queue=True, max_wait=60.0)
    old = bed.permit(terms._replace(rate=former))
    new = replace(bed.permit(terms._replace(rate=newest)), generation=2)
    await bed.once(new)
    first = asyncio.create_task(bed.once(new))
    await asyncio.sleep(0)
    second = asyncio.create_task(bed.once(old))
    await asyncio.sleep(0)
    assert bed.limiter.waiting == 2
    bed.clock.advance(1.0)
    await asyncio.wait([first], timeout=LONGEST_SLEEP + 0.5)
    assert first.done() is (newest > 1.0)
    for task in (first, second):
        task.cancel()
    await asyncio.wait([first, second])


@pytest.mark.parametrize(("queue", "report"), [(False, False), (True, True), (False, True), (True, False)])
async def test_who_comes_after_a_reload_that_relaxed_a_limit_is_not_held_back_by_who_waits_since_before(
    queue: bool, report: bool
) -> None:
    bed = Bed()
    before = RATE._replace(rate=1 / 3600, burst=1.0, queue=True, max_wait=60.0)
    permit = bed.permit(before)
    await bed.once(permit)
    waiting = asyncio.create_task(bed.once(permit))
    await asyncio.sleep(0)
    assert bed.limiter.waiting == 1
    for seconds in range(1, 5):
        asyncio.get_running_loop().call_later(seconds, bed.clock.advance, 1.0)
    relaxed = bed.permit(before._replace(rate=1000.0, burst=1000.0, queue=queue, report=report))
    async with asyncio.timeout(5):
        await bed.once(relaxed)
        if queue and not report:  # they wait in the same queue, and nobody overtakes
            await waiting
    waiting.cancel()
    await asyncio.wait([waiting])


async def test_a_budget_in_report_mode_is_named_by_the_lease_whose_bytes_spend_it() -> None:
    bed = Bed()
    bed.clock.now = NOON
    async with bed.limiter.lease(bed.permit(DAY._replace(report=True)), CLIENT, TUNNEL) as lease:
        assert lease.meter is not None
        assert lease.meter.up is not None
        assert lease.meter.up.spend(99) == 0
        assert not lease.would_limit
        assert [lease.meter.up.spend(each) for each in (1, 10, 10)] == [0, 0, 0]
        assert lease.would_limit == DAY.name
    assert bed.counts() == {(DAY.name, "passed"): 1, (DAY.name, "would_refuse"): 1}


async def test_a_budget_that_is_spent_refuses_the_next_tunnel_until_its_day_ends() -> None:
    bed = Bed()
    bed.clock.now = NOON + 42_800.0
    permit = bed.permit(DAY)
    async with bed.limiter.lease(permit, CLIENT, TUNNEL) as lease:
        assert lease.meter is not None
        assert lease.meter.up is lease.meter.down
        assert lease.meter.up is not None
        assert lease.meter.up.spend(100) > 0
    refusal = await bed.refusal(permit)
    assert refusal.denial.reason is Reason.BUDGET_SPENT
    assert refusal.retry is not None
    assert refusal.retry.after == pytest.approx(400.0)
    bed.clock.advance(400.0)
    await bed.once(permit)


async def test_bytes_that_were_not_drawn_yet_are_drawn_when_the_lease_ends() -> None:
    bed = Bed()
    bed.clock.now = NOON
    budget = DAY._replace(rate=2048.0)  # of which two bytes may be drawn later
    permit = bed.permit(budget)
    async with bed.limiter.lease(permit, CLIENT, TUNNEL) as lease:
        assert lease.meter is not None
        assert lease.meter.up is not None
        assert lease.meter.up.spend(2) == 0
        assert [state[1] for _, state in bed.store.listed()] == [0.0]
    assert [state[1] for _, state in bed.store.listed()] == [2.0]


async def test_an_exchange_that_no_tunnel_carries_has_a_meter_whether_it_dials_or_not() -> None:
    bed = Bed()
    for counted in (EXCHANGE, EXCHANGE | CONNECTION):
        async with bed.limiter.lease(bed.permit(DAY), CLIENT, counted) as lease:
            assert lease.meter is not None
    async with bed.limiter.lease(bed.permit(DAY), CLIENT, CONNECTION) as connection:
        assert connection.meter is None


async def test_a_store_that_has_to_be_waited_for_gives_leases_as_any() -> None:
    clock = ManualClock()
    bed = Bed(Remote(MemoryTable(), clock))
    permit = bed.permit(RATE._replace(burst=1.0))
    await bed.once(permit)
    assert (await bed.refusal(permit)).denial.reason is Reason.LIMIT_EXCEEDED
    assert bed.counts() == {(RATE.name, "passed"): 1, (RATE.name, "refused"): 1}


async def test_an_exchange_that_a_tunnel_carries_has_no_meter_of_its_own() -> None:
    bed = Bed()
    permit = bed.permit(DAY, SLOW)
    async with bed.limiter.lease(permit, CLIENT, REQUEST) as carried:
        assert carried.meter is None
    async with bed.limiter.lease(permit, CLIENT, TUNNEL) as tunnel:
        assert tunnel.meter is not None
    async with bed.limiter.lease(bed.permit(RATE), CLIENT, TUNNEL) as unmetered:
        assert unmetered.meter is None


async def test_a_destination_that_asked_for_patience_is_left_alone_for_as_long() -> None:
    bed = Bed()
    permit = bed.permit(honours=True)
    await bed.once(permit)
    bed.limiter.hold_off(permit, CLIENT, 30.0)
    refusal = await bed.refusal(permit)
    assert refusal.denial.reason is Reason.DESTINATION_ASKED_TO_WAIT
    assert refusal.retry is not None
    assert refusal.retry.after == pytest.approx(30.0, abs=0.01)
    assert refusal.retry.limit is None  # it is no limit of the policy
    await bed.once(permit, counted=CONNECTION)  # a connection more of an exchange that was let through
    bed.clock.advance(30.1)
    await bed.once(permit)


async def test_who_queues_is_served_in_turn_when_somebody_leaves_and_nobody_overtakes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.limits.queues.LOOK_EVERY", 60.0)  # longer than anybody waits
    bed = Bed()
    queue = HELD._replace(queue=True, max_wait=30.0)
    permit = bed.permit(queue)
    order: list[str] = []

    async def come(name: str) -> None:
        async with bed.limiter.lease(permit, CLIENT, TUNNEL):
            order.append(name)

    async with bed.limiter.lease(permit, CLIENT, TUNNEL):
        first = asyncio.create_task(come("first"))
        await asyncio.sleep(0)
        assert bed.limiter.waiting == 1
    async with asyncio.timeout(20):
        await asyncio.gather(first, come("second"))
    assert order == ["first", "second"]
    assert (bed.limiter.waiting, bed.limiter.held) == (0, 0)
    assert bed.counts()[queue.name, "waited"] >= 1
    assert bed.counts().get((queue.name, "refused"), 0) == 0


async def test_who_waited_for_too_long_is_told_so() -> None:
    bed = Bed()
    permit = bed.permit(HELD._replace(queue=True, max_wait=0.01))
    async with bed.limiter.lease(permit, CLIENT, TUNNEL):
        refusal = await bed.refusal(permit)
    assert refusal.denial.reason is Reason.LIMIT_WAIT_EXCEEDED
    assert refusal.denial.detail == f"{HELD.name}: waited 0.01 s"
    assert refusal.retry is not None
    assert refusal.retry.after == COME_AGAIN


async def test_the_bucket_that_was_waited_for_in_vain_is_the_one_that_refused() -> None:
    bed = Bed()
    permit = bed.permit(HELD._replace(queue=True, max_wait=0.01, key=(KeyPart.CLIENT,)))
    async with bed.limiter.lease(permit, CLIENT, TUNNEL):
        await bed.refusal(permit)
    assert bed.limiter.tally.refused == {(HELD.name, ("10.0.0.1",)): 1}


@pytest.mark.parametrize(
    ("failure", "reason", "detail", "met"),
    [
        (StoreUnavailable("no answer"), Reason.LIMIT_STORE_UNAVAILABLE, f"{RATE.name}: no answer", None),
        (TooManyKeys(RATE), Reason.LIMIT_EXCEEDED, f"{RATE.name}: too many keys", RATE),
    ],
)
async def test_no_lease_is_given_where_the_buckets_cannot_be_asked(
    failure: NoAnswer, reason: Reason, detail: str, met: Limit | None
) -> None:
    """What is left of a limit that could not be asked is not known, and the client is not told that nothing is."""
    bed = Bed(Unanswering(failure))
    refusal = await bed.refusal(bed.permit(RATE))
    assert (refusal.denial.reason, refusal.denial.detail) == (reason, detail)
    assert refusal.retry is not None
    assert (refusal.retry.after, refusal.retry.limit) == (COME_AGAIN, met)


async def test_a_client_that_invents_hosts_has_others_refused_nowhere() -> None:
    bed, other = Bed(), client_at("10.0.0.2")
    bed.store = bed.limiter.store = TableStore(MemoryTable(keys=10), bed.clock)
    by_host = RATE._replace(key=(KeyPart.HOST,))

    async def reach(host: str, client: Client) -> Refused | None:
        permit = bed.permit(by_host, client=client)
        try:
            await bed.once(replace(permit, authority=permit.authority._replace(host=name(host))), client)
        except Refused as refused:
            return refused
        return None

    refusals = [await reach(f"{number}.test", CLIENT) for number in range(20)]
    assert [each is None for each in refusals] == [True] * 5 + [False] * 15
    assert refusals[-1] is not None
    assert refusals[-1].denial.detail == f"{RATE.name}: too many keys"
    assert await reach("new.test", other) is None
    assert await reach("0.test", other) is None


async def test_a_limit_in_report_mode_refuses_nobody_for_want_of_room_either() -> None:
    bed = Bed(TableStore(MemoryTable(keys=1), ManualClock()))
    permit = bed.permit(*(each._replace(key=(KeyPart.HOST,), report=True) for each in (HELD, RATE)))
    other = replace(permit, authority=permit.authority._replace(host=name("other.test")))
    async with bed.limiter.lease(other, CLIENT, TUNNEL) as first:
        async with bed.limiter.lease(permit, CLIENT, TUNNEL) as second:
            assert (first.would_limit, second.would_limit) == (None, HELD.name)
        assert [state for (name, _), state in bed.store.listed() if name == HELD.name] == [(1.0, 0.0)]


async def test_a_destination_is_asked_though_too_many_others_are_being_left_alone() -> None:
    bed = Bed(TableStore(MemoryTable(keys=1), ManualClock()))
    permit = bed.permit(honours=True)
    other = replace(permit, authority=permit.authority._replace(host=name("other.test")))
    bed.limiter.hold_off(other, CLIENT, 60.0)
    await bed.once(permit)
    assert (await bed.refusal(other)).denial.reason is Reason.DESTINATION_ASKED_TO_WAIT


async def test_a_plan_is_kept_for_its_permit_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.limits.limiter.PLANS", 2)
    limiter = Bed().limiter
    permits = [permit_under(Terms(limits=(RATE._replace(name=f"p#{number}"),))) for number in range(5)]
    plans = [limiter.plan(permit, CLIENT, TUNNEL) for permit in permits]
    assert [plan.draws[0].limit.name for plan in plans] == [f"p#{number}" for number in range(5)]
    assert limiter.plan(permits[4], CLIENT, TUNNEL) is plans[4]
    assert limiter.plan(permits[4], CLIENT, CONNECTION) is not plans[4]
    assert limiter.plan(permits[0], CLIENT, TUNNEL) is not plans[0]
    assert len(limiter._plans) <= 2
