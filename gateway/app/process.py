"""The gateway as a whole: start, obey signals, reload, drain.

A crew serves: this process itself, or workers. SIGTERM and SIGINT drain and end (a second one ends at once); SIGHUP
reads the policy again and reopens the logs; SIGUSR2 replaces all workers, one after the other.
"""

import asyncio
import logging
import os
import resource
import signal
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from gateway.admin.server import AdminServer
from gateway.admin.state import AuditEntry, ReloadOutcome, Traffic
from gateway.app.configuration import Configuration, Materials
from gateway.app.generation.reading import Read
from gateway.app.identity.pods import Pods
from gateway.app.inspection.material import trust_bundle
from gateway.app.live.endless import run_endlessly
from gateway.app.reloads import Reloads
from gateway.app.sockets import Sockets
from gateway.app.watch import watch
from gateway.app.workers.crew import Crew, CrewFailed
from gateway.settings.gateway import GatewaySettings
from gateway.telemetry.flows.ring import Ring
from gateway.telemetry.metrics import Metrics, Readings

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")

_logger = logging.getLogger(__name__)


def leave_no_core() -> None:
    """No core dumps: the memory of this process, and of those that it starts, holds credentials."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def raise_descriptor_limit() -> None:
    """A tunnel takes two descriptors and more, so take as many as the machine allows. Workers inherit the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def count_workers(settings: GatewaySettings, quota: Path = CPU_QUOTA) -> int:
    """`auto` is one for each CPU that this process may use, by its affinity and its control group's quota."""
    if settings.workers != "auto":
        return settings.workers
    cpus = len(os.sched_getaffinity(0))
    try:
        allowed, period = quota.read_text().split()
        cpus = min(cpus, max(1, int(allowed) // int(period)))
    except (OSError, ValueError):  # no such group, or `max`: no quota
        pass
    return cpus


def build_crew(
    loop: asyncio.AbstractEventLoop,
    settings: GatewaySettings,
    materials: Materials,
    sockets: Sockets,
    flows: Ring,
    pods: Pods,
) -> Crew:
    """One member for each set of sockets. Raises `ConfigError` for a log that cannot be written. A supervisor imports
    nothing of what its workers serve with, and a process that serves alone nothing of workers."""
    if len(sockets.proxies) == 1:
        from gateway.app.workers.local import Local  # noqa: PLC0415  # see above

        return Local(loop, settings, materials, sockets, flows, pods.directory)
    from gateway.app.workers.fleet import Fleet  # noqa: PLC0415  # see above

    return Fleet(settings, materials, sockets, flows, pods=pods.watching)


def _failure_of(failing: asyncio.Task[CrewFailed], serving: asyncio.Task[None]) -> BaseException | None:
    """The crew's failure, if it has failed."""
    if failing.done():
        return failing.result()
    return serving.exception() if serving.done() else None


class GatewayProcess:
    """Fulfils `admin.state.GatewayState`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        first: Configuration,
        read: Read,
        sockets: Sockets,
    ) -> None:
        settings = first.head.settings
        self._loop = loop
        self._sockets = sockets
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._flows = Ring()
        self._pods = Pods(settings)
        self._crew = build_crew(loop, settings, first.head.materials, sockets, self._flows, self._pods)
        self._reloads = Reloads(first, read, self._crew.take)
        self._admin = AdminServer(self, sockets.admin, sockets.health, settings.admin.token_file)
        self._metrics = Metrics(
            Readings(
                counted=self._crew.snapshot,
                totals=self._crew.totals,
                policy_generation=lambda: self._crew.generation,
                reload_succeeded=lambda: self._reloads.reload_succeeded,
                last_reload_time=lambda: self._reloads.last_reload_time,
                reload_seconds=lambda: self._reloads.reload_seconds,
                taken_time=lambda: self._reloads.taken_time,
                expiries=lambda: self._reloads.expiries,
                pods_age=lambda: self._pods.age,
            ),
            settings.telemetry.metrics.also,
        )

    async def run(self) -> None:
        """Serve until a signal ends it; returns when everything is drained and written. Raises `CrewFailed` when nobody
        is left to serve."""
        self._obey_signals()
        await self._admin.start()
        stopping = self._in_background(self._stopping.wait())
        failing = self._in_background(self._crew.failure())
        serving = self._in_background(self._serve())
        await asyncio.wait({stopping, failing, serving}, return_when=asyncio.FIRST_COMPLETED)
        failure = _failure_of(failing, serving)
        self._stopping.set()
        serving.cancel()
        await self._crew.drain(self._reloads.settings.drain.timeout)
        _logger.info("drained")
        failing.cancel()
        await asyncio.wait({serving, failing})
        await self._pods.stop()
        self._flows.close()
        await self._admin.stop()
        if failure is not None:
            raise failure

    async def _serve(self) -> None:
        """Returns only by being cancelled."""
        self._pods.start()
        await self._reloads.begin()
        await self._pods.first_list()
        await self._crew.start()
        _logger.info("%s", self._started())
        look = partial(watch, lambda: self._reloads.files, self._reloads.follow, retry=self._reloads.try_again)
        await run_endlessly(look, "the watch on files")

    @property
    def flows(self) -> Ring:
        """See `GatewayState`."""
        return self._flows

    @property
    def traffic(self) -> Traffic:
        """See `GatewayState`."""
        return self._crew.traffic

    def unready(self) -> str | None:
        """See `GatewayState`."""
        if self._stopping.is_set():
            return "draining"
        if not self._crew.is_complete:
            return "starting"
        return None if self._pods.are_known else "the list of pods has not come yet"

    def metrics(self) -> bytes:
        """See `GatewayState`."""
        return self._metrics.render()

    def authorities(self) -> bytes | None:
        """See `GatewayState`."""
        return self._reloads.published

    def trust_bundle(self) -> bytes | None:
        """See `GatewayState`."""
        published = self._reloads.published
        return None if published is None else trust_bundle(published)

    async def reload(self) -> ReloadOutcome:
        """See `GatewayState`."""
        return await self._reloads.reload()

    def restart(self) -> str | None:
        """See `GatewayState`."""
        problem = "the gateway is draining" if self._stopping.is_set() else self._crew.why_not_renew()
        if problem is None:
            self._in_background(self._renew())
        else:
            _logger.error("the workers are not replaced: %s", problem)
        return problem

    async def _renew(self) -> None:
        _logger.info("replacing the workers")
        problem = await self._crew.renew()
        if problem is None:
            _logger.info("every worker was replaced")
        else:
            _logger.error("not every worker was replaced: %s", problem)

    def audit(self, entry: AuditEntry) -> None:
        """See `GatewayState`."""
        _logger.info("audit: %s by %s: %s %s", entry.action, entry.peer, entry.outcome, entry.detail)

    def _obey_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop)
        self._loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        self._loop.add_signal_handler(signal.SIGUSR2, self.restart)

    def _stop(self) -> None:
        if self._stopping.is_set():
            self._crew.cut_off()
        else:
            connections, seconds = self._crew.totals().connections_open, self._reloads.settings.drain.timeout
            _logger.info("draining %d connections, for %g s", connections, seconds)
            self._stopping.set()
            self._crew.refuse()

    def _hang_up(self) -> None:
        self._crew.reopen_logs()
        self._in_background(self.reload())

    def _in_background(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _started(self) -> str:
        size = self._crew.size
        workers = "1 worker" if size == 1 else f"{size} workers"
        policy = f"policy generation {self._reloads.generation}, {self._reloads.rules} rules"
        return f"ready: {self._sockets}; {workers}; {policy}"
