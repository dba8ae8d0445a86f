"""The watch on pods, if it is configured: one for all processes of a gateway."""

import asyncio
import logging

from gateway.app.identity.cluster import build_watching
from gateway.app.live.endless import run_endlessly
from gateway.kubernetes.directory import Directory
from gateway.settings.gateway import GatewaySettings

_logger = logging.getLogger(__name__)


class Pods:
    """`watching` is None where pods are not used."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._patience = settings.kubernetes.first_list
        self._watcher: asyncio.Task[None] | None = None
        self._were_known = False
        self.watching = build_watching(settings.kubernetes) if settings.identity.kubernetes else None

    @property
    def directory(self) -> Directory | None:
        """The pods as they are known."""
        return None if self.watching is None else self.watching.directory

    @property
    def age(self) -> float | None:
        """Seconds since the API server confirmed it; None before the first list, and where pods are not used."""
        return None if self.directory is None else self.directory.age

    @property
    def are_known(self) -> bool:
        """Whether a whole list came since the start, or none is needed. A state that gets stale later is no reason to
        be unready: another gateway would know no more."""
        self._were_known = self._were_known or self.directory is None or self.directory.age is not None
        return self._were_known

    def start(self) -> None:
        """Begin to watch."""
        if self.watching is not None:
            self._watcher = asyncio.create_task(run_endlessly(self.watching.run, "the watch on pods"), name="pods")

    async def first_list(self) -> None:
        """Wait for it, but no longer than `kubernetes.first_list`: rules for everyone work without."""
        if self.watching is None:
            return
        if await self.watching.first_list(self._patience):
            _logger.info("%d pods are known", len(self.watching.directory))
        else:
            _logger.error("no list of pods within %g s: until it comes no pod is known", self._patience)

    async def stop(self) -> None:
        """End the watch."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
