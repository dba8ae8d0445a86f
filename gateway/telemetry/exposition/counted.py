"""Counts of connections and requests, as families."""

from collections.abc import Iterator

from gateway.telemetry.counters import FLOWS, SENT, Counters
from gateway.telemetry.exposition.families import Family, by_label, counter, histogram


def of_counters(counters: Counters) -> Iterator[Family]:
    """All families of these counts."""
    yield counter(
        "egress.connections", "{connection}", "Connections that ended.",
        (((rule, decision, reason or ""), count)
         for (rule, decision, reason), count in counters.connections.copy().items()),
        ("rule", "decision", "reason"),
    )  # fmt: skip
    yield counter(
        "egress.requests", "{request}", "HTTP requests that ended.",
        (((rule, decision, reason or "", status), count)
         for (rule, decision, reason, status), count in counters.requests.copy().items()),
        ("rule", "decision", "reason", "status"),
    )  # fmt: skip
    sizes = by_label({"up": counters.bytes_up, "down": counters.bytes_down})
    text = "Payload bytes relayed, counted when their connection ends."
    yield counter("egress.io", "By", text, sizes, ("direction",))
    yield histogram("egress.connection.duration", "Connections, from accept to end.", counters.lifetime)
    yield histogram("egress.request.duration", "Requests, from head to end.", counters.request_duration)
    yield histogram("egress.dns.duration", "Name resolution, where the dial succeeded.", counters.dns)
    yield histogram("egress.dial.duration", "TCP connect, where it succeeded.", counters.dial)
    text = "TLS tunnels that ended, by the newest version that the client offered."
    tunnels = counters.tls.copy().items()
    yield counter("egress.tls.connections", "{connection}", text, tunnels, ("version", "handling"))
    text = "Requests in which an inspector failed."
    failed = by_label(counters.inspectors_failed)
    yield counter("egress.inspector.failures", "{request}", text, failed, ("inspector",))
    yield from _delivered(counters)


def _delivered(counters: Counters) -> Iterator[Family]:
    deliveries = sorted(counters.deliveries.copy().items())
    sent = [((what,), count) for (what, outcome), count in deliveries if what != FLOWS and outcome == SENT]
    dropped = [(key, count) for key, count in deliveries if key[0] != FLOWS and key[1] != SENT]
    unseen = [((), count) for (what, outcome), count in deliveries if what == FLOWS and outcome != SENT]
    yield counter("egress.otlp.sent", "", "Accepted by the collector.", sent, ("signal",))
    yield counter("egress.otlp.dropped", "", "Not delivered to the collector.", dropped, ("signal", "why"))
    text = "Records that live flows could not take."
    yield counter("egress.flows.dropped", "{flow}", text, unseen)
