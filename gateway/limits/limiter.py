"""Gives leases under all limits that apply: taken together or not at all, waited for where a limit says so."""

from collections.abc import Sequence
from math import inf
from types import TracebackType

from gateway.limits.draws import draws_for, gate_draw, identity_of, is_gate
from gateway.limits.lines import Lines, NotServed, Overdrawn, Presence
from gateway.limits.meter import BytesMeter, meter_for
from gateway.limits.store import Store
from gateway.limits.tables.table import KEYS, StoreUnavailable, TooManyKeys
from gateway.limits.tally import Result, Tally
from gateway.limits.unlimited import Unlimited
from gateway.model.client import Client
from gateway.model.decision import Deny, Permit
from gateway.model.errors import Refused
from gateway.model.limits.limit import Counted, Limit, Retry
from gateway.model.reasons import Reason
from gateway.policy.buckets import Draw, Lacking, Taken

COME_AGAIN = 1.0
"""Seconds, where nobody knows when there will be room: something that is held has to be given back."""


class BucketLimiter:
    """Fulfils `roles.Limiter`. `held` counts the open tunnels and exchanges that no tunnel carries."""

    def __init__(self, store: Store, tally: Tally) -> None:
        self.tally = tally
        self.store = store
        self.lines = Lines(store)
        self.open = 0
        self._unlimited = Unlimited()
        self._carried = Unlimited()

    @property
    def held(self) -> int:
        """Leases of what is open now."""
        return self._unlimited.held + self.open

    @property
    def waiting(self) -> int:
        """Who stands in a line now."""
        return self.lines.waiting

    def lease(
        self, permit: Permit, client: Client, counted: frozenset[Counted], presence: Presence | None = None
    ) -> "Unlimited | _Lease":
        """See `roles.Limiter`."""
        if permit.limits or permit.terms.honour_retry_after:
            return _Lease(self, permit, client, counted, presence)
        return self._unlimited if Counted.CONCURRENT in counted else self._carried

    def hold_off(self, permit: Permit, seconds: float) -> None:
        """See `roles.Limiter`."""
        self.store.hold_off(gate_draw(permit), seconds)


class _Lease:
    """Fulfils `roles.Lease`; used once."""

    __slots__ = ("_asked", "_client", "_counted", "_draws", "_limiter", "_permit", "_presence", "meter", "would_limit")

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
        self._asked: Sequence[Draw] = ()
        self._draws: Sequence[Draw] = ()
        self.meter: BytesMeter | None = None
        self.would_limit: str | None = None

    async def __aenter__(self) -> "_Lease":
        limiter = self._limiter
        draws = self._asked = draws_for(self._permit, self._client, self._counted)
        if draws:
            taken = await self._take(draws)
            self._draws = [draw for draw in draws if draw.limit.counted is Counted.CONCURRENT]
            if taken.over:
                self.would_limit = taken.over[0].name
                limiter.tally.count(taken.over, Result.WOULD_REFUSE)
        if Counted.BYTES in self._counted:
            self.meter = meter_for(self._permit, self._client, limiter.store, limiter.tally)
        if Counted.CONCURRENT in self._counted:
            limiter.open += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, trace: TracebackType | None
    ) -> None:
        limiter = self._limiter
        if Counted.CONCURRENT in self._counted:
            limiter.open -= 1
        if self._draws:
            limiter.store.put_back(self._draws)
            limiter.lines.released(self._draws)
        if self.meter is not None:
            self.meter.close()

    async def _take(self, draws: Sequence[Draw]) -> Taken:
        limiter = self._limiter
        try:
            before = limiter.lines.line_before(draws)
            outcome = Lacking(before, 0.0) if before is not None else await limiter.store.take(draws)
            if isinstance(outcome, Lacking):
                outcome = await self._wait(draws, outcome)
            else:
                limiter.tally.count((draw.limit for draw in draws), Result.PASSED)
        except Overdrawn as overdrawn:
            limit = overdrawn.lacking.limit
            raise self._refused(_reason_for(limit), limit, overdrawn.lacking.wait) from overdrawn
        except NotServed as unserved:
            raise self._refused(Reason.LIMIT_WAIT_EXCEEDED, unserved.limit, inf, unserved.detail) from unserved
        except StoreUnavailable as failure:
            raise self._unchecked(draws, failure) from failure
        except TooManyKeys as full:
            raise self._refused(Reason.LIMIT_EXCEEDED, full.limit, inf, f"more than {KEYS} keys") from full
        return outcome

    async def _wait(self, draws: Sequence[Draw], lacking: Lacking) -> Taken:
        limiter = self._limiter
        taken = await limiter.lines.served(draws, identity_of(self._client), lacking, self._presence)
        limiter.tally.count((draw.limit for draw in draws), Result.WAITED)
        return taken

    def _refused(self, reason: Reason, limit: Limit, wait: float, detail: str = "") -> Refused:
        key = next((draw.key for draw in self._asked if draw.limit is limit), ())
        self._limiter.tally.refuse(limit, (limit.name, key))
        permit = self._permit
        told = f"{limit.name}: {detail}" if detail else limit.name
        denial = Deny(reason, permit.generation, permit.rule, permit.groups, permit.also, told)
        return Refused(denial, Retry(COME_AGAIN if wait == inf else wait, None if is_gate(limit) else limit))

    def _unchecked(self, draws: Sequence[Draw], failure: StoreUnavailable) -> Refused:
        return self._refused(Reason.LIMIT_STORE_UNAVAILABLE, draws[0].limit, inf, str(failure))


def _reason_for(limit: Limit) -> Reason:
    if limit.counted is Counted.BYTES:
        return Reason.BUDGET_SPENT
    return Reason.DESTINATION_ASKED_TO_WAIT if is_gate(limit) else Reason.LIMIT_EXCEEDED
