"""Plain integers by label and by duration: the building blocks of all counts."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, TypeVar, cast

SERIES_LIMIT = 10_000
OTHER_RULES = "other"  # never a rule's full name, which holds a `#` or a `/`

STAGE_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

Labels = TypeVar("Labels", bound=tuple[Any, ...])


class Histogram:
    """Observations in buckets; a bucket includes its upper bound. Bounds are seconds in ascending order."""

    __slots__ = ("_counts", "bounds", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.total = 0.0
        self._counts = [0] * (len(bounds) + 1)

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    def cumulative(self) -> list[int]:
        """Observations up to each bound, then all of them."""
        return list(accumulate(self._counts))

    def state(self) -> tuple[list[int], float]:
        """All that was observed, as plain values."""
        return list(self._counts), self.total

    def add(self, state: tuple[Sequence[int], float]) -> None:
        """Add what another histogram observed. Raises ValueError if its bounds differ."""
        counts, total = state
        self._counts = [mine + other for mine, other in zip(self._counts, counts, strict=True)]
        self.total += total


def count_series(series: dict[Labels, int], labels: Labels, limit: int, count: int = 1) -> None:
    """Count `count` of these labels, of which the first is a rule; once there are `limit` series, a new one counts
    under `OTHER_RULES`."""
    known = series.get(labels)
    if known is None and len(series) >= limit:
        labels = cast("Labels", (OTHER_RULES, *labels[1:]))
        known = series.get(labels)
    series[labels] = (known or 0) + count
