"""A crew of one: this process itself."""

import asyncio
import os
from collections.abc import AsyncIterator

from gateway.admin.state import Traffic
from gateway.app.configuration import Head, Materials
from gateway.app.generation.entrances import Entrances
from gateway.app.generation.frames import Frame
from gateway.app.generation.in_force import InForce
from gateway.app.identity.cluster import Cluster
from gateway.app.live.snapshot import Snapshot
from gateway.app.serving import Serving
from gateway.app.sockets import Sockets
from gateway.app.workers.crew import CrewFailed
from gateway.kubernetes.directory import Directory
from gateway.settings.gateway import GatewaySettings
from gateway.telemetry.flows.outlet import Pass
from gateway.telemetry.flows.ring import Ring
from gateway.telemetry.ledger import Ledger
from gateway.telemetry.metrics import Totals


class Local:
    """Fulfils `crew.Crew`."""

    size = 1

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        settings: GatewaySettings,
        materials: Materials,
        sockets: Sockets,
        flows: Ring,
        pods: Directory | None = None,
    ) -> None:
        """Raises `ConfigError` for a log that cannot be written."""
        self._in_force = InForce(
            sockets.addresses(), Entrances(settings, materials), Cluster(settings.kubernetes, pods)
        )
        self._serving = Serving(loop, settings, sockets.proxies[0], self._in_force, Ledger.alone(), _into(flows))
        self._serves = False

    @property
    def generation(self) -> int:
        """See `Crew`."""
        return self._in_force.number if self._serves else 0

    @property
    def traffic(self) -> Traffic:
        """See `Crew`."""
        return self._serving

    @property
    def is_complete(self) -> bool:
        """See `Crew`."""
        return self._serves

    async def take(self, number: int, frames: AsyncIterator[Frame]) -> Head:
        """See `Crew`."""
        return await self._in_force.take(number, frames)

    async def start(self) -> None:
        """See `Crew`."""
        await self._serving.start()
        self._serves = True

    def why_not_renew(self) -> str | None:
        """See `Crew`."""
        return "a single process cannot replace itself: that needs workers: 2 or more"

    async def renew(self) -> str | None:
        """See `Crew`."""
        return self.why_not_renew()

    def refuse(self) -> None:
        """See `Crew`."""
        self._serving.connections.refuse()

    async def drain(self, seconds: float) -> None:
        """See `Crew`."""
        await self._serving.end(seconds)

    def cut_off(self) -> None:
        """See `Crew`."""
        self._serving.connections.cut_off()

    def reopen_logs(self) -> None:
        """See `Crew`."""
        self._serving.recorder.reopen()

    async def failure(self) -> CrewFailed:
        """Never returns: a failure would end this very process."""
        never: asyncio.Future[CrewFailed] = asyncio.get_running_loop().create_future()
        return await never

    def snapshot(self) -> Snapshot:
        """See `Crew`."""
        return self._serving.snapshot()

    def totals(self) -> Totals:
        """See `Crew`."""
        return self._serving.totals({0: os.getpid()} if self._serves else {})


def _into(flows: Ring) -> Pass:
    """The ring is this process's own: there is always room."""

    def pass_on(lines: bytes, count: int) -> bool:
        flows.put(lines, count)
        return True

    return pass_on
