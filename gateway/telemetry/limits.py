"""What limits did, in numbers. Labels are names of limits, which the policy gives and whose number is bounded."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


@dataclass(frozen=True, slots=True)
class LimitReadings:
    """At one instant. `results` are counts by a limit's name and result; `waiting` stand in queues; `unchecked` passed
    because the store did not answer; `stores_down` are processes that do not reach it."""

    results: Mapping[tuple[str, str], int] = field(default_factory=dict)
    waiting: int = 0
    unchecked: int = 0
    stores_down: int = 0

    def with_those_of(self, other: "LimitReadings") -> "LimitReadings":
        """Both together."""
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
        """What stays of a process that is gone."""
        return LimitReadings(self.results, unchecked=self.unchecked)

    def state(self) -> list[Any]:
        """All of it as values that JSON has."""
        results = [[*labels, count] for labels, count in self.results.items()]
        return [results, self.waiting, self.unchecked, self.stores_down]

    @staticmethod
    def read(state: Any) -> "LimitReadings":
        """What another process read. Raises `TypeError` or `ValueError` for what is no `state`."""
        results, waiting, unchecked, stores_down = state
        counts = {(str(limit), str(result)): int(count) for limit, result, count in results}
        return LimitReadings(counts, int(waiting), int(unchecked), int(stores_down))


class LimitMetrics(Collector):
    """`readings` is called at every scrape."""

    def __init__(self, readings: Callable[[], LimitReadings]) -> None:
        self._readings = readings

    def collect(self) -> Iterator[Metric]:
        """Called by the registry at every scrape."""
        readings = self._readings()
        results = CounterMetricFamily("egress_limit_results", "What limits did.", labels=("limit", "result"))
        for (limit, result), count in readings.results.items():
            results.add_metric((limit, result), count)
        yield results
        yield GaugeMetricFamily("egress_limit_waiting", "Who waits in a queue.", readings.waiting)
        yield CounterMetricFamily("egress_limit_unchecked", "Passed while the store was away.", readings.unchecked)
        yield GaugeMetricFamily("egress_limit_stores_down", "Processes without their store.", readings.stores_down)
