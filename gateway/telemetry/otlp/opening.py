"""Opens the OTLP export as the plan and the environment want it."""

import os
import socket
import sys
from collections.abc import Callable, Iterable

from gateway.telemetry.counters import Counters
from gateway.telemetry.exposition.families import Family
from gateway.telemetry.otlp.export import OtlpExport, Pace
from gateway.telemetry.otlp.exporters import is_disabled, open_exporters, resource_of
from gateway.telemetry.otlp.plan import Plan

SWITCH_SECONDS = 0.0005
"""How long the exporting thread may keep the loop's thread from running; Python's default is ten times as long."""
METRIC_INTERVAL = "OTEL_METRIC_EXPORT_INTERVAL"  # milliseconds


def open_export(plan: Plan, counters: Counters, families: Callable[[], Iterable[Family]]) -> OtlpExport | None:
    """None if the environment switches OpenTelemetry off. Raises `ConfigError` as `open_exporters` does."""
    if is_disabled():
        return None
    sys.setswitchinterval(SWITCH_SECONDS)
    return OtlpExport(
        open_exporters(plan),
        resource_of(socket.gethostname(), os.getpid()),
        plan.sampling,
        counters,
        families,
        _pace(),
    )


def _pace() -> Pace:
    wanted = os.environ.get(METRIC_INTERVAL, "")
    return Pace(metrics=max(1.0, int(wanted) / 1000)) if wanted.isdecimal() and len(wanted) < 10 else Pace()
