"""Gives leases under all limits that apply: taken together or not at all, with a wait if a limit allows it."""

from collections.abc import Sequence
from math import inf
from types import TracebackType
from typing import NamedTuple

from gateway.limits.draws import bytes_limits, draws_for, gate_draw, identity_of, is_gate
from gateway.limits.meter import BytesMeter, meter_for
from gateway.limits.queues import NotServed, Overdrawn, Presence, Queues
from gateway.limits.store import Store
from gateway.limits.tables.table import StoreUnavailable, TooManyKeys
from gateway.limits.tally import Result, Tally
from gateway.model.client import Client
from gateway.model.decision import Permit
from gateway.model.errors import Refused
from gateway.model.limits.limit import Counted, Limit, Retry
from gateway.model.reasons import Reason
from gateway.policy.buckets import Draw, Lacking, Taken

COME_AGAIN = 1.0
"""Seconds to tell a client where they are unknown, because somebody has to give back what is held."""

PLANS = 4096
"""Plans of leases that are kept."""


class LeasePlan(NamedTuple):
    """All that a lease needs to know. `held` are the draws that are put back; `opens` is 1 if the lease counts as open,
    else 0. `permit` is kept alive with the plan, so that no other permit gets its `id`."""

    permit: Permit
    draws: Sequence[Draw]
    held: Sequence[Draw]
    moves_bytes: bool
    opens: int


def plan_for(permit: Permit, client: Client, counted: frozenset[Counted]) -> LeasePlan:
    """The plan of a lease for this client."""
    draws = draws_for(permit, client, counted)
    held = [draw for draw in draws if draw.limit.counted is Counted.CONCURRENT]
    moves_bytes = Counted.BYTES in counted and bool(bytes_limits(permit))
    return LeasePlan(permit, draws, held, moves_bytes, int(Counted.CONCURRENT in counted))


def _without(plan: LeasePlan, limit: Limit) -> LeasePlan:
    """The plan without this limit's draws."""
    draws, held = ([draw for draw in those if draw.limit.name != limit.name] for those in (plan.draws, plan.held))
    return plan._replace(draws=draws, held=held)


class BucketLimiter:
    """Fulfils `roles.Limiter`."""

    def __init__(self, store: Store, tally: Tally) -> None:
        self.tally = tally
        self.store = store
        self.queues = Queues(store)
        self.open = 0
        self._plans: dict[tuple[int, frozenset[Counted]], LeasePlan] = {}
        self._unlimited = _Unlimited()
        self._carried = _Unlimited()  # for what is inside an open tunnel, which counts already

    @property
    def held(self) -> int:
        """Number of open tunnels, and of exchanges that are in none."""
        return self._unlimited.held + self.open

    @property
    def waiting(self) -> int:
        """Number of leases that are waited for."""
        return self.queues.waiting

    def lease(
        self, permit: Permit, client: Client, counted: frozenset[Counted], presence: Presence | None = None
    ) -> "_Unlimited | _Lease":
        """See `roles.Limiter`."""
        if permit.limits or permit.terms.honour_retry_after:
            return _Lease(self, permit, client, counted, presence)
        return self._unlimited if Counted.CONCURRENT in counted else self._carried

    def plan(self, permit: Permit, client: Client, counted: frozenset[Counted]) -> LeasePlan:
        """What a lease draws from. A permit is one client's, and is the same object again for the same question."""
        known = self._plans.get((id(permit), counted))
        if known is None:
            if len(self._plans) >= PLANS:
                self._plans.clear()
            known = self._plans[id(permit), counted] = plan_for(permit, client, counted)
        return known

    def take_at_once(self, draws: Sequence[Draw]) -> Taken | None:
        """None: the lease has to be waited for, or refused."""
        outcome = None if self.queues.waiting else self.store.take_at_once(draws)
        if outcome is not None:
            self.tally.count_passed(draws)
        return outcome

    def hold_off(self, permit: Permit, client: Client, seconds: float) -> None:
        """See `roles.Limiter`."""
        self.store.hold_off(gate_draw(permit, client), seconds)


class _Unlimited:
    """Fulfils `roles.Lease` where no limit applies: one for all, which remembers of holders only how many they are."""

    __slots__ = ("held",)

    meter: None = None
    would_limit: None = None

    def __init__(self) -> None:
        self.held = 0

    async def __aenter__(self) -> "_Unlimited":
        self.held += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.held -= 1


class _Lease:
    """Fulfils `roles.Lease`; used once."""

    __slots__ = ("_client", "_counted", "_limiter", "_over", "_permit", "_plan", "_presence", "meter")

    def __init__(
        self,
        limiter: BucketLimiter,
        permit: Permit,
        client: Client,
        counted: frozenset[Counted],
        presence: Presence | None,
    ) -> None:
        self._limiter = limiter
        self._permit = permit
        self._client = client
        self._counted = counted
        self._presence = presence
        self.meter: BytesMeter | None = None
        self._over: str | None = None

    @property
    def would_limit(self) -> str | None:
        """See `roles.Lease`."""
        return self._over or (None if self.meter is None else self.meter.would_limit)

    async def __aenter__(self) -> "_Lease":
        limiter, counted = self._limiter, self._counted
        plan = self._plan = limiter.plan(self._permit, self._client, counted)
        if plan.draws:
            taken = limiter.take_at_once(plan.draws) or await self._take(plan.draws)
            if taken.over:
                self._over = taken.over[0].name
                limiter.tally.count(taken.over, Result.WOULD_REFUSE)
        if plan.moves_bytes:
            self.meter = meter_for(self._permit, self._client, limiter.store, limiter.tally)
        limiter.open += plan.opens
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, trace: TracebackType | None
    ) -> None:
        limiter, plan = self._limiter, self._plan
        limiter.open -= plan.opens
        if plan.held:
            limiter.store.put_back(plan.held)
            limiter.queues.released(plan.held)
        if self.meter is not None:
            self.meter.close()

    async def _take(self, draws: Sequence[Draw]) -> Taken:
        limiter = self._limiter
        try:
            before = limiter.queues.queue_before(draws)
            outcome = before or await limiter.store.take(draws)
            if isinstance(outcome, Lacking):
                outcome = await self._wait(draws, outcome)
            else:
                limiter.tally.count_passed(draws)
        except Overdrawn as overdrawn:
            lacking = overdrawn.lacking
            raise self._refused(_reason_for(lacking.limit), lacking.draw, lacking.wait) from overdrawn
        except NotServed as unserved:
            raise self._refused(Reason.LIMIT_WAIT_EXCEEDED, unserved.draw, inf, unserved.detail) from unserved
        except StoreUnavailable as failure:
            raise self._refused(Reason.LIMIT_STORE_UNAVAILABLE, draws[0], inf, str(failure)) from failure
        except TooManyKeys as full:
            if full.limit.report or is_gate(full.limit):
                return await self._take_without(full.limit)
            raise self._refused(Reason.LIMIT_EXCEEDED, Draw(full.limit, ()), inf, "too many keys") from full
        return outcome

    async def _take_without(self, limit: Limit) -> Taken:
        """Take all but this limit's, whose bucket cannot be kept and which refuses nobody."""
        plan = self._plan = _without(self._plan, limit)
        taken = await self._take(plan.draws) if plan.draws else Taken(())
        return taken._replace(over=(limit, *taken.over)) if limit.report else taken

    async def _wait(self, draws: Sequence[Draw], lacking: Lacking) -> Taken:
        limiter, generation = self._limiter, self._permit.generation
        taken = await limiter.queues.wait(draws, identity_of(self._client), lacking, self._presence, generation)
        limiter.tally.count((draw.limit for draw in draws), Result.WAITED)
        return taken

    def _refused(self, reason: Reason, draw: Draw, wait: float, detail: str = "") -> Refused:
        self._limiter.tally.refuse(draw)
        limit = draw.limit
        denial = self._permit.denial(reason, f"{limit.name}: {detail}" if detail else limit.name)
        is_met = reason is not Reason.LIMIT_STORE_UNAVAILABLE and not is_gate(limit)
        return Refused(denial, Retry(COME_AGAIN if wait == inf else wait, limit if is_met else None))


def _reason_for(limit: Limit) -> Reason:
    if limit.counted is Counted.BYTES:
        return Reason.BUDGET_SPENT
    return Reason.DESTINATION_ASKED_TO_WAIT if is_gate(limit) else Reason.LIMIT_EXCEEDED
