"""Name service in numbers. Servers are labels as they stand in gateway.yaml or resolv.conf, and bounded in number."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from gateway.telemetry.counting import STAGE_BOUNDS, Histogram

MOST_SERVERS = 32
OTHER_SERVERS = "other"


class QuestionCounters:
    """Questions to name servers. Written by the loop's thread only; a reader copies before it iterates."""

    def __init__(self) -> None:
        self.ended: dict[tuple[str, str, str], int] = {}
        self.durations: dict[str, Histogram] = {}

    def count(self, server: str, transport: str, result: str, seconds: float) -> None:
        """One question that ended after `seconds`."""
        server = self._known(server)
        labels = (server, transport, result)
        self.ended[labels] = self.ended.get(labels, 0) + 1
        self.durations.setdefault(server, Histogram(STAGE_BOUNDS)).observe(seconds)

    def state(self) -> list[Any]:
        """All of it as values that JSON has."""
        ended = [[*labels, count] for labels, count in self.ended.copy().items()]
        return [ended, {server: histogram.state() for server, histogram in self.durations.copy().items()}]

    def add(self, state: Sequence[Any]) -> None:
        """What another process counted. Raises `TypeError` or `ValueError` for what is no `state`."""
        ended, durations = state
        for server, transport, result, count in ended:
            labels = (self._known(str(server)), str(transport), str(result))
            self.ended[labels] = self.ended.get(labels, 0) + int(count)
        for server, histogram in durations.items():
            self.durations.setdefault(self._known(str(server)), Histogram(STAGE_BOUNDS)).add(histogram)

    def _known(self, server: str) -> str:
        """`server`, while there are few enough of them."""
        if server in self.durations or len(self.durations) < MOST_SERVERS:
            self.durations.setdefault(server, Histogram(STAGE_BOUNDS))
            return server
        return OTHER_SERVERS


@dataclass(frozen=True, slots=True)
class DnsReadings:
    """At one instant. `names` are counts by result, a closed vocabulary; `remembered` names in the cache; `health` is
    False for a server that is asked last."""

    names: Mapping[str, int] = field(default_factory=dict)
    remembered: int = 0
    health: Mapping[str, bool] = field(default_factory=dict)
    questions: QuestionCounters = field(default_factory=QuestionCounters)

    def state(self) -> list[Any]:
        """All of it as values that JSON has."""
        return [dict(self.names), self.remembered, dict(self.health), self.questions.state()]

    @staticmethod
    def read(state: Sequence[Any]) -> "DnsReadings":
        """What `state` gave. Raises `AttributeError`, `TypeError` or `ValueError` for anything else."""
        names, remembered, health, asked = state
        questions = QuestionCounters()
        questions.add(asked)
        return DnsReadings(
            {str(result): int(count) for result, count in names.items()},
            int(remembered),
            {str(server): bool(is_well) for server, is_well in health.items()},
            questions,
        )

    def with_those_of(self, other: "DnsReadings") -> "DnsReadings":
        """Of both processes together; a server is well if both say so."""
        questions = QuestionCounters()
        for each in (self, other):
            questions.add(each.questions.state())
        names = {
            result: self.names.get(result, 0) + other.names.get(result, 0) for result in {**self.names, **other.names}
        }
        servers = {**self.health, **other.health}
        health = {server: self.health.get(server, True) and other.health.get(server, True) for server in servers}
        return DnsReadings(names, self.remembered + other.remembered, health, questions)

    def past(self) -> "DnsReadings":
        """What is left of them when their process is gone."""
        return DnsReadings(self.names, 0, {}, self.questions)


class DnsMetrics(Collector):
    """What `/metrics` says about name service."""

    def __init__(self, read: Callable[[], DnsReadings]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """Called by the registry at every scrape."""
        readings = self._read()
        names = CounterMetricFamily("egress_dns_names", "Names asked for, by result.", labels=("result",))
        for result, count in readings.names.items():
            names.add_metric((result,), count)
        yield names
        yield GaugeMetricFamily("egress_dns_cache_entries", "Names remembered.", readings.remembered)
        health = GaugeMetricFamily(
            "egress_dns_server_up", "0: it did not answer and is asked last.", labels=("server",)
        )
        for server, is_well in list(readings.health.items())[:MOST_SERVERS]:
            health.add_metric((server,), int(is_well))
        yield health
        yield from _questions(readings.questions)


def _questions(counters: QuestionCounters) -> Iterator[Metric]:
    labels = ("server", "transport", "result")
    ended = CounterMetricFamily("egress_dns_queries", "Questions put to name servers, by result.", labels=labels)
    for values, count in counters.ended.copy().items():
        ended.add_metric(values, count)
    yield ended
    durations = HistogramMetricFamily(
        "egress_dns_query_duration_seconds", "Questions, to their end.", labels=("server",)
    )
    for server, histogram in counters.durations.copy().items():
        bounds = [*map(floatToGoString, histogram.bounds), "+Inf"]
        buckets = list(zip(bounds, histogram.cumulative(), strict=True))
        durations.add_metric((server,), buckets=buckets, sum_value=histogram.total)
    yield durations
