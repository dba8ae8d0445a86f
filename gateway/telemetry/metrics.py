"""The numbers as Prometheus reads them: built from plain counts when somebody asks, never before.

The table in docs/operations.md lists every metric.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from gateway.telemetry.counters import Counters
from gateway.telemetry.counting import Histogram
from gateway.telemetry.questions import DnsMetrics, DnsReadings

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


@dataclass(frozen=True, slots=True)
class Sources:
    """Readings of other rooms, taken at every scrape, maybe from another thread; none may block.

    `last_reload_time` is Unix time of the last attempt, None before the first; `reload_succeeded` tells how that one
    ended.
    """

    connections_open: Callable[[], int]
    tunnels_open: Callable[[], int]
    records_written: Callable[[], int]
    records_lost: Callable[[], int]
    policy_generation: Callable[[], int]
    reload_succeeded: Callable[[], bool]
    last_reload_time: Callable[[], float | None]
    dns: Callable[[], DnsReadings]


class Metrics:
    """The registry of one process."""

    def __init__(self, counters: Counters, sources: Sources) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Gateway(counters, sources))
        self._registry.register(DnsMetrics(sources.dns))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def render(self) -> bytes:
        """The text exposition format, of `CONTENT_TYPE`. About 6 us a series: not on the loop."""
        return generate_latest(self._registry)


class _Gateway(Collector):
    def __init__(self, counters: Counters, sources: Sources) -> None:
        self._counters = counters
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        """Called by the registry at every scrape."""
        counters = self._counters
        yield self._connections()
        yield self._requests()
        yield self._bytes()
        yield _histogram("egress_connection_duration_seconds", "From accept to end.", counters.lifetime)
        yield _histogram("egress_request_duration_seconds", "From head to end.", counters.request_duration)
        yield _histogram("egress_dns_duration_seconds", "Resolving, where a dial succeeded.", counters.dns)
        yield _histogram("egress_dial_duration_seconds", "Connecting, where it succeeded.", counters.dial)
        yield from self._readings()

    def _connections(self) -> Metric:
        family = CounterMetricFamily(
            "egress_connections", "Connections that ended.", labels=("rule", "decision", "reason")
        )
        for (rule, decision, reason), count in self._counters.connections.copy().items():
            family.add_metric((rule, decision, reason or ""), count)
        return family

    def _requests(self) -> Metric:
        family = CounterMetricFamily(
            "egress_requests", "HTTP requests that ended.", labels=("rule", "decision", "reason", "status")
        )
        for (rule, decision, reason, status), count in self._counters.requests.copy().items():
            family.add_metric((rule, decision, reason or "", status), count)
        return family

    def _bytes(self) -> Metric:
        family = CounterMetricFamily(
            "egress_bytes", "Payload bytes relayed, counted when their connection ends.", labels=("direction",)
        )
        family.add_metric(("up",), self._counters.bytes_up)
        family.add_metric(("down",), self._counters.bytes_down)
        return family

    def _readings(self) -> Iterator[Metric]:
        sources = self._sources
        yield GaugeMetricFamily("egress_connections_open", "Accepted and not yet ended.", sources.connections_open())
        yield GaugeMetricFamily("egress_tunnels_open", "Tunnels being relayed.", sources.tunnels_open())
        yield CounterMetricFamily(
            "egress_records_written", "Records written, over all logs.", sources.records_written()
        )
        yield CounterMetricFamily("egress_records_lost", "Records that reached no log.", sources.records_lost())
        yield GaugeMetricFamily("egress_policy_generation", "The rules in force.", sources.policy_generation())
        yield from self._reload()

    def _reload(self) -> Iterator[Metric]:
        succeeded = self._sources.reload_succeeded()
        yield GaugeMetricFamily("egress_policy_reload_success", "1: the last reload was taken over.", int(succeeded))
        last = self._sources.last_reload_time()
        if last is not None:
            name = "egress_policy_last_reload_timestamp_seconds"
            yield GaugeMetricFamily(name, "Unix time of the last attempt.", last)


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    counts = histogram.cumulative()
    bounds = [*map(floatToGoString, histogram.bounds), "+Inf"]
    return HistogramMetricFamily(name, text, buckets=list(zip(bounds, counts, strict=True)), sum_value=histogram.total)
