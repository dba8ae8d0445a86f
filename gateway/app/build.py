"""Who is who: every object of a process is made here and handed to those that work with it."""

import asyncio
import socket
from collections.abc import Callable, Sequence

from gateway.app.clock import SystemClock
from gateway.app.inspection.in_force import InspectionPlan, InterceptionInForce
from gateway.app.resolving import ResolverInForce, ResolverPlan
from gateway.exchange.parts import Parts
from gateway.exchange.upstream import Pool
from gateway.limits.breaker import Breakers
from gateway.model.addresses import Address
from gateway.model.errors import ConfigError
from gateway.model.reasons import Reason
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
from gateway.telemetry.ledger import Ledger
from gateway.telemetry.questions import QuestionCounters
from gateway.telemetry.recorder import Log, Recorder
from gateway.telemetry.sinks import FileSink
from gateway.wire.http.codec import Bounds as HttpBounds
from gateway.wire.http.codec import open_codec


def build_recorder(
    loop: asyncio.AbstractEventLoop, settings: GatewaySettings, counters: Counters, ledger: Ledger | None = None
) -> Recorder:
    """Opens every access log. Raises `ConfigError` for one that cannot be written."""
    ledger = ledger or Ledger.alone()
    return Recorder(loop, SystemClock(), counters, build_logs(settings, ledger), ledger)


def build_logs(settings: GatewaySettings, ledger: Ledger) -> Sequence[Log]:
    """Opened, all of them or none. Raises `ConfigError` for one that cannot be written."""
    logs: list[Log] = []
    try:
        for place, log in enumerate(settings.telemetry.access_log):
            sink = FileSink(str(log.path), turn=ledger.turn(place), numbers=ledger.of_sink())
            logs.append(Log(json.encode, sink))
    except ConfigError:
        for opened in logs:
            opened.sink.close(0)
        raise
    return logs


def build_services(
    loop: asyncio.AbstractEventLoop,
    settings: GatewaySettings,
    rules: Callable[[], Rules],
    identifier: Callable[[], Identifier],
    resolver_plan: Callable[[], ResolverPlan],
    entrance: Callable[[str], Entrance | None],
    admit_as: Callable[[Address, Address], Reason | None],
    inspection_plan: Callable[[], InspectionPlan | None],
    limiter: Limiter,
    recorder: Recorder,
) -> tuple[Services, ResolverInForce]:
    """What every connection works with."""
    clock, deadlines = SystemClock(), DeadlineWheel(loop)
    resolver = ResolverInForce(resolver_plan, deadlines, QuestionCounters())
    name = settings.telemetry.name or socket.gethostname()
    breakers, splices = Breakers(clock.monotonic), Splices()
    dialer = TcpDialer(resolver.resolve, Stream, clock, deadlines, breakers=breakers)
    codec = open_codec(settings.http_parser)
    parts = Parts(codec, dialer, recorder, deadlines, clock, splices, name, HttpBounds(settings.bounds.head))
    services = Services(
        rules=rules,
        identifier=identifier,
        entrance=entrance,
        admit_as=admit_as,
        limiter=limiter,
        dialer=dialer,
        recorder=recorder,
        deadlines=deadlines,
        clock=clock,
        splices=splices,
        exchanges=parts,
        interception=InterceptionInForce(inspection_plan, parts).current,
        pool=Pool(deadlines, clock.monotonic),
        bounds=Bounds(settings.bounds.head, settings.bounds.client_hello),
        proxy_name=name,
    )
    return services, resolver
