"""The generation in force in this process. A newer one takes over in a single swap, once it is complete."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

from gateway.app.configuration import Head
from gateway.app.followers import Follower
from gateway.app.generation.assembler import Assembler, Generation, OwnAddresses, same_identities
from gateway.app.generation.entrances import Entrances
from gateway.app.generation.frames import Frame, load
from gateway.app.generation.own_addresses import own_addresses
from gateway.app.identity.cluster import Cluster
from gateway.app.identity.sources import build_identifier
from gateway.app.inspection.in_force import InspectionPlan, plan_inspection
from gateway.app.resolving import ResolverPlan, load_transport
from gateway.model.addresses import Address
from gateway.policy.index import Rules
from gateway.serve.identify import Identifier
from gateway.settings.gateway import GatewaySettings


class InForce:
    """Holds the snapshot that new connections take. `listening` are the gateway's own sockets, which are never dialled;
    `entrances` belong to the running listeners; `cluster` is what this process knows of the cluster around it.

    `resolver` is None before the first generation; `followers` apply what else gateway.yaml says; `retire` is called
    with the rules that a newer generation replaced.
    """

    followers: Sequence[Follower] = ()
    retire: Callable[[Rules], None] | None = None

    def __init__(
        self, listening: frozenset[tuple[Address, int]], entrances: Entrances, cluster: Cluster | None = None
    ) -> None:
        self.entrances = entrances
        self.cluster = cluster or Cluster()
        self._own = OwnAddresses(listening)
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
        """Assemble generation `number` and put it in force. Raises what `frames` raise, and a follower's `ConfigError`;
        nothing has changed then."""
        own = await asyncio.to_thread(own_addresses)
        assembler = Assembler(number, replace(self._own, machine=own))
        await _assemble(frames, assembler)
        taken, former = assembler.finish(), self._generation
        head, settings = taken.head, taken.head.settings
        identifier = await self._identifier_for(head)
        inspection = await asyncio.to_thread(
            plan_inspection, settings, head.inspection, head.client_certificates, self.inspection
        )
        await asyncio.to_thread(load_transport, settings.resolver)
        commits = [self.entrances.prepare(settings, head.materials)]
        commits += [follower.prepare(settings) for follower in self.followers]
        # Nothing fails or waits from here on.
        self._generation, self._identifier = taken, identifier
        self.resolver = ResolverPlan(settings.resolver, head.authorities)
        self.inspection = inspection
        for commit in commits:
            commit()
        if former is not None and self.retire is not None:
            self.retire(former.rules)
        return head

    async def _identifier_for(self, head: Head) -> Identifier:
        """The one in force, with the passwords that it has verified, if it still fits."""
        former = None
        if self._generation is not None:
            if same_identities(head, self._generation.head):
                return self.identifier
            if head.settings.identity.token == self.settings.identity.token:
                former = self.identifier
        return await asyncio.to_thread(build_identifier, head.settings, head.users, self.cluster, former)

    def _whole(self) -> Generation:
        if self._generation is None:
            raise RuntimeError("nothing is in force yet")
        return self._generation


async def _assemble(frames: AsyncIterator[Frame], assembler: Assembler) -> None:
    """Take one frame per turn of the loop: connections go on in between.

    The garbage collector would take long to walk over a hundred thousand rules, and there are no cycles among them: it
    is off while they come in, and they are frozen afterwards.
    """
    try:
        async for frame in frames:
            gc.disable()
            assembler.take(load(frame))
            await asyncio.sleep(0)
    finally:
        gc.freeze()
        gc.enable()
