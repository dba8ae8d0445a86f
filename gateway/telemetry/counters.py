"""What is counted at the end of every connection: plain integers, folded into metrics when somebody asks.

Labels come from the policy and from closed vocabularies only, never from a client, and their number is bounded.
"""

from bisect import bisect_left
from itertools import accumulate

from gateway.model.reasons import Reason
from gateway.model.record import Draft, rule_of, verdict_of
from gateway.telemetry.sealing import reason_of

SERIES_LIMIT = 10_000
OTHER_RULES = "other"  # no rule has this full name: those hold a `#` or a `/`

LIFETIME_BOUNDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 3600.0)
STAGE_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

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

    def _count_series(self, labels: Labels) -> None:
        connections = self.connections
        if labels not in connections and len(connections) >= self._limit:
            labels = (OTHER_RULES, *labels[1:])
        connections[labels] = connections.get(labels, 0) + 1
