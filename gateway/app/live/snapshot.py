"""What a serving process has counted since it started, and its current readings."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.telemetry.counters import Counters
from gateway.telemetry.dns import DnsReadings
from gateway.telemetry.limits import LimitReadings


@dataclass(slots=True)
class Snapshot:
    """Fulfils `metrics.Counted`."""

    counters: Counters = field(default_factory=Counters)
    tunnels_open: int = 0
    dns: DnsReadings = field(default_factory=DnsReadings)
    limits: LimitReadings = field(default_factory=LimitReadings)

    def add(self, other: "Snapshot") -> None:
        """Add another process's."""
        self.counters.add(other.counters.state())
        self.tunnels_open += other.tunnels_open
        self.dns = self.dns.merged_with(other.dns)
        self.limits = self.limits.merged_with(other.limits)

    def state(self) -> Sequence[Any]:
        """As values that JSON has, for `read`."""
        return [self.counters.state(), self.tunnels_open, self.dns.state(), self.limits.state()]

    @staticmethod
    def read(state: Any) -> "Snapshot":
        """From `state`. Raises LookupError, TypeError, ValueError or AttributeError for anything else."""
        counted, tunnels_open, dns, limits = state
        snapshot = Snapshot(Counters(), int(tunnels_open), DnsReadings.read(dns), LimitReadings.read(limits))
        snapshot.counters.add(counted)
        return snapshot
