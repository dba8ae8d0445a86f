"""What a reload changes besides rules and identities: bounds, our name, logs.

A follower first prepares and changes nothing; the function that it returns is called once the new generation is in
force, and cannot fail. So a reload stays all or nothing.
"""

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Protocol

from gateway.app.build import asks_for_packets, build_logs
from gateway.app.configuration import as_started
from gateway.app.live.admission import Admission, ceiling_of
from gateway.app.live.memory import Memory
from gateway.net.kernel.descriptors import Descriptors
from gateway.serve.services import Bounds, Services
from gateway.settings.gateway import BoundSettings, GatewaySettings
from gateway.telemetry.ledger import Ledger
from gateway.telemetry.recorder import Recorder, close_logs
from gateway.wire.http.codec import Bounds as HttpBounds

CLOSE_SECONDS = 5.0

Commit = Callable[[], None]


class Follower(Protocol):
    """An object that depends on gateway.yaml."""

    def prepare(self, settings: GatewaySettings) -> Commit:
        """Get ready for these settings. Raises `ConfigError` if they cannot be applied."""
        ...


class WalkFollower:
    """The bounds of a connection's walk, of its requests and of admission, and our name in Proxy-Status and Via."""

    def __init__(self, services: Services, admission: Admission) -> None:
        self._services = services
        self._admission = admission

    def prepare(self, settings: GatewaySettings) -> Commit:
        """See `Follower`."""

        def commit() -> None:
            self._services.bounds = Bounds(settings.bounds.head, settings.bounds.client_hello)
            self._services.counts_packets = any(map(asks_for_packets, settings.telemetry.access_log))
            self._services.proxy_name = name = settings.telemetry.name or socket.gethostname()
            self._services.exchanges.follow(name, HttpBounds(settings.bounds.head))
            self._admission.ceiling = ceiling_of(settings.bounds, self._admission.descriptors.limit)
            self._admission.memory_is_short = _memory(settings.bounds).is_short

        return commit


class LogFollower:
    """Access logs: new ones are opened before the generation is swapped, the old ones flushed and closed after it."""

    def __init__(self, recorder: Recorder, settings: GatewaySettings, ledger: Ledger) -> None:
        self._recorder = recorder
        self._running = settings
        self._ledger = ledger
        self._logs = settings.telemetry.access_log
        self._closing: set[asyncio.Future[None]] = set()

    def prepare(self, settings: GatewaySettings) -> Commit:
        """See `Follower`."""
        wanted = settings.telemetry.access_log
        if wanted == self._logs:
            return lambda: None
        logs = build_logs(as_started(settings, self._running), self._ledger)  # a flow log names listeners

        def commit() -> None:
            self._logs = wanted
            former = self._recorder.replace(logs)
            closing = asyncio.ensure_future(asyncio.to_thread(close_logs, former, CLOSE_SECONDS))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

        return commit


def build_admission(settings: GatewaySettings, descriptors: Descriptors) -> Admission:
    """As gateway.yaml bounds it."""
    ceiling = ceiling_of(settings.bounds, descriptors.limit)
    return Admission(ceiling, descriptors, _memory(settings.bounds).is_short, time.monotonic)


def _memory(bounds: BoundSettings) -> Memory:
    return Memory(None if bounds.memory == "auto" else bounds.memory)
