"""Who is who: every object of a process is made here and handed to those that work with it."""

import asyncio
import socket
from collections.abc import Callable

from gateway.app.clock import SystemClock
from gateway.app.resolving import ResolverInForce, ResolverPlan
from gateway.model.roles import Limiter
from gateway.net.dialer import TcpDialer
from gateway.net.splice import Splices
from gateway.net.stream import Stream
from gateway.policy.plan import Rules
from gateway.serve.deadlines import DeadlineWheel
from gateway.serve.identify import Identifier
from gateway.serve.services import Bounds, Entrance, Services
from gateway.settings.gateway import GatewaySettings
from gateway.telemetry.counters import Counters
from gateway.telemetry.formats import json
from gateway.telemetry.questions import QuestionCounters
from gateway.telemetry.recorder import Log, Recorder
from gateway.telemetry.sinks import FileSink


def build_recorder(loop: asyncio.AbstractEventLoop, settings: GatewaySettings, counters: Counters) -> Recorder:
    """Opens every access log. Raises `ConfigError` for one that cannot be written."""
    logs = [Log(json.encode, FileSink(str(log.path))) for log in settings.telemetry.access_log]
    return Recorder(loop, SystemClock(), counters, logs)


def build_services(
    loop: asyncio.AbstractEventLoop,
    settings: GatewaySettings,
    rules: Callable[[], Rules],
    identifier: Callable[[], Identifier],
    resolver_plan: Callable[[], ResolverPlan],
    entrance: Callable[[str], Entrance | None],
    limiter: Limiter,
    recorder: Recorder,
) -> tuple[Services, ResolverInForce]:
    """What every connection works with."""
    clock, deadlines = SystemClock(), DeadlineWheel(loop)
    resolver = ResolverInForce(resolver_plan, deadlines, QuestionCounters())
    services = Services(
        rules=rules,
        identifier=identifier,
        entrance=entrance,
        limiter=limiter,
        dialer=TcpDialer(resolver.resolve, Stream, clock, deadlines),
        recorder=recorder,
        deadlines=deadlines,
        clock=clock,
        splices=Splices(),
        bounds=Bounds(settings.bounds.head, settings.bounds.client_hello),
        proxy_name=settings.telemetry.name or socket.gethostname(),
    )
    return services, resolver
