"""The watch on pods of a gateway, where one is configured: one for all of its processes."""

import asyncio
import logging

from gateway.app.identity.cluster import build_watching
from gateway.kubernetes.directory import Directory
from gateway.settings.gateway import GatewaySettings

_logger = logging.getLogger(__name__)


class Pods:
    """`watching` is None where pods are not looked at."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._patience = settings.kubernetes.first_list
        self._watcher: asyncio.Task[None] | None = None
        self._were_known = False
        self.watching = build_watching(settings.kubernetes) if settings.identity.kubernetes else None

    @property
    def directory(self) -> Directory | None:
        """What is known of them."""
        return None if self.watching is None else self.watching.directory

    @property
    def age(self) -> float | None:
        """Seconds since the API server said so; None before it did, and where pods are not looked at."""
        return None if self.directory is None else self.directory.age

    @property
    def are_known(self) -> bool:
        """Whether a whole list came since the start, or none is wanted. A state that is too old later is no reason to
        send clients elsewhere: others would know no more."""
        self._were_known = self._were_known or self.directory is None or self.directory.age is not None
        return self._were_known

    def start(self) -> None:
        """Ask from now on."""
        if self.watching is not None:
            self._watcher = asyncio.create_task(self._watch(), name="pods")

    async def first_list(self) -> None:
        """Wait for it, so long and no longer: rules that speak of everyone can do without."""
        if self.watching is None:
            return
        if await self.watching.first_list(self._patience):
            _logger.info("%d pods are known", len(self.watching.directory))
        else:
            _logger.error("no list of pods within %g s: until it comes nobody is known", self._patience)

    async def stop(self) -> None:
        """Ask no more."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])

    async def _watch(self) -> None:
        while self.watching is not None:
            try:
                await self.watching.run()
            except Exception:  # our fault; the state grows old and nobody is known until it is asked for again
                _logger.exception("pods are not followed")
                await asyncio.sleep(1.0)
