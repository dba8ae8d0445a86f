"""What is exported to a collector, and what the environment says of it. Imports nothing of OpenTelemetry: most gateways
have no collector."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from gateway.model.errors import ConfigError
from gateway.telemetry.otlp.tracing import Sampling

Signal = Literal["traces", "metrics", "logs"]
Protocol = Literal["http", "grpc"]
_PROTOCOLS: Mapping[str, Protocol] = {"http": "http", "http/protobuf": "http", "grpc": "grpc"}
_USUAL_SECONDS = 10.0
_MOST_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What is exported, where to and how. `endpoint` is the collector's base address; endpoint and protocol are None
    for what the environment says."""

    endpoint: str | None = None
    protocol: Protocol | None = None
    signals: frozenset[Signal] = frozenset(("traces", "metrics"))
    sampling: Sampling = field(default_factory=Sampling)


def is_disabled(environ: Mapping[str, str]) -> bool:
    """Whether the environment switches OpenTelemetry off."""
    return environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def protocol_of(signal: str, environ: Mapping[str, str]) -> Protocol:
    """The protocol where gateway.yaml names none. Raises `ConfigError` for one that is unknown."""
    name, written = _said(signal, "PROTOCOL", environ)
    protocol = _PROTOCOLS.get(written or "http/protobuf")
    if protocol is None:
        raise ConfigError(name, f"{written} is not supported: use grpc or http/protobuf")
    return protocol


def timeout_of(signal: str, environ: Mapping[str, str]) -> float:
    """For how many seconds an export is tried. Raises `ConfigError` for a time in which nothing could be sent."""
    name, written = _said(signal, "TIMEOUT", environ)
    seconds = _USUAL_SECONDS if not written else 0.0
    with suppress(ValueError):
        seconds = float(written)
    if not 0 < seconds <= _MOST_SECONDS:
        raise ConfigError(name, f"{written} is no time: use seconds, more than 0 and up to {_MOST_SECONDS:.0f}")
    return seconds


def problems_of(
    signals: Iterable[Signal], protocol: Protocol | None, environ: Mapping[str, str]
) -> Iterator[ConfigError]:
    """What a start would refuse of the environment, each problem once."""
    told = set[str]()
    for signal in () if is_disabled(environ) else signals:
        for judge in (timeout_of, *(() if protocol is not None else (protocol_of,))):
            try:
                judge(signal, environ)
            except ConfigError as refusal:
                if str(refusal) not in told:
                    told.add(str(refusal))
                    yield refusal


def _said(signal: str, what: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """The variable that counts for this signal, and its value; an empty one counts as unset."""
    names = (f"OTEL_EXPORTER_OTLP_{signal.upper()}_{what}", f"OTEL_EXPORTER_OTLP_{what}")
    name = next((name for name in names if environ.get(name)), names[-1])
    return name, environ.get(name, "").strip()
