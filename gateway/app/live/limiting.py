"""Where this process counts limits: alone, with the other workers, or with other gateways.

redis-py is imported only if there is a store: it takes 20 MiB, and brings OpenTelemetry along.
"""

import os
import secrets
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from gateway.admin.state import LimitFill
from gateway.limits.limiter import BucketLimiter
from gateway.limits.overview import SHOWN, overview
from gateway.limits.store import TableStore
from gateway.limits.store_url import parse_store_url
from gateway.limits.tables.memory import MemoryTable
from gateway.limits.tables.shared import SharedTable
from gateway.limits.tally import Tally
from gateway.model.roles import Clock
from gateway.policy.buckets import Now
from gateway.settings.gateway import GatewaySettings, LimitStoreSettings
from gateway.telemetry.limits import LimitReadings
from gateway.telemetry.sealing import printable

if TYPE_CHECKING:
    from gateway.limits.replicas.store import OnFailure, ReplicaStore

MEMORY = "memory"


class Seat(NamedTuple):
    """A worker's slot in the limits table that all workers share: the table's descriptor, a slot that no other worker
    has, and the number of workers."""

    table: int
    slot: int
    workers: int


class Limiting:
    """A limiter with its store. `seat` is None for a process that serves alone. Fulfils `followers.Follower`."""

    def __init__(self, settings: LimitStoreSettings, clock: Clock, seat: Seat | None) -> None:
        self._clock = clock
        self._workers = 1 if seat is None else seat.workers
        self._replicas: ReplicaStore | None = None
        store: TableStore | ReplicaStore
        if settings.store != MEMORY:
            store = self._replicas = _share(settings, clock, self._workers)
        elif seat is not None:
            store = TableStore(SharedTable(seat.table, seat.slot), clock)
        else:
            store = TableStore(MemoryTable(), clock)
        self.limiter = BucketLimiter(store, Tally())

    async def start(self) -> None:
        """Reach the store, if there is one."""
        if self._replicas is not None:
            await self._replicas.start()

    async def close(self) -> None:
        """Disconnect from it."""
        if self._replicas is not None:
            await self._replicas.close()

    def prepare(self, settings: GatewaySettings) -> Callable[[], None]:
        """See `Follower`. The store itself is fixed at the start."""
        return partial(self._follow, settings.limits)

    def _follow(self, settings: LimitStoreSettings) -> None:
        if self._replicas is not None:
            self._replicas.follow(*_on_its_own(settings, self._workers))

    def limits(self) -> Sequence[LimitFill]:
        """How full the buckets are that this process has used."""
        tally, now = self.limiter.tally, Now(self._clock.monotonic(), self._clock.time())
        found = overview(self.limiter.store.listed(tally.refused), tally.limits, tally.refused, now)
        return [
            LimitFill(
                limit=fill.limit.name,
                key=tuple(map(printable, fill.key)),
                counts=fill.limit.counted,
                rate=fill.limit.rate,
                burst=fill.limit.burst,
                left=round(fill.left, 3),
                used=round(fill.used, 3),
                refused=fill.refused,
                report=fill.limit.report,
            )
            for fill in found
        ]

    def readings(self) -> LimitReadings:
        """At this instant."""
        replicas = self._replicas
        return LimitReadings(
            results=dict(self.limiter.tally.counts),
            waiting=self.limiter.waiting,
            unchecked=0 if replicas is None else replicas.unchecked,
            stores_down=0 if replicas is None else int(not replicas.is_up),
        )


def merged(limits: Iterable[LimitFill]) -> Sequence[LimitFill]:
    """Those of many workers: a bucket that several used is one entry, with the sum of their refusals."""
    known: dict[tuple[str, tuple[str, ...]], LimitFill] = {}
    for fill in limits:
        bucket = fill.limit, fill.key
        known[bucket] = _joined(known[bucket], fill) if bucket in known else fill
    return sorted(known.values(), key=lambda fill: (-fill.refused, -fill.used, fill.limit))[:SHOWN]


def _joined(one: LimitFill, other: LimitFill) -> LimitFill:
    fuller = max(one, other, key=lambda fill: fill.used)
    return replace(fuller, refused=one.refused + other.refused)


def _share(settings: LimitStoreSettings, clock: Clock, workers: int) -> "ReplicaStore":
    """The store that replicas share."""
    from gateway.limits.replicas.link import Link  # noqa: PLC0415  # see above
    from gateway.limits.replicas.store import ReplicaStore  # noqa: PLC0415

    return ReplicaStore(Link(parse_store_url(settings.store), _member()), clock, *_on_its_own(settings, workers))


def _on_its_own(settings: LimitStoreSettings, workers: int) -> "tuple[OnFailure, int | None]":
    """What a process does while the store does not answer, and how many processes share the limits."""
    from gateway.limits.replicas.store import OnFailure  # noqa: PLC0415  # see above

    return OnFailure(settings.on_store_failure), None if settings.replicas is None else settings.replicas * workers


def _member() -> str:
    """The name of this process among all that share a store; new at every start."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
