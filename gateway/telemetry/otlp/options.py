"""What is exported to a collector. Imports nothing of OpenTelemetry: most gateways have no collector."""

from dataclasses import dataclass, field
from typing import Literal

from gateway.telemetry.otlp.tracing import Sampling

Signal = Literal["traces", "metrics", "logs"]


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What is exported, where to and how. `endpoint` is the collector's base address; endpoint and protocol are None
    for what the environment says."""

    endpoint: str | None = None
    protocol: Literal["http", "grpc"] | None = None
    signals: frozenset[Signal] = frozenset(("traces", "metrics"))
    sampling: Sampling = field(default_factory=Sampling)
