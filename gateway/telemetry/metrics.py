"""The metrics in Prometheus' format, made from plain counts when they are scraped.

What one process does is in families that OTLP exports as well; what only the supervisor knows (workers, reloads) is
only here. The table in docs/operations.md lists every metric.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import psutil
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from gateway.telemetry.counters import Counters
from gateway.telemetry.dns import DnsReadings, of_dns
from gateway.telemetry.exposition.counted import of_counters
from gateway.telemetry.exposition.families import Family, Point, by_label, counter, gauge
from gateway.telemetry.exposition.istio_hubble import FamiliarNames
from gateway.telemetry.exposition.prometheus import Families
from gateway.telemetry.limits import LimitReadings, of_limits
from gateway.telemetry.version import own_version

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


@dataclass(frozen=True, slots=True)
class Totals:
    """Totals since the gateway's start. `connections_lost` were accepted and ended uncounted with a worker that was
    lost; `records_lost` includes the lines that they would have made. `workers` are the process ids of those that
    serve, by place."""

    connections_accepted: int
    connections_open: int
    connections_lost: int
    tunnels_open: int
    records_written: int
    records_lost: int
    workers: Mapping[int, int]
    workers_lost: int


class Counted(Protocol):
    """What one serving process, or all of them together, counted since the start, and current readings."""

    @property
    def counters(self) -> Counters: ...

    @property
    def dns(self) -> DnsReadings: ...

    @property
    def limits(self) -> LimitReadings: ...


@dataclass(frozen=True, slots=True)
class Readings:
    """Readings of other rooms, taken at every scrape, perhaps from another thread; none may block.

    `last_reload_time` is Unix time of the last attempt, None before the first; `reload_succeeded` tells how that one
    ended, `reload_seconds` how long it took; `taken_time` is when the rules in force took over. `expiries` are Unix
    times at which certificates and rules in force expire, by what they are. `pods_age` is seconds since the API server
    said which pods there are, None before it did and where pods are not used.
    """

    counted: Callable[[], Counted]
    totals: Callable[[], Totals]
    policy_generation: Callable[[], int]
    reload_succeeded: Callable[[], bool]
    last_reload_time: Callable[[], float | None]
    reload_seconds: Callable[[], float | None]
    taken_time: Callable[[], float]
    expiries: Callable[[], Mapping[str, float]]
    pods_age: Callable[[], float | None]


class Metrics:
    """The gateway's registry. `also` names other vocabularies in which the counts are exposed."""

    def __init__(self, readings: Readings, also: Collection[str] = ()) -> None:
        self._readings = readings
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(Families(self._families))
        self._registry.register(FamiliarNames(lambda: readings.counted().counters, also))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def render(self) -> bytes:
        """The text exposition format, of `CONTENT_TYPE`. About 6 us a series: not on the loop."""
        return generate_latest(self._registry)

    def _families(self) -> Iterator[Family]:
        readings = self._readings
        totals = readings.totals()
        yield from of_serving(readings.counted(), totals, readings.policy_generation())
        yield from _of_crew(totals)
        yield from _of_reloads(readings)
        if (age := readings.pods_age()) is not None:
            yield gauge("egress.kubernetes.silence", "s", "Time since the API server was last heard from.", age)


def of_serving(counted: Counted, totals: Totals, generation: int) -> Iterator[Family]:
    """Families of one serving process, or of all of them together."""
    yield from of_counters(counted.counters)
    yield from _of_work(totals)
    yield gauge("egress.policy.generation", "", "Generation of the rules in force.", generation)
    yield from of_dns(counted.dns)
    yield from of_limits(counted.limits)


def _of_work(totals: Totals) -> Iterator[Family]:
    text, unit = "Connections accepted.", "{connection}"
    yield counter("egress.connections.accepted", unit, text, totals.connections_accepted)
    yield gauge("egress.connections.open", unit, "Connections accepted and not yet ended.", totals.connections_open)
    yield gauge("egress.tunnels.open", "{tunnel}", "Tunnels being relayed.", totals.tunnels_open)
    written, lost = "Records written, over all logs.", "Records that reached no log."
    yield counter("egress.records.written", "{record}", written, totals.records_written)
    yield counter("egress.records.lost", "{record}", lost, totals.records_lost)


def _of_crew(totals: Totals) -> Iterator[Family]:
    yield gauge(
        "egress.build_info", "", "Always 1, with the version as a label.", [((own_version(),), 1)], ("version",)
    )
    text, unit = "Connections lost with a worker.", "{connection}"
    yield counter("egress.connections.lost", unit, text, totals.connections_lost)
    yield gauge("egress.workers", "{process}", "Serving processes.", len(totals.workers))
    yield counter("egress.workers.lost", "{process}", "Workers that ended unexpectedly.", totals.workers_lost)
    yield from _of_workers(totals.workers)


def _of_workers(workers: Mapping[int, int]) -> Iterator[Family]:
    """Read from the system, so that a busy worker delays no scrape."""
    cpu: list[Point] = []
    memory: list[Point] = []
    descriptors: list[Point] = []
    for place, pid in workers.items():
        with suppress(psutil.Error):  # it ended just now
            process = psutil.Process(pid)
            labels = (str(place),)
            cpu.append((labels, sum(process.cpu_times()[:2])))
            memory.append((labels, process.memory_info().rss))
            descriptors.append((labels, process.num_fds()))
    labels = ("worker",)
    yield counter("egress.worker.cpu", "s", "User and system CPU time.", cpu, labels)
    yield gauge("egress.worker.resident_memory", "By", "Resident memory.", memory, labels)
    yield gauge("egress.worker.open_fds", "", "Open file descriptors.", descriptors, labels)


def _of_reloads(readings: Readings) -> Iterator[Family]:
    succeeded, last, seconds = readings.reload_succeeded(), readings.last_reload_time(), readings.reload_seconds()
    yield gauge("egress.policy.reload_success", "", "1 if the last reload succeeded, else 0.", int(succeeded))
    if last is not None:
        yield gauge("egress.policy.last_reload_timestamp", "s", "Unix time of the last reload.", last)
    if seconds is not None:
        yield gauge("egress.policy.reload", "s", "Duration of the last reload.", seconds)
    text = "Unix time at which the rules in force took effect."
    yield gauge("egress.policy.last_success_timestamp", "s", text, readings.taken_time())
    text = "Unix time at which a certificate or rule expires."
    yield gauge("egress.expiry_timestamp", "s", text, by_label(readings.expiries()), ("what",))
