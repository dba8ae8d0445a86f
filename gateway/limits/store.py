"""The interface of bucket stores. A store on another machine has to be waited for."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Protocol

from gateway.limits.tables.table import (
    NoAnswer,
    Place,
    StoreUnavailable,
    Table,
    hold_off,
    put_back,
    spend_from,
    take_from,
)
from gateway.model.roles import Clock
from gateway.policy.buckets import Draw, Lacking, Now, State, Taken, wait_for

ASK_AGAIN = 0.5
"""Seconds."""


class Store(Protocol):
    """Holds buckets for one machine or for many."""

    def take_at_once(self, draws: Sequence[Draw]) -> Taken | None:
        """All, if that needs no waiting; else None, having taken nothing."""
        ...

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
    """Fulfils `Store` on a table of this machine: never waits, except for a lock whose holder was stopped. What could
    not be put back then is put back with the next operation."""

    def __init__(self, table: Table, clock: Clock) -> None:
        self._table = table
        self._monotonic = clock.monotonic
        self._time = clock.time
        self._late: list[Draw] = []

    def take_at_once(self, draws: Sequence[Draw]) -> Taken | None:
        """See `Store`."""
        try:
            outcome = take_from(self._table, draws, Now(self._monotonic(), self._time()))
        except NoAnswer:
            return None
        return outcome if isinstance(outcome, Taken) else None

    async def take(self, draws: Sequence[Draw]) -> Taken | Lacking:
        """See `Store`."""
        return take_from(self._table, draws, self._now())

    def put_back(self, draws: Sequence[Draw]) -> None:
        """See `Store`."""
        if self._late:
            draws, self._late = [*self._late, *draws], []
        try:
            put_back(self._table, draws)
        except StoreUnavailable:
            self._late += draws

    def spend(self, draw: Draw) -> float:
        """See `Store`. A bucket that cannot be asked or kept is asked again after a while."""
        now = self._now()
        try:
            state = spend_from(self._table, draw, now)
        except NoAnswer:
            return ASK_AGAIN
        return wait_for(draw._replace(amount=1.0), state, now)

    def hold_off(self, draw: Draw, seconds: float) -> None:
        """See `Store`. Where that cannot be kept, the destination will say so again."""
        with suppress(NoAnswer):
            hold_off(self._table, draw, seconds, self._now())

    def listed(self) -> Iterable[tuple[Place, State]]:
        """See `Store`."""
        return self._table.listed()

    def _now(self) -> Now:
        return Now(self._monotonic(), self._time())
