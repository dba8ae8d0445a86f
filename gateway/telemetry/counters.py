"""What is counted at the end of every connection: plain integers, folded into metrics when somebody asks.

Labels come from the policy and from closed vocabularies only, never from a client, and their number is bounded.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from gateway.model.reasons import Reason
from gateway.model.record import Draft, rule_of, verdict_of
from gateway.telemetry.sealing import reason_of

SERIES_LIMIT = 10_000
OTHER_RULES = "other"  # no rule has this full name: those hold a `#` or a `/`

LIFETIME_BOUNDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 3600.0)
STAGE_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_HISTOGRAMS = ("lifetime", "dns", "dial")

Labels = tuple[str, str, Reason | None]
"""Full rule name or "", verdict, reason."""


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
        """What another histogram with the same bounds observed. Raises ValueError if the bounds differ."""
        counts, total = state
        self._counts = [mine + other for mine, other in zip(self._counts, counts, strict=True)]
        self.total += total


class Counters:
    """Written by the loop's thread only. A reader in another thread copies before it iterates."""

    __slots__ = ("_limit", "bytes_down", "bytes_up", "connections", "dial", "dns", "lifetime")

    def __init__(self, series_limit: int = SERIES_LIMIT) -> None:
        self._limit = series_limit
        self.connections: dict[Labels, int] = {}
        self.bytes_up = 0
        self.bytes_down = 0
        self.lifetime = Histogram(LIFETIME_BOUNDS)
        self.dns = Histogram(STAGE_BOUNDS)
        self.dial = Histogram(STAGE_BOUNDS)

    def count(self, draft: Draft, ended_at: float) -> None:
        """One connection that ended at the monotonic instant `ended_at`."""
        rule = rule_of(draft)
        self._count_series((rule.name if rule else "", verdict_of(draft), reason_of(draft)))
        self.bytes_up += draft.transfer.bytes_up
        self.bytes_down += draft.transfer.bytes_down
        self.lifetime.observe(ended_at - draft.started_at)
        dialled = draft.dialled
        if dialled is not None:
            self.dial.observe(dialled.dial_seconds)
            if dialled.resolve_seconds is not None:
                self.dns.observe(dialled.resolve_seconds)

    @property
    def total(self) -> int:
        """Connections that ended."""
        return sum(self.connections.copy().values())

    def state(self) -> dict[str, Any]:
        """All counts as values that JSON has."""
        return {
            "connections": [[*labels, count] for labels, count in self.connections.copy().items()],
            "bytes": [self.bytes_up, self.bytes_down],
            **{name: getattr(self, name).state() for name in _HISTOGRAMS},
        }

    def add(self, state: Mapping[str, Any]) -> None:
        """What another process counted. Raises `LookupError`, `TypeError` or `ValueError` for what is no `state`."""
        for rule, verdict, reason, count in state["connections"]:
            self._count_series((str(rule), str(verdict), None if reason is None else Reason(reason)), int(count))
        up, down = state["bytes"]
        self.bytes_up += int(up)
        self.bytes_down += int(down)
        for name in _HISTOGRAMS:
            getattr(self, name).add(state[name])

    def _count_series(self, labels: Labels, count: int = 1) -> None:
        connections = self.connections
        if labels not in connections and len(connections) >= self._limit:
            labels = (OTHER_RULES, *labels[1:])
        connections[labels] = connections.get(labels, 0) + count
