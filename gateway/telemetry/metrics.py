"""The numbers as Prometheus reads them: built from plain counts when somebody asks, never before.

The table in docs/operations.md lists every metric.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

import psutil
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from gateway.telemetry.counters import FLOWS, SENT, Counters
from gateway.telemetry.counting import Histogram
from gateway.telemetry.exposition.familiar import FamiliarNames
from gateway.telemetry.limits import LimitMetrics, LimitReadings
from gateway.telemetry.questions import DnsMetrics, DnsReadings

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


@dataclass(frozen=True, slots=True)
class Tally:
    """What was done since the gateway's start. `connections_lost` were accepted and ended, uncounted, with a worker
    that was lost; `records_lost` includes the lines that they would have made. `workers` are the process ids of those
    that serve, by their places."""

    connections_accepted: int
    connections_open: int
    connections_lost: int
    tunnels_open: int
    records_written: int
    records_lost: int
    workers: Mapping[int, int]
    workers_lost: int


@dataclass(frozen=True, slots=True)
class Sources:
    """Readings of other rooms, taken at every scrape, maybe from another thread; none may block.

    `last_reload_time` is Unix time of the last attempt, None before the first; `reload_succeeded` tells how that one
    ended, `reload_seconds` how long it took; `taken_time` is when the rules in force took over.
    """

    counters: Callable[[], Counters]
    tally: Callable[[], Tally]
    policy_generation: Callable[[], int]
    reload_succeeded: Callable[[], bool]
    last_reload_time: Callable[[], float | None]
    reload_seconds: Callable[[], float | None]
    taken_time: Callable[[], float]
    dns: Callable[[], DnsReadings]
    limits: Callable[[], LimitReadings]


class Metrics:
    """The registry of the gateway. `also`: whose names the counts have besides ours."""

    def __init__(self, sources: Sources, also: Collection[str] = ()) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Gateway(sources))
        self._registry.register(DnsMetrics(sources.dns))
        self._registry.register(FamiliarNames(sources.counters, also))
        self._registry.register(LimitMetrics(sources.limits))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def render(self) -> bytes:
        """The text exposition format, of `CONTENT_TYPE`. About 6 us a series: not on the loop."""
        return generate_latest(self._registry)


class _Gateway(Collector):
    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        """Called by the registry at every scrape."""
        counters = self._sources.counters()
        yield _connections(counters)
        yield _requests(counters)
        yield _bytes(counters)
        yield _histogram("egress_connection_duration_seconds", "From accept to end.", counters.lifetime)
        yield _histogram("egress_request_duration_seconds", "From head to end.", counters.request_duration)
        yield _histogram("egress_dns_duration_seconds", "Resolving, where a dial succeeded.", counters.dns)
        yield _histogram("egress_dial_duration_seconds", "Connecting, where it succeeded.", counters.dial)
        yield _inspectors_failed(counters)
        yield from _delivered(counters)
        yield from _tallied(self._sources.tally())
        generation = self._sources.policy_generation()
        yield GaugeMetricFamily("egress_policy_generation", "The rules in force.", generation)
        yield from self._reload()

    def _reload(self) -> Iterator[Metric]:
        succeeded = self._sources.reload_succeeded()
        yield GaugeMetricFamily("egress_policy_reload_success", "1: the last reload was taken over.", int(succeeded))
        last = self._sources.last_reload_time()
        if last is not None:
            name = "egress_policy_last_reload_timestamp_seconds"
            yield GaugeMetricFamily(name, "Unix time of the last attempt.", last)
        seconds = self._sources.reload_seconds()
        if seconds is not None:
            yield GaugeMetricFamily("egress_policy_reload_seconds", "From its start to its end, the last one.", seconds)
        name, taken = "egress_policy_last_success_timestamp_seconds", self._sources.taken_time()
        yield GaugeMetricFamily(name, "Unix time at which the rules in force took over.", taken)


def _tallied(tally: Tally) -> Iterator[Metric]:
    yield CounterMetricFamily("egress_connections_accepted", "Connections that came in.", tally.connections_accepted)
    yield GaugeMetricFamily("egress_connections_open", "Accepted and not yet ended.", tally.connections_open)
    yield CounterMetricFamily("egress_connections_lost", "Ended uncounted, with their worker.", tally.connections_lost)
    yield GaugeMetricFamily("egress_tunnels_open", "Tunnels being relayed.", tally.tunnels_open)
    yield CounterMetricFamily("egress_records_written", "Records written, over all logs.", tally.records_written)
    yield CounterMetricFamily("egress_records_lost", "Records that reached no log.", tally.records_lost)
    yield GaugeMetricFamily("egress_workers", "Processes that serve.", len(tally.workers))
    yield CounterMetricFamily("egress_workers_lost", "Workers that ended untold.", tally.workers_lost)
    yield from _of_workers(tally.workers)


def _of_workers(workers: Mapping[int, int]) -> Iterator[Metric]:
    """Read from the system: what a worker is busy with cannot keep it from being told."""
    cpu = CounterMetricFamily("egress_worker_cpu_seconds", "User and system time.", labels=("worker",))
    memory = GaugeMetricFamily("egress_worker_resident_memory_bytes", "Resident memory.", labels=("worker",))
    descriptors = GaugeMetricFamily("egress_worker_open_fds", "Open descriptors.", labels=("worker",))
    for place, pid in workers.items():
        with suppress(psutil.Error):  # it ended just now
            process = psutil.Process(pid)
            labels = (str(place),)
            cpu.add_metric(labels, sum(process.cpu_times()[:2]))
            memory.add_metric(labels, process.memory_info().rss)
            descriptors.add_metric(labels, process.num_fds())
    yield from (cpu, memory, descriptors)


def _delivered(counters: Counters) -> Iterator[Metric]:
    sent = CounterMetricFamily("egress_otlp_sent", "Taken by the collector.", labels=("signal",))
    dropped = CounterMetricFamily("egress_otlp_dropped", "That no collector got.", labels=("signal", "why"))
    unseen = CounterMetricFamily("egress_flows_dropped", "Flows that found no room on their way to those who look on.")
    for (what, outcome), count in sorted(counters.deliveries.copy().items()):
        if what == FLOWS and outcome != SENT:
            unseen.add_metric((), count)
        elif what != FLOWS and outcome == SENT:
            sent.add_metric((what,), count)
        elif what != FLOWS:
            dropped.add_metric((what, outcome), count)
    yield from (sent, dropped, unseen)


def _connections(counters: Counters) -> Metric:
    family = CounterMetricFamily("egress_connections", "Connections that ended.", labels=("rule", "decision", "reason"))
    for (rule, decision, reason), count in counters.connections.copy().items():
        family.add_metric((rule, decision, reason or ""), count)
    return family


def _requests(counters: Counters) -> Metric:
    family = CounterMetricFamily(
        "egress_requests", "HTTP requests that ended.", labels=("rule", "decision", "reason", "status")
    )
    for (rule, decision, reason, status), count in counters.requests.copy().items():
        family.add_metric((rule, decision, reason or "", status), count)
    return family


def _inspectors_failed(counters: Counters) -> Metric:
    family = CounterMetricFamily(
        "egress_inspector_failures", "Exchanges in which it raised or was too slow.", labels=("inspector",)
    )
    for name, count in counters.inspectors_failed.copy().items():
        family.add_metric((name,), count)
    return family


def _bytes(counters: Counters) -> Metric:
    family = CounterMetricFamily(
        "egress_bytes", "Payload bytes relayed, counted when their connection ends.", labels=("direction",)
    )
    family.add_metric(("up",), counters.bytes_up)
    family.add_metric(("down",), counters.bytes_down)
    return family


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    counts = histogram.cumulative()
    bounds = [*map(floatToGoString, histogram.bounds), "+Inf"]
    return HistogramMetricFamily(name, text, buckets=list(zip(bounds, counts, strict=True)), sum_value=histogram.total)
