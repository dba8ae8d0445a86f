"""The same counts under names that existing dashboards use.

The destination's name, by which we do not count because there is no end of them, is the rule's name there; other labels
that we do not count by are left out.
"""

from collections.abc import Callable, Collection, Iterator

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.telemetry.counters import Counters

ISTIO, HUBBLE = "istio", "hubble"

_SOURCE = "egress-gateway"
_ISTIO = ("reporter", "source_workload", "destination_service_name")


class FamiliarNames(Collector):
    """Further metrics of `/metrics`, for each of `also`."""

    def __init__(self, read: Callable[[], Counters], also: Collection[str]) -> None:
        self._read = read
        self._also = also

    def collect(self) -> Iterator[Metric]:
        """Called by the registry at every scrape."""
        if not self._also:
            return
        counters = self._read()
        if ISTIO in self._also:
            yield from _istio(counters)
        if HUBBLE in self._also:
            yield _hubble(counters)


def _istio(counters: Counters) -> Iterator[Metric]:
    closed = CounterMetricFamily("istio_tcp_connections_closed", "Connections that passed and ended.", labels=_ISTIO)
    by_rule: dict[str, int] = {}
    for (rule, decision, _), count in counters.connections.copy().items():
        if decision == "allow":
            by_rule[rule] = by_rule.get(rule, 0) + count
    for rule, count in by_rule.items():
        closed.add_metric(("source", _SOURCE, rule), count)
    requests = CounterMetricFamily("istio_requests", "HTTP requests that ended.", labels=(*_ISTIO, "response_code"))
    by_class: dict[tuple[str, str], int] = {}
    for (rule, _, _, status), count in counters.requests.copy().items():
        by_class[rule, status] = by_class.get((rule, status), 0) + count
    for (rule, status), count in by_class.items():
        requests.add_metric(("source", _SOURCE, rule, status or "0"), count)
    yield from (closed, requests)
    for name, size in (("istio_tcp_sent_bytes", counters.bytes_up), ("istio_tcp_received_bytes", counters.bytes_down)):
        family = CounterMetricFamily(name, "Payload bytes relayed.", labels=_ISTIO[:2])
        family.add_metric(("source", _SOURCE), size)
        yield family


def _hubble(counters: Counters) -> Metric:
    """As in Hubble, only dropped flows have a reason."""
    labels = ("protocol", "verdict", "reason")
    family = CounterMetricFamily("hubble_flows_to_world", "Connections that ended.", labels=labels)
    counts: dict[tuple[str, str], int] = {}
    for (_, decision, reason), count in counters.connections.copy().items():
        verdict = {"allow": "FORWARDED", "deny": "DROPPED"}.get(decision, "ERROR")
        key = verdict, (reason or "") if verdict == "DROPPED" else ""
        counts[key] = counts.get(key, 0) + count
    for (verdict, why), count in counts.items():
        family.add_metric(("TCP", verdict, why), count)
    return family
