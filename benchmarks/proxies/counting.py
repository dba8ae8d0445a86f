"""What the gateway says it has done: its counters and the lines of its access log."""

import http.client
import re
from pathlib import Path

from benchmarks import layout
from benchmarks.proxies.running import await_true

# Of the gateway: the counters of /metrics that count every connection and every request, summed over their labels.
CONNECTIONS_METRIC = "egress_connections_total"
REQUESTS_METRIC = "egress_requests_total"


def counted_in(metrics: str, metric: str = CONNECTIONS_METRIC) -> int:
    """One counter in the text of /metrics, summed over its labels."""
    pattern = re.compile(rf"^{metric}(?:\{{.*\}})? (\S+)", re.MULTILINE)
    return int(sum(float(value) for value in pattern.findall(metrics)))


def counted(metric: str = CONNECTIONS_METRIC) -> int:
    """Read /metrics of the running gateway."""
    admin = http.client.HTTPConnection("127.0.0.1", layout.ADMIN_PORT, timeout=10)
    try:
        admin.request("GET", "/metrics")
        return counted_in(admin.getresponse().read().decode(), metric)
    finally:
        admin.close()


def await_counted(expected: int, limit: float = 10.0) -> int:
    """The count once it is what is expected, or what it is after `limit` seconds."""
    await_true(lambda: counted() >= expected, limit)
    return counted()


def records_in(log: Path) -> tuple[int, int]:
    """Lines of an access log: of connections, of requests."""
    with log.open("rb") as lines:
        of_requests = [b'"exchange_id"' in line for line in lines]
    return of_requests.count(False), of_requests.count(True)
