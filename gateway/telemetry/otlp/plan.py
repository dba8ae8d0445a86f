"""What a collector is to be told. Imports nothing of OpenTelemetry: most gateways have no collector."""

from dataclasses import dataclass, field
from typing import Literal

from gateway.telemetry.otlp.tracing import Sampling

Signal = Literal["traces", "metrics", "logs"]


@dataclass(frozen=True, slots=True)
class Plan:
    """Where to, how, and what of. `endpoint` is the collector's base address; None, there and for the protocol, is
    what the environment says."""

    endpoint: str | None = None
    protocol: Literal["http", "grpc"] | None = None
    signals: frozenset[Signal] = frozenset(("traces", "metrics"))
    sampling: Sampling = field(default_factory=Sampling)
