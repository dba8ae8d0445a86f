"""What one replica may let through alone while the store does not answer: its share of every limit.

The store's last answer about a bucket is kept, so that to switch to the share, and back, gives nobody a fresh burst.
"""

from collections.abc import Iterable, Sequence
from math import floor
from typing import NamedTuple

from gateway.limits.replicas.ahead import allowance_of
from gateway.limits.tables.memory import MemoryTable
from gateway.limits.tables.table import TooManyKeys, spend_from, take_from
from gateway.model.limits.limit import Counted, Limit
from gateway.policy.buckets import BucketId, Draw, Lacking, Now, State, Taken, after, wait_for

FULL_SECONDS = 1.0
"""How long bytes wait if their bucket cannot be kept."""


class Known(NamedTuple):
    """What is known of a bucket: `number` as in `script.DrawAnswer`, of a budget since `began`."""

    number: float
    began: float = 0.0


NOTHING = Known(0.0)


class Share:
    """A mirror of the shared buckets, and what this replica holds itself."""

    def __init__(self) -> None:
        self._table = MemoryTable()
        self.held: dict[BucketId, int] = {}

    def take(self, draws: Sequence[Draw], replicas: int, now: Now) -> Taken | Lacking:
        """All or nothing, from the shares. Raises `TooManyKeys`."""
        narrowed = [draw._replace(limit=share_of(draw.limit, replicas)) for draw in draws]
        held = [draw for draw in narrowed if draw.limit.counted is Counted.CONCURRENT]
        try:
            for draw in held:
                self._table.read(draw, now)
                self._table.write(draw, (float(self.held.get(draw.bucket, 0)), 0.0), now)
            outcome = take_from(self._table, narrowed, now)
        finally:
            for draw in held:
                self._table.forget(draw)
        if isinstance(outcome, Lacking):
            return outcome._replace(draw=draws[narrowed.index(outcome.draw)])
        return outcome

    def spend(self, draw: Draw, replicas: int, now: Now) -> float:
        """Take what has moved already; returns seconds until more may."""
        narrowed = draw._replace(limit=share_of(draw.limit, replicas))
        try:
            state = spend_from(self._table, narrowed, now)
        except TooManyKeys:
            return FULL_SECONDS
        return wait_for(narrowed._replace(amount=1.0), state, now)

    def rest(self, owed: Draw, now: Now) -> float:
        """Seconds until more may move, by the store's last answer and by what it has not been told of."""
        try:
            state = self._table.read(owed, now)
        except TooManyKeys:
            return 0.0
        return wait_for(owed._replace(amount=1.0), after(owed, state, now), now)

    def hear(self, draw: Draw, number: float, now: Now, began: float = 0.0) -> None:
        """Note what the store answered about a bucket, in the terms of `script.DrawAnswer`."""
        if draw.limit.counted is Counted.CONCURRENT:
            return
        try:
            self._table.read(draw, now)
        except TooManyKeys:
            return
        if draw.limit.counted is Counted.BYTES:
            self._table.write(draw, (began, number), now)
        else:
            self._table.write(draw, (now.monotonic + number, 0.0), now)

    def known(self, draw: Draw, now: Now) -> Known:
        """What is known of a bucket, for the store, which may have lost it or not been told. Raises `TooManyKeys` for
        one that cannot be kept here, so that the buckets in the store are bounded as well."""
        if draw.limit.counted is Counted.CONCURRENT:
            return NOTHING
        first, second = self._table.read(draw, now)
        if draw.limit.counted is Counted.BYTES:
            return Known(second, max(first, 0.0))
        return Known(max(first - now.monotonic, 0.0))

    def hold(self, draws: Sequence[Draw], change: int) -> None:
        """This replica holds `change` more, or fewer, of each that can be held."""
        for draw in draws:
            if draw.limit.counted is Counted.CONCURRENT:
                bucket = draw.bucket
                count = self.held.get(bucket, 0) + change
                if count > 0:
                    self.held[bucket] = count
                else:
                    self.held.pop(bucket, None)

    def listed(self, also: Iterable[BucketId] = ()) -> Iterable[tuple[BucketId, State]]:
        """Buckets as the store last answered, and what is held here."""
        yield from self._table.listed(also)
        yield from ((bucket, (float(count), 0.0)) for bucket, count in self.held.items())


def share_of(limit: Limit, replicas: int) -> Limit:
    """One of `replicas` equal parts of what the store keeps. A rate's burst is at least 1, or nothing would pass
    anywhere."""
    limit = allowance_of(limit).limit
    if replicas <= 1:
        return limit
    if limit.counted is Counted.CONCURRENT:
        return limit._replace(rate=float(floor(limit.rate / replicas)))
    return limit._replace(rate=limit.rate / replicas, burst=max(1.0, limit.burst / replicas))


def rest_of(draw: Draw, number: float, now: Now) -> float:
    """Seconds until something may move again, according to the store's answer."""
    limit = draw.limit
    if limit.counted is Counted.BYTES:
        return 0.0 if number < limit.rate else limit.period - now.unix % limit.period
    return max(0.0, number + (1.0 - limit.burst) / limit.rate)
