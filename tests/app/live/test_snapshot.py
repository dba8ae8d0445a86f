"""Counts of several processes are their sums."""

from gateway.app.live.snapshot import Snapshot
from gateway.telemetry.dns import DnsReadings
from tests.telemetry.drafts import denied, tunnelled


def counted(*, tunnels: int = 0) -> Snapshot:
    snapshot = Snapshot(tunnels_open=tunnels, dns=DnsReadings({"hit": 2, "miss": 1}, 3, {"a": True, "b": False}))
    snapshot.dns.queries.count("a", "udp", "answer", 0.02)
    snapshot.counters.count(tunnelled(), 1001.5)
    snapshot.counters.count(denied(), 1001.5)
    return snapshot


def test_counts_of_two_are_their_sums() -> None:
    both = Snapshot()
    for _ in range(2):
        both.add(counted(tunnels=2))
    single = counted().counters
    assert {labels: 2 * count for labels, count in single.connections.items()} == both.counters.connections
    assert both.counters.lifetime.cumulative() == [2 * count for count in single.lifetime.cumulative()]
    assert (both.counters.bytes_down, both.tunnels_open) == (2 * 4096, 4)
    assert (both.dns.names, both.dns.remembered, both.dns.health) == ({"hit": 4, "miss": 2}, 6, {"a": True, "b": False})
    assert both.dns.queries.ended == {("a", "udp", "answer"): 2}
