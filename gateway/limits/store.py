"""What a limiter asks: whose answer may have to be waited for, where another machine gives it."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from gateway.limits.tables.table import Place, Table, hold_off, put_back, spend_from, take_from
from gateway.model.roles import Clock
from gateway.policy.buckets import Draw, Lacking, Now, State, Taken, wait_for


class Store(Protocol):
    """Holds buckets for one machine or for many."""

    async def take(self, draws: Sequence[Draw]) -> Taken | Lacking:
        """All or nothing. Raises `TooManyKeys` or `StoreUnavailable`, having taken nothing."""
        ...

    def put_back(self, draws: Sequence[Draw]) -> None:
        """Of concurrent ones what was held; never waits."""
        ...

    def spend(self, draw: Draw) -> float:
        """Take what has moved already; seconds until the bucket has something again. Never waits."""
        ...

    def hold_off(self, draw: Draw, seconds: float) -> None:
        """Have a rate's bucket be full again no sooner than then; never waits."""
        ...

    def listed(self) -> Iterable[tuple[Place, State]]:
        """Some of the buckets that are known here; never waits."""
        ...


class TableStore:
    """Fulfils `Store` on a table of this machine: nothing is ever waited for."""

    def __init__(self, table: Table, clock: Clock) -> None:
        self._table = table
        self._clock = clock

    async def take(self, draws: Sequence[Draw]) -> Taken | Lacking:
        """See `Store`."""
        return take_from(self._table, draws, self._now())

    def put_back(self, draws: Sequence[Draw]) -> None:
        """See `Store`."""
        put_back(self._table, draws, self._now())

    def spend(self, draw: Draw) -> float:
        """See `Store`."""
        now = self._now()
        state = spend_from(self._table, draw, now)
        return wait_for(draw._replace(amount=1.0), state, now)

    def hold_off(self, draw: Draw, seconds: float) -> None:
        """See `Store`."""
        hold_off(self._table, draw, seconds, self._now())

    def listed(self) -> Iterable[tuple[Place, State]]:
        """See `Store`."""
        return self._table.listed()

    def _now(self) -> Now:
        return Now(self._clock.monotonic(), self._clock.time())
