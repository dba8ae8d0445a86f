"""The interface of bucket tables, and how one take works on them: read all, decide, write all, under a lock."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from gateway.model.limits.limit import Counted, Limit
from gateway.policy.buckets import BucketId, Draw, Lacking, Now, State, Taken, after, take

KEYS = 100_000
"""Buckets that one limit may have, one for each key; `has_room` says how many of them one client may."""

_CONCURRENT = Counted.CONCURRENT
_ANY_TIME = Now(0.0, 0.0)  # what is held does not depend on it

LISTED = 2_000
"""Buckets that are looked at to show how full they are."""


class NoAnswer(Exception):
    """Buckets could not be read; nothing was taken of any."""


class TooManyKeys(NoAnswer):
    """As many buckets of a limit are in use as there may be, in all or of this client, and another is asked for."""

    def __init__(self, limit: Limit) -> None:
        super().__init__(limit.name)
        self.limit = limit


class StoreUnavailable(NoAnswer):
    """The store did not answer, or not in time."""


def has_room(kept: int, of_client: int, keys: int) -> bool:
    """Whether a limit that has `kept` buckets may have one more, for a client that was the first to ask for `of_client`
    of them. Each client may have as many as are still free (Choudhury and Hahne's dynamic threshold, 1998): one that
    invents names meets a bound of its own at a half, and several that do so together leave room for others. Nothing is
    forgotten to make room, or a client could have what it drew forgotten."""
    return of_client < keys - kept


class Table(Protocol):
    """Holds states by limit name and key. `read` and `write` are called while it is locked."""

    def locked(self) -> AbstractContextManager[object]:
        """Nobody else reads or writes inside."""
        ...

    def read(self, draw: Draw, now: Now) -> State:
        """`FRESH` for a bucket that is not kept. Raises `TooManyKeys` if it is new and cannot be kept."""
        ...

    def write(self, draw: Draw, state: State, now: Now) -> None:
        """Keep what was read and then changed."""
        ...

    def listed(self, also: Iterable[BucketId] = ()) -> Iterable[tuple[BucketId, State]]:
        """Some of what is kept, the latest of each limit first and no more than `LISTED`; before them those `also` that
        are known, some perhaps a second time; without the lock."""
        ...


def take_from(table: Table, draws: Sequence[Draw], now: Now) -> Taken | Lacking:
    """Take all or nothing. Raises `TooManyKeys`; then nothing was taken."""
    with table.locked():
        states = [table.read(draw, now) for draw in draws]
        outcome = take(draws, states, now)
        if isinstance(outcome, Taken):
            for draw, state in zip(draws, outcome.states):  # noqa: B905  # as in `policy.buckets.take`
                table.write(draw, state, now)
    return outcome


def put_back(table: Table, draws: Sequence[Draw]) -> None:
    """Give back what was held. Draws of other kinds have nothing to give back."""
    with table.locked():
        for draw in draws:
            if draw.limit.counted is _CONCURRENT:
                held, _ = table.read(draw, _ANY_TIME)
                table.write(draw, (max(held - draw.amount, 0.0), 0.0), _ANY_TIME)


def spend_from(table: Table, draw: Draw, now: Now) -> State:
    """Take what has moved already, whether it was there or not; returns the state after it."""
    with table.locked():
        state = after(draw, table.read(draw, now), now)
        table.write(draw, state, now)
    return state


def hold_off(table: Table, draw: Draw, seconds: float, now: Now) -> None:
    """Let a rate's bucket be full again no sooner than in `seconds`."""
    with table.locked():
        full_at, _ = table.read(draw, now)
        table.write(draw, (max(full_at, now.monotonic + seconds), 0.0), now)
