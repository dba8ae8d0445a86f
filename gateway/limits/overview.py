"""How full buckets are, for operators: those that this process used lately, the fullest first."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from gateway.limits.draws import is_gate
from gateway.model.limits.limit import Counted, Limit
from gateway.policy.buckets import BucketId, Now, State, left

SHOWN = 1_000
"""Buckets that one process shows."""


class Fill(NamedTuple):
    """One bucket. `left` is what could be taken now; `used` goes from 0 (nothing was taken) to 1 (nothing is left);
    `refused` is how often it was the one that refused."""

    limit: Limit
    key: tuple[str, ...]
    left: float
    used: float
    refused: int


def overview(
    states: Iterable[tuple[BucketId, State]], limits: Mapping[str, Limit], refused: Mapping[BucketId, int], now: Now
) -> Sequence[Fill]:
    """At most `SHOWN`: those that refused most, then the fullest. `limits` are those that were applied, by name."""
    found = sorted(_fills(states, limits, refused, now), key=lambda fill: (-fill.refused, -fill.used, fill.limit.name))
    return found[:SHOWN]


def _fills(
    states: Iterable[tuple[BucketId, State]], limits: Mapping[str, Limit], refused: Mapping[BucketId, int], now: Now
) -> Iterator[Fill]:
    for bucket, state in dict(states).items():  # one may be listed twice
        name, key = bucket
        limit = limits.get(name)
        if limit is not None and not is_gate(limit):
            remaining = left(limit, state, now)
            used = 1.0 - remaining / most(limit)
            yield Fill(limit, key, remaining, min(max(used, 0.0), 1.0), refused.get(bucket, 0))


def most(limit: Limit) -> float:
    """The capacity of a bucket."""
    return limit.rate if limit.counted in (Counted.CONCURRENT, Counted.BYTES) else limit.burst
