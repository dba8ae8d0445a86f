"""Permits of several buckets, drawn ahead of each."""

from collections.abc import Sequence

import pytest

from gateway.limits.replicas.ahead import Ahead, allowance_of, use_all
from gateway.model.limits.limit import Counted, Limit

RATE = Limit("r", Counted.CONNECTIONS, rate=100.0, burst=20.0)


@pytest.mark.parametrize(
    ("drawn", "is_used", "left"), [((2, 1), True, (1, 0)), ((2, 0), False, (2, 0)), ((0, 2), False, (0, 2))]
)
def test_one_of_each_bucket_is_used_or_none(drawn: Sequence[int], is_used: bool, left: Sequence[int]) -> None:
    aheads = [Ahead(RATE, allowance_of(RATE)) for _ in drawn]
    for ahead, count in zip(aheads, drawn, strict=True):
        ahead.add(count, 0.0)
    assert use_all(aheads, 0.01) is is_used
    assert tuple(ahead.left for ahead in aheads) == left
