"""Metrics of limits. Labels are names of limits, which the policy gives and whose number is bounded."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.telemetry.exposition.families import Family, counter, gauge


@dataclass(frozen=True, slots=True)
class LimitReadings:
    """At one instant. `results` are counts by limit name and result; `waiting` are connections and requests in queues;
    `unchecked` passed because the store did not answer; `stores_down` are processes that cannot reach it."""

    results: Mapping[tuple[str, str], int] = field(default_factory=dict)
    waiting: int = 0
    unchecked: int = 0
    stores_down: int = 0

    def merged_with(self, other: "LimitReadings") -> "LimitReadings":
        """The sum of both."""
        results = dict(self.results)
        for labels, count in other.results.items():
            results[labels] = results.get(labels, 0) + count
        return LimitReadings(
            results,
            self.waiting + other.waiting,
            self.unchecked + other.unchecked,
            self.stores_down + other.stores_down,
        )

    def past(self) -> "LimitReadings":
        """What remains of a process that has ended."""
        return LimitReadings(self.results, unchecked=self.unchecked)

    def state(self) -> list[Any]:
        """All of it as values that JSON has."""
        results = [[*labels, count] for labels, count in self.results.items()]
        return [results, self.waiting, self.unchecked, self.stores_down]

    @staticmethod
    def read(state: Any) -> "LimitReadings":
        """From another process's `state`. Raises `TypeError` or `ValueError` for anything else."""
        results, waiting, unchecked, stores_down = state
        counts = {(str(limit), str(result)): int(count) for limit, result, count in results}
        return LimitReadings(counts, int(waiting), int(unchecked), int(stores_down))


def of_limits(readings: LimitReadings) -> Iterator[Family]:
    """All families of these readings."""
    results = dict(readings.results).items()
    yield counter("egress.limit.results", "", "Verdicts of limits.", results, ("limit", "result"))
    yield gauge("egress.limit.waiting", "", "Waiting in limits' queues.", readings.waiting)
    yield counter("egress.limit.unchecked", "", "Passed unchecked: the store did not answer.", readings.unchecked)
    yield gauge("egress.limit.stores_down", "{process}", "Processes that cannot reach the store.", readings.stores_down)
