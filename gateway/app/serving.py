"""One serving process, from its listening sockets to its logs; the same code whether it is alone or one of many."""

import asyncio
import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from gateway.admin.state import LimitFill, OpenTunnel
from gateway.app.build import build_export, build_recorder, build_services
from gateway.app.clock import SystemClock
from gateway.app.followers import LogFollower, WalkFollower, build_admission
from gateway.app.generation.in_force import InForce
from gateway.app.inspection.inspectors_in_force import InspectorsInForce
from gateway.app.live.connections import Connections
from gateway.app.live.endless import run_endlessly
from gateway.app.live.limiting import Limiting, Seat, merged
from gateway.app.live.listing import close_tunnel, list_bounds, list_tunnels
from gateway.app.live.reevaluation import Reevaluation
from gateway.app.live.secrets import SecretsInForce
from gateway.app.live.snapshot import Snapshot
from gateway.app.resolving import ResolverPlan
from gateway.app.sockets import NamedSockets, transparent_listeners
from gateway.app.watch import watch
from gateway.net.kernel.descriptors import Descriptors
from gateway.net.listener import Listener
from gateway.settings.gateway import GatewaySettings
from gateway.telemetry.counters import Counters
from gateway.telemetry.exposition.families import Family
from gateway.telemetry.flows.outlet import FlowOutlet, Pass
from gateway.telemetry.ledger import Ledger
from gateway.telemetry.metrics import Totals, of_serving

LOG_CLOSE_SECONDS = 5.0
GC_THRESHOLDS = (10_000, 20, 50)


class Serving:
    """Owns its sockets, logs and connections. Nothing is accepted before `start`, which needs something in force.
    Fulfils `Traffic` for these connections."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: GatewaySettings,
        sockets: NamedSockets,
        in_force: InForce,
        ledger: Ledger,
        pass_on: Pass,
        seat: Seat | None = None,
    ) -> None:
        """Opens the logs. `pass_on` takes flows to the ring; `seat` is this worker's slot in the limits table that all
        share, None for a process that serves alone. Raises `ConfigError` for a log that cannot be written."""
        self._counters = counters = Counters()
        self._ledger = ledger
        self._in_force = in_force
        self._limiting = Limiting(settings.limits, SystemClock(), seat)
        export = build_export(settings, counters, self._families)
        flows = FlowOutlet(pass_on, counters)
        self.recorder = build_recorder(loop, settings, counters, ledger, flows, export)
        descriptors = Descriptors()
        admission = self._admission = build_admission(settings, descriptors)
        before_the_first = ResolverPlan(settings.resolver)
        services, self._resolver = build_services(
            loop,
            settings,
            rules=lambda: in_force.rules,
            identifier=lambda: in_force.identifier,
            resolver_plan=lambda: in_force.resolver or before_the_first,
            entrance=in_force.entrances.at,
            admit_as=admission.readmit,
            inspection_plan=lambda: in_force.inspection,
            limiter=self._limiting.limiter,
            recorder=self.recorder,
            descriptors=descriptors,
        )
        self.connections = Connections(loop, services, admission, ledger, transparent_listeners(settings))
        self._secrets = services.exchanges.secrets = SecretsInForce()
        logs = LogFollower(self.recorder, settings, ledger)
        self._inspectors = services.exchanges.watchers = InspectorsInForce()
        # Logs come last: if another follower then refused, nobody would close what they opened.
        walk = WalkFollower(services, admission)
        in_force.followers = [walk, self._limiting, self._secrets, self._inspectors, logs]
        self._reevaluation = Reevaluation(self.connections.drafts, in_force, services.clock)
        in_force.retire = self._reevaluation.retire
        self._cluster = in_force.cluster
        self._following: list[asyncio.Task[None]] = []
        self._listeners = [Listener(sock, partial(self.connections.accept, name)) for name, sock in sockets]

    async def start(self) -> None:
        """Accept from now on."""
        await self._limiting.start()
        for listener in self._listeners:
            await listener.start()
        secrets = self._secrets
        look = partial(watch, lambda: secrets.files, secrets.read_again)
        self._following = [
            asyncio.create_task(run_endlessly(self._reevaluation.follow, "the reevaluation of open tunnels")),
            asyncio.create_task(run_endlessly(look, "the watch on secrets")),
        ]
        _freeze()

    def snapshot(self) -> Snapshot:
        """What was counted until now."""
        limiting = self._limiting
        return Snapshot(self._counters, limiting.limiter.held, self._resolver.readings(), limiting.readings())

    def totals(self, workers: Mapping[int, int]) -> Totals:
        """The totals of a process that serves alone: no worker can be lost."""
        ledger = self._ledger
        return Totals(
            connections_accepted=ledger.accepted,
            connections_open=ledger.open,
            connections_lost=0,
            tunnels_open=self._limiting.limiter.held,
            records_written=ledger.written,
            records_lost=ledger.lost,
            workers=workers,
            workers_lost=0,
        )

    def _families(self) -> Iterator[Family]:
        """The families that this process exports over OTLP."""
        return of_serving(self.snapshot(), self.totals({}), self._in_force.number)

    async def tunnels(self) -> Sequence[OpenTunnel]:
        """See `Traffic`."""
        return await list_tunnels(self.connections.drafts, time.monotonic())

    async def limits(self) -> Sequence[LimitFill]:
        """See `Traffic`. And how full bounds are; both as far as this process used them."""
        return merged([*self._limiting.limits(), *list_bounds(self._admission)])

    async def close_tunnel(self, connection_id: str) -> bool:
        """See `Traffic`."""
        return close_tunnel(self.connections.drafts, connection_id)

    async def end(self, seconds: float, refusing: bool = True) -> None:
        """Accept no more, let open connections end by themselves for that long, cut off the rest, write every record.
        `refusing`: refuse further requests on open connections."""
        for listener in self._listeners:
            await listener.finish()
        await self.connections.drain(seconds, refusing)
        for task in self._following:
            task.cancel()
            await asyncio.wait([task])
        try:
            await self._limiting.close()
            await self._cluster.close()
            self._inspectors.close()
        finally:  # whatever fails there, records are written
            self.recorder.flush()
            await asyncio.to_thread(self.recorder.close, LOG_CLOSE_SECONDS)


def _freeze() -> None:
    """What was built lives as long as the process, so the garbage collector need not look at it again. Connections
    leave no cycles behind, so it may run seldom: every full collection walks over all open tunnels."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
