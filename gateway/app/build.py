"""Builds the objects of a serving process and wires them together."""

import asyncio
import socket
from collections.abc import Callable, Iterable, Sequence

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
from gateway.net.kernel.descriptors import Descriptors
from gateway.net.splice import Splices
from gateway.net.stream import Stream
from gateway.policy.index import Rules
from gateway.serve.deadlines import DeadlineWheel
from gateway.serve.identify import Identifier
from gateway.serve.services import Bounds, Entrance, Services
from gateway.settings.gateway import AccessLogSettings, GatewaySettings
from gateway.telemetry.counters import Counters
from gateway.telemetry.dns import QueryCounters
from gateway.telemetry.exposition.families import Family
from gateway.telemetry.formats import envoy, json, squid, text
from gateway.telemetry.formats.fields import Record
from gateway.telemetry.formats.vpc import DEFAULT_FIELDS
from gateway.telemetry.ledger import Ledger
from gateway.telemetry.logs.rotation import Rotation, RotationPlan
from gateway.telemetry.logs.sinks import FileSink, Sink
from gateway.telemetry.logs.windows import FlowWindows
from gateway.telemetry.otlp.options import ExportOptions
from gateway.telemetry.otlp.tracing import Sampling
from gateway.telemetry.recorder import Export, Log, Recorder, close_logs
from gateway.wire.http.codec import Bounds as HttpBounds
from gateway.wire.http.codec import open_codec


def build_recorder(
    loop: asyncio.AbstractEventLoop,
    settings: GatewaySettings,
    counters: Counters,
    ledger: Ledger | None = None,
    flows: Sink | None = None,
    export: Export | None = None,
) -> Recorder:
    """With every access log open. Raises `ConfigError` for one that cannot be written; a worker opens it later, as its
    supervisor has checked all before the first one began: one that comes after others have ended is to serve."""
    ledger = ledger or Ledger.alone()
    outlet = None if flows is None else Log(json.encode, flows)
    logs = build_logs(settings, ledger, opens_later=not ledger.is_alone)
    return Recorder(loop, SystemClock(), counters, logs, ledger, outlet, export)


def build_export(
    settings: GatewaySettings, counters: Counters, families: Callable[[], Iterable[Family]]
) -> Export | None:
    """The OTLP export, if one is configured; `families` is called by its thread. Raises `ConfigError` if the exporters
    are not available. OpenTelemetry is imported only if needed: it takes 20 MiB and half a second."""
    otlp = settings.telemetry.otlp
    if otlp is None:
        return None
    from gateway.telemetry.otlp.export import open_export  # noqa: PLC0415  # see above

    always = otlp.always_sample
    sampling = Sampling(otlp.sample, denied="denied" in always, failed="error" in always)
    options = ExportOptions(otlp.endpoint, otlp.protocol, frozenset(otlp.signals), sampling)
    return open_export(options, counters, families)


def build_logs(settings: GatewaySettings, ledger: Ledger, opens_later: bool = False) -> Sequence[Log]:
    """All of them opened, or none. Raises `ConfigError` for one that cannot be written, unless it `opens_later`."""
    listeners = [listener.name for listener in settings.listeners]
    logs: list[Log] = []
    try:
        for place, log in enumerate(settings.telemetry.access_log):
            logs.append(build_log(log, place, listeners, ledger, opens_later))
    except ConfigError:
        close_logs(logs, 0)
        raise
    return logs


_ENCODERS: dict[str, Callable[[Record], bytes]] = {
    "json": json.encode,
    "text": text.encode,
    "squid": squid.encode,
}
_ROTATION_SECONDS = {"hour": 3600.0, "day": 86400.0}
_WINDOW_SECONDS = {"1m": 60, "10m": 600}


def build_log(
    log: AccessLogSettings, place: int, listeners: Sequence[str], ledger: Ledger, opens_later: bool = False
) -> Log:
    """One access log, opened; `place` is its index in the settings. Raises `ConfigError`."""
    numbers, lock = ledger.of_sink(), ledger.lock(place)
    sink = FileSink(str(log.path), lock=lock, numbers=numbers, rotation=_rotation(log), opens_later=opens_later)
    if log.format == "vpc":
        fields = DEFAULT_FIELDS if log.fields is None else log.fields
        interval = _WINDOW_SECONDS[log.window]
        windows = FlowWindows(sink, numbers, listeners, interval, fields, tells_silence=ledger.is_alone)
        return Log(windows.gather, windows, is_whole=False)
    encode = envoy.ENCODERS[log.layout] if log.format == "envoy" else _ENCODERS[log.format]
    return Log(encode, sink, is_whole=log.format in ("json", "text"))


def asks_for_packets(log: AccessLogSettings) -> bool:
    """Whether this log needs the packets of tunnels to be counted."""
    return log.format == "vpc" and "packets" in (log.fields or DEFAULT_FIELDS)


def _rotation(log: AccessLogSettings) -> Rotation | None:
    plan = log.rotate
    if plan is None:
        return None
    every = None if plan.every is None else _ROTATION_SECONDS[plan.every]
    return Rotation(str(log.path), RotationPlan(plan.size, every, plan.keep, plan.gzip))


def build_services(
    loop: asyncio.AbstractEventLoop,
    settings: GatewaySettings,
    *,
    rules: Callable[[], Rules],
    identifier: Callable[[], Identifier],
    resolver_plan: Callable[[], ResolverPlan],
    entrance: Callable[[str], Entrance | None],
    admit_as: Callable[[Address, Address], Reason | None],
    inspection_plan: Callable[[], InspectionPlan | None],
    limiter: Limiter,
    recorder: Recorder,
    descriptors: Descriptors,
) -> tuple[Services, ResolverInForce]:
    """What every connection works with, and its resolver, whose readings become metrics."""
    clock, deadlines = SystemClock(), DeadlineWheel(loop)
    resolver = ResolverInForce(resolver_plan, deadlines, QueryCounters())
    name = settings.telemetry.name or socket.gethostname()
    breakers, splices = Breakers(clock.monotonic), Splices(descriptors=descriptors)
    dialer = TcpDialer(resolver, Stream, clock, deadlines, breakers=breakers, descriptors=descriptors)

    otlp = settings.telemetry.otlp
    traces = otlp is not None and "traces" in otlp.signals
    parts = Parts(
        codec=open_codec(settings.http_parser),
        dialer=dialer,
        recorder=recorder,
        deadlines=deadlines,
        clock=clock,
        splices=splices,
        name=name,
        bounds=HttpBounds(settings.bounds.head),
        descriptors=descriptors,
        breakers=breakers,
        traces=traces,
    )
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
        traces=traces,
    )
    return services, resolver
