"""Metrics of name resolution. Servers are labels as gateway.yaml or resolv.conf has them, and bounded in number."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.telemetry.exposition.families import Family, by_label, counter, gauge, histogram
from gateway.telemetry.series import STAGE_BOUNDS, Histogram

MOST_SERVERS = 32
OTHER_SERVERS = "other"


class QueryCounters:
    """Queries to name servers. Written by the loop's thread only; a reader in another copies before it iterates."""

    def __init__(self) -> None:
        self.ended: dict[tuple[str, str, str], int] = {}
        self.durations: dict[str, Histogram] = {}

    def count(self, server: str, transport: str, result: str, seconds: float) -> None:
        """One query that ended after `seconds`."""
        server = self._label(server)
        labels = (server, transport, result)
        self.ended[labels] = self.ended.get(labels, 0) + 1
        self.durations[server].observe(seconds)

    def state(self) -> list[Any]:
        """All of it as values that JSON has."""
        ended = [[*labels, count] for labels, count in self.ended.copy().items()]
        return [ended, {server: histogram.state() for server, histogram in self.durations.copy().items()}]

    def add(self, state: Sequence[Any]) -> None:
        """Add another process's counts. Raises `TypeError` or `ValueError` for what is no `state`."""
        ended, durations = state
        for server, transport, result, count in ended:
            labels = (self._label(str(server)), str(transport), str(result))
            self.ended[labels] = self.ended.get(labels, 0) + int(count)
        for server, observed in durations.items():
            self.durations[self._label(str(server))].add(observed)

    def _label(self, server: str) -> str:
        """`server`, or `OTHER_SERVERS` once there are too many; its histogram is there afterwards."""
        if server not in self.durations and len(self.durations) >= MOST_SERVERS:
            server = OTHER_SERVERS
        if server not in self.durations:
            self.durations[server] = Histogram(STAGE_BOUNDS)
        return server


@dataclass(frozen=True, slots=True)
class DnsReadings:
    """At one instant. `names` are counts by result, a closed vocabulary; `remembered` is the number of cached names;
    `health` is False for a server that is asked last."""

    names: Mapping[str, int] = field(default_factory=dict)
    remembered: int = 0
    health: Mapping[str, bool] = field(default_factory=dict)
    queries: QueryCounters = field(default_factory=QueryCounters)

    def state(self) -> list[Any]:
        """All of it as values that JSON has."""
        return [dict(self.names), self.remembered, dict(self.health), self.queries.state()]

    @staticmethod
    def read(state: Sequence[Any]) -> "DnsReadings":
        """From a `state`. Raises `AttributeError`, `TypeError` or `ValueError` for anything else."""
        names, remembered, health, asked = state
        queries = QueryCounters()
        queries.add(asked)
        return DnsReadings(
            {str(result): int(count) for result, count in names.items()},
            int(remembered),
            {str(server): bool(is_well) for server, is_well in health.items()},
            queries,
        )

    def merged_with(self, other: "DnsReadings") -> "DnsReadings":
        """The sum of both processes; a server is healthy if both say so."""
        queries = QueryCounters()
        for each in (self, other):
            queries.add(each.queries.state())
        names = {
            result: self.names.get(result, 0) + other.names.get(result, 0) for result in {**self.names, **other.names}
        }
        servers = {**self.health, **other.health}
        health = {server: self.health.get(server, True) and other.health.get(server, True) for server in servers}
        return DnsReadings(names, self.remembered + other.remembered, health, queries)

    def past(self) -> "DnsReadings":
        """What remains of a process that has ended."""
        return DnsReadings(self.names, 0, {}, self.queries)


def of_dns(readings: DnsReadings) -> Iterator[Family]:
    """All families of these readings."""
    yield counter("egress.dns.names", "", "Names looked up, by result.", by_label(readings.names), ("result",))
    yield gauge("egress.dns.cache.entries", "", "Names in the cache.", readings.remembered)
    health = [((server,), int(is_well)) for server, is_well in list(readings.health.items())[:MOST_SERVERS]]
    yield gauge("egress.dns.server.up", "", "0 if it did not answer and is asked last.", health, ("server",))
    queries, labels = readings.queries, ("server", "transport", "result")
    text = "Queries sent to name servers, by result."
    yield counter("egress.dns.queries", "", text, queries.ended.copy().items(), labels)
    durations = by_label(queries.durations)
    yield histogram("egress.dns.query.duration", "Duration of queries.", durations, ("server",))
