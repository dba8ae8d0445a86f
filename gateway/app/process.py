"""One gateway process: bind, start, obey signals, drain.

SIGTERM and SIGINT drain and end (a second one ends at once); SIGHUP reads the policy again and opens the logs anew.
"""

import asyncio
import contextlib
import gc
import logging
import resource
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from gateway.admin.server import AdminServer
from gateway.admin.state import AuditEntry, ReloadOutcome
from gateway.app.build import build_recorder, build_services
from gateway.app.configuration import Configuration
from gateway.app.connections import Connections
from gateway.app.policy_in_force import PolicyInForce
from gateway.app.watch import watch
from gateway.limits.unlimited import Unlimited
from gateway.model.addresses import Address, parse_address
from gateway.net.listener import Listener, open_listener
from gateway.settings.gateway import GatewaySettings
from gateway.settings.units import Endpoint
from gateway.telemetry.counters import Counters
from gateway.telemetry.metrics import Metrics, Sources

LOG_CLOSE_SECONDS = 5.0
GC_THRESHOLDS = (10_000, 20, 50)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sockets:
    """All that this process listens on, bound before anything else is built. `proxies` are by listener name."""

    proxies: Sequence[tuple[str, socket.socket]]
    admin: socket.socket
    health: socket.socket | None

    def all(self) -> list[socket.socket]:
        """Every one of them."""
        return [sock for _, sock in self.proxies] + [sock for sock in (self.admin, self.health) if sock is not None]


def bind_sockets(settings: GatewaySettings) -> Sockets:
    """Raises `ConfigError` that names the address which cannot be bound."""
    return Sockets(
        proxies=[(listener.name, _open(listener.bind)) for listener in settings.listeners],
        admin=_open(settings.admin.bind),
        health=_open(settings.admin.health) if settings.admin.health is not None else None,
    )


def _open(endpoint: Endpoint) -> socket.socket:
    return open_listener(endpoint.address, endpoint.port)


def raise_descriptor_limit() -> None:
    """A tunnel takes two descriptors and more: what the machine allows is what we take."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class GatewayProcess:
    """Fulfils `admin.state.GatewayState`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        first: Configuration,
        load: Callable[[], Configuration],
        sockets: Sockets,
    ) -> None:
        settings = first.settings
        listening = frozenset(_address_of(sock) for sock in sockets.all())
        self._loop = loop
        self._sockets = sockets
        self._stopping = asyncio.Event()
        self._reloads: set[asyncio.Task[ReloadOutcome]] = set()
        self._policy = PolicyInForce(first, load, listening)
        counters = Counters()
        self._recorder = build_recorder(loop, settings, counters)
        limiter = Unlimited()
        services, resolver = build_services(
            loop,
            settings,
            lambda: self._policy.rules,
            lambda: self._policy.identifier,
            lambda: self._policy.resolver,
            self._policy.entrances.at,
            limiter,
            self._recorder,
        )
        self._connections = Connections(loop, services)
        self._admin = AdminServer(self, sockets.admin, sockets.health, settings.admin.token_file)
        self._metrics = Metrics(
            counters,
            Sources(
                connections_open=self._connections.__len__,
                tunnels_open=lambda: limiter.held,
                records_written=lambda: self._recorder.written,
                records_lost=lambda: self._recorder.lost,
                policy_generation=lambda: self._policy.rules.generation,
                reload_succeeded=lambda: self._policy.reload_succeeded,
                last_reload_time=lambda: self._policy.last_reload_time,
                dns=resolver.readings,
            ),
        )

    async def run(self) -> None:
        """Serve until a signal says otherwise; returns when everything is drained and written."""
        self._obey_signals()
        listeners = [Listener(sock, partial(self._connections.accept, name)) for name, sock in self._sockets.proxies]
        await self._admin.start()
        for listener in listeners:
            await listener.start()
        watcher = asyncio.create_task(watch(lambda: self._policy.files, self.reload), name="watch")
        self._freeze()
        _logger.info("%s", self._started())
        await self._stopping.wait()
        watcher.cancel()
        for listener in listeners:
            listener.close()
        await self._drain()
        with contextlib.suppress(asyncio.CancelledError):
            await watcher
        await self._admin.stop()
        self._recorder.flush()
        await asyncio.to_thread(self._recorder.close, LOG_CLOSE_SECONDS)

    def unready(self) -> str | None:
        """See `GatewayState`."""
        return "draining" if self._stopping.is_set() else None

    def metrics(self) -> bytes:
        """See `GatewayState`."""
        return self._metrics.render()

    async def reload(self) -> ReloadOutcome:
        """See `GatewayState`."""
        return await self._policy.reload()

    def audit(self, entry: AuditEntry) -> None:
        """See `GatewayState`."""
        _logger.info("audit: %s by %s: %s %s", entry.action, entry.peer, entry.outcome, entry.detail)

    def _obey_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop)
        self._loop.add_signal_handler(signal.SIGHUP, self._hang_up)

    def _stop(self) -> None:
        if self._stopping.is_set():
            self._connections.cut_off()
        else:
            _logger.info(
                "draining %d connections, for %g s", len(self._connections), self._policy.settings.drain.timeout
            )
            self._stopping.set()

    def _hang_up(self) -> None:
        self._recorder.reopen()
        reloading = self._loop.create_task(self.reload(), name="reload")
        self._reloads.add(reloading)
        reloading.add_done_callback(self._reloads.discard)

    async def _drain(self) -> None:
        await self._connections.drain(self._policy.settings.drain.timeout)
        _logger.info("drained")

    def _freeze(self) -> None:
        """What was built lives as long as the process: the collector need not look at it again. Connections leave no
        cycles behind, so it may look seldom at them as well: every full look walks over all open tunnels."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)

    def _started(self) -> str:
        proxies = ", ".join(f"{name} on {_shown(sock)}" for name, sock in self._sockets.proxies)
        admin = f"admin on {_shown(self._sockets.admin)}"
        health = f", health on {_shown(self._sockets.health)}" if self._sockets.health is not None else ""
        rules = self._policy.rules
        policy = f"policy generation {rules.generation}, {len(rules.policy.rules)} rules"
        return f"ready: {proxies}; {admin}{health}; 1 worker; {policy}"


def _address_of(sock: socket.socket) -> tuple[Address, int]:
    text, port = sock.getsockname()[:2]
    address = parse_address(text)
    if address is None:
        raise ValueError(f"not an IP address: {text}")
    return address, port


def _shown(sock: socket.socket) -> str:
    address, port = _address_of(sock)
    return f"{address.uri_host}:{port}"
