"""The interface of bucket stores, and the store of this machine. One on another machine has to be waited for."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Protocol

from gateway.limits.tables.table import (
    NoAnswer,
    StoreUnavailable,
    Table,
    hold_off,
    put_back,
    spend_from,
    take_from,
)
from gateway.model.roles import Clock
from gateway.policy.buckets import BucketId, Draw, Lacking, Now, State, Taken, wait_for

ASK_AGAIN = 0.5
"""Seconds."""


class Store(Protocol):
    """Holds buckets for one machine or for many."""

    def take_at_once(self, draws: Sequence[Draw]) -> Taken | None:
        """Take all, if that needs no waiting. None: nothing was taken."""
        ...

    async def take(self, draws: Sequence[Draw]) -> Taken | Lacking:
        """Take all or nothing. Raises `TooManyKeys` or `StoreUnavailable`; then nothing was taken."""
        ...

    def put_back(self, draws: Sequence[Draw]) -> None:
        """Give back what was held of concurrent ones; never waits."""
        ...

    def spend(self, draw: Draw) -> float:
        """Take what has moved already; returns seconds until the bucket has something again. Never waits."""
        ...

    def hold_off(self, draw: Draw, seconds: float) -> None:
        """Let a rate's bucket be full again no sooner than in `seconds`; never waits."""
        ...

    def listed(self, also: Iterable[BucketId] = ()) -> Iterable[tuple[BucketId, State]]:
        """Some of the buckets that are known here, and those `also`; never waits."""
        ...


class TableStore:
    """Fulfils `Store` on a table of this machine: waits only for a lock whose holder was stopped. What could not be put
    back because of that is put back the next time."""

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
        """See `Store`. If it cannot be kept, the destination will ask again."""
        with suppress(NoAnswer):
            hold_off(self._table, draw, seconds, self._now())

    def listed(self, also: Iterable[BucketId] = ()) -> Iterable[tuple[BucketId, State]]:
        """See `Store`."""
        return self._table.listed(also)

    def _now(self) -> Now:
        return Now(self._monotonic(), self._time())
