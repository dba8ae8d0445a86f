"""Sums over all workers, living and ended: counts never decrease, and what ended with a worker is counted as lost. And
what only the living know."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from gateway.admin.state import LimitFill, OpenTunnel
from gateway.app.live.limiting import merged
from gateway.app.live.snapshot import Snapshot
from gateway.app.workers.member import Member
from gateway.app.workers.messages import Topic, limit_fill, open_tunnel
from gateway.telemetry.counters import Counters
from gateway.telemetry.metrics import Totals
from gateway.telemetry.series import SERIES_LIMIT

MOST_SERIES = 10 * SERIES_LIMIT
"""Of all workers together. Each worker keeps the first series that it met, and these differ: summed up under one
worker's bound, a series would vanish and others decrease whenever a worker ends."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Sums of workers that have ended. `connections_lost` were accepted and never counted; `lost` are lines, including
    those that a killed worker still owed."""

    snapshot: Snapshot = field(default_factory=Snapshot)
    accepted: int = 0
    connections_lost: int = 0
    written: int = 0
    lost: int = 0
    workers_lost: int = 0

    def with_one_more(self, gone: Member) -> "Ended":
        """A new value: a thread that is reading this one keeps a consistent view."""
        both = _sum([self.snapshot, gone.snapshot])
        both.tunnels_open, both.dns, both.limits = 0, both.dns.past(), both.limits.past()
        ledger = gone.ledger
        return Ended(
            snapshot=both,
            accepted=self.accepted + ledger.accepted,
            connections_lost=self.connections_lost + ledger.accepted - gone.snapshot.counters.total,
            written=self.written + ledger.written,
            lost=self.lost + ledger.lost + ledger.owed,
            workers_lost=self.workers_lost + (bool(gone.fault) or not gone.was_told_to_end),
        )


@dataclass(frozen=True, slots=True)
class Roster:
    """The living workers, and the sums of those that have ended. Fulfils `Traffic`, as far as they answer."""

    past: Ended = field(default_factory=Ended)
    members: tuple[Member, ...] = ()

    def with_one_more(self, member: Member) -> "Roster":
        """A worker was started."""
        return Roster(self.past, (*self.members, member))

    def without(self, gone: Member) -> "Roster":
        """A worker has ended."""
        return Roster(self.past.with_one_more(gone), tuple(other for other in self.members if other is not gone))

    def snapshot(self) -> Snapshot:
        """What all of them counted, and the readings of the living."""
        return _sum([self.past.snapshot, *(member.snapshot for member in self.members)])

    def totals(self, serving: Mapping[int, int]) -> Totals:
        """The totals of all workers; `serving` are the process ids of those that serve, by place."""
        past, members = self.past, self.members
        return Totals(
            connections_accepted=past.accepted + sum(member.ledger.accepted for member in members),
            connections_open=sum(member.ledger.open for member in members),
            connections_lost=past.connections_lost,
            tunnels_open=sum(member.snapshot.tunnels_open for member in members),
            records_written=past.written + sum(member.ledger.written for member in members),
            records_lost=past.lost + sum(member.ledger.lost for member in members),
            workers=serving,
            workers_lost=past.workers_lost,
        )

    async def tunnels(self) -> Sequence[OpenTunnel]:
        """See `Traffic`."""
        return sorted(map(open_tunnel, await self._ask(Topic.TUNNELS)), key=lambda tunnel: -tunnel.age_seconds)

    async def limits(self) -> Sequence[LimitFill]:
        """See `Traffic`."""
        return merged(map(limit_fill, await self._ask(Topic.LIMITS)))

    async def close_tunnel(self, connection_id: str) -> bool:
        """See `Traffic`."""
        return any(await self._ask(Topic.CLOSE_TUNNEL, connection_id))

    async def _ask(self, topic: Topic, about: str = "") -> Iterator[Any]:
        return chain.from_iterable(await asyncio.gather(*(member.ask(topic, about) for member in self.members)))


def _sum(snapshots: Iterable[Snapshot]) -> Snapshot:
    total = Snapshot(Counters(MOST_SERIES))
    for snapshot in snapshots:
        total.add(snapshot)
    return total
