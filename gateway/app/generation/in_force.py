"""What connections are judged by in this process, and how something newer takes over: in one swap, once it is whole."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

from gateway.app.followers import Follower
from gateway.app.generation.assembler import Assembler, Generation, Whereabouts, same_identities
from gateway.app.generation.entrances import Entrances
from gateway.app.generation.frames import Frame, Head, load
from gateway.app.identity.cluster import Cluster
from gateway.app.identity.sources import build_identifier
from gateway.app.inspection.in_force import InspectionPlan, plan_inspection
from gateway.app.own_addresses import own_addresses
from gateway.app.resolving import ResolverPlan, load_transport
from gateway.model.addresses import Address
from gateway.policy.plan import Rules
from gateway.serve.identify import Identifier
from gateway.settings.gateway import GatewaySettings


class InForce:
    """Holds the snapshot that new connections take. `listening` are the gateway's own sockets, never to be dialled;
    `entrances` are those of the listeners that run, `cluster` is what this process knows of the one around.

    `resolver` is None before the first generation; `followers` take what else gateway.yaml says; `retire` is told the
    rules that a newer generation took over from.
    """

    followers: Sequence[Follower] = ()
    retire: Callable[[Rules], None] | None = None

    def __init__(
        self, listening: frozenset[tuple[Address, int]], entrances: Entrances, cluster: Cluster | None = None
    ) -> None:
        self.entrances = entrances
        self.cluster = cluster or Cluster()
        self._whereabouts = Whereabouts(listening)
        self._generation: Generation | None = None
        self._identifier: Identifier | None = None
        self.resolver: ResolverPlan | None = None
        self.inspection: InspectionPlan | None = None

    @property
    def number(self) -> int:
        """Of the generation in force; 0 before the first."""
        return 0 if self._generation is None else self._generation.rules.generation

    @property
    def settings(self) -> GatewaySettings:
        """gateway.yaml of the generation in force. Raises RuntimeError before the first."""
        return self._whole().head.settings

    @property
    def rules(self) -> Rules:
        """Raises RuntimeError before the first generation."""
        return self._whole().rules

    @property
    def identifier(self) -> Identifier:
        """Raises RuntimeError before the first generation."""
        if self._identifier is None:
            raise RuntimeError("nothing is in force yet")
        return self._identifier

    async def take(self, number: int, frames: AsyncIterator[Frame]) -> Head:
        """Put generation `number` together and in force. What `frames` raise is passed on, or a `ConfigError` of a
        follower, and then nothing changes."""
        own = await asyncio.to_thread(own_addresses)
        assembler = Assembler(number, replace(self._whereabouts, own=own))
        await _assemble(frames, assembler)
        taken, former, identifier = assembler.finish(), self._generation, self._identifier
        if former is None or not same_identities(taken.head, former.head):
            head = taken.head
            identifier = await asyncio.to_thread(build_identifier, head.settings, head.users, self.cluster)
        inspection = await asyncio.to_thread(
            plan_inspection,
            taken.head.settings,
            taken.head.inspection,
            taken.head.client_certificates,
            self.inspection,
        )
        await asyncio.to_thread(load_transport, taken.head.settings.resolver)
        commits = [follower.prepare(taken.head.settings) for follower in self.followers]
        commits.append(self.entrances.prepare(taken.head.settings, taken.head.materials))
        self._generation, self._identifier = taken, identifier
        self.resolver = ResolverPlan(taken.head.settings.resolver, taken.head.authorities)
        self.inspection = inspection
        for commit in commits:
            commit()
        if former is not None and self.retire is not None:
            self.retire(former.rules)
        return taken.head

    def _whole(self) -> Generation:
        if self._generation is None:
            raise RuntimeError("nothing is in force yet")
        return self._generation


async def _assemble(frames: AsyncIterator[Frame], assembler: Assembler) -> None:
    """A frame a turn of the loop: connections go on in between.

    Walking over a hundred thousand rules takes the collector long, and there are no cycles among them: it neither
    looks while they come in nor, as they are frozen, ever after.
    """
    try:
        async for frame in frames:
            gc.disable()
            assembler.take(load(frame))
            await asyncio.sleep(0)
    finally:
        gc.freeze()
        gc.enable()
