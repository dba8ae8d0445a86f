"""Name service in numbers. Servers are labels as they stand in gateway.yaml or resolv.conf, and bounded in number."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

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
        if server not in self.durations and len(self.durations) >= MOST_SERVERS:
            server = OTHER_SERVERS
        labels = (server, transport, result)
        self.ended[labels] = self.ended.get(labels, 0) + 1
        self.durations.setdefault(server, Histogram(STAGE_BOUNDS)).observe(seconds)


@dataclass(frozen=True, slots=True)
class DnsReadings:
    """At one instant. `names` are counts by result, a closed vocabulary; `remembered` names in the cache; `health` is
    False for a server that is asked last."""

    names: Mapping[str, int]
    remembered: int
    health: Mapping[str, bool]
    questions: QuestionCounters


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
