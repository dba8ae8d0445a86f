"""What workers that are gone had done: counts never go back, and what ended with a worker is counted as lost."""

from dataclasses import dataclass, field

from gateway.app.workers.member import Member
from gateway.app.workers.messages import Snapshot


@dataclass(frozen=True, slots=True)
class Past:
    """Sums over all of them. `connections_lost` were accepted and never counted; `lost` are lines, those that a killed
    worker still owed included."""

    snapshot: Snapshot = field(default_factory=Snapshot)
    accepted: int = 0
    connections_lost: int = 0
    written: int = 0
    lost: int = 0
    workers_lost: int = 0

    def with_one_more(self, gone: Member) -> "Past":
        """A new one, so that who reads this one meanwhile reads one state."""
        both = Snapshot()
        for snapshot in (self.snapshot, gone.snapshot):
            both.add(snapshot)
        both.tunnels_open, both.dns, both.limits = 0, both.dns.past(), both.limits.past()
        ledger = gone.ledger
        return Past(
            snapshot=both,
            accepted=self.accepted + ledger.accepted,
            connections_lost=self.connections_lost + ledger.accepted - gone.snapshot.counters.total,
            written=self.written + ledger.written,
            lost=self.lost + ledger.lost + ledger.owed,
            workers_lost=self.workers_lost + (bool(gone.fault) or not gone.was_told_to_end),
        )
