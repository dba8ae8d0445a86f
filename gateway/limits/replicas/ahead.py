"""Permits drawn in advance: a busy bucket is asked for several at once, so that most takes need no round trip.

Permits drawn ahead may be used for `seconds`, and are then lost. So what passes within a window was drawn within one
that is longer by that much; and the shared bucket's burst is smaller by what its rate gives in that time. Together that
is never more than rate x W + burst. Buckets with little to spare are asked each time.
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from gateway.model.limits.limit import Counted, Limit

LEAST_RATE = 10.0
LEAST_BURST = 8.0
SHARE = 4
"""A quarter of the burst is what may be drawn ahead over all replicas."""

LONGEST_SECONDS = 1.0
LEAST_SECONDS = 0.02

_RATES = frozenset({Counted.CONNECTIONS, Counted.REQUESTS})


class Allowance(NamedTuple):
    """`limit` is the one that the store keeps, `seconds` is for how long permits drawn ahead may be used (0: none are),
    `most` is how many may be drawn at once."""

    limit: Limit
    seconds: float
    most: int


def allowance_of(limit: Limit) -> Allowance:
    """How much of a limit may be drawn ahead."""
    share = min(limit.burst / SHARE, limit.rate * LONGEST_SECONDS)
    seconds = share / limit.rate if limit.rate else 0.0
    worthwhile = limit.rate >= LEAST_RATE and limit.burst >= LEAST_BURST and seconds >= LEAST_SECONDS
    if limit.counted not in _RATES or not worthwhile:
        return Allowance(limit, 0.0, 0)
    return Allowance(limit._replace(burst=limit.burst - share), seconds, max(1, int(share)))


class Ahead:
    """The permits drawn ahead of one bucket, and how many to ask for next: more while all are used, fewer when some
    were lost. Instants are monotonic."""

    __slots__ = ("_asked_at", "_until", "allowance", "closed_until", "left", "limit", "turn", "want")

    def __init__(self, limit: Limit, allowance: Allowance) -> None:
        self.limit = limit
        self.allowance = allowance
        self.turn = asyncio.Lock()
        self.left = 0
        self.want = 0
        self.closed_until = 0.0
        self._until = 0.0
        self._asked_at = -1.0

    def use(self, now: float) -> bool:
        """Take one, if one is left."""
        if not self.left:
            return False
        if now >= self._until:
            self.left = 0
            self.want //= 2
            return False
        self.left -= 1
        return True

    def give_back(self) -> None:
        """It was not used after all."""
        self.left += 1

    def ask(self, now: float) -> int:
        """How many to ask for besides the one that is needed."""
        if now - self._asked_at < self.allowance.seconds:
            self.want = min(max(1, 2 * self.want), self.allowance.most)
        self._asked_at = now
        return self.want if self.allowance.seconds else 0

    def add(self, count: int, asked_at: float) -> None:
        """`count` more were drawn, by a question of that instant."""
        until = asked_at + self.allowance.seconds
        self._until = min(self._until, until) if self.left else until
        self.left += count


def use_all(aheads: Sequence[Ahead], now: float) -> bool:
    """Use one of each, or none."""
    for index, ahead in enumerate(aheads):
        if not ahead.use(now):
            for used in aheads[:index]:
                used.give_back()
            return False
    return True
