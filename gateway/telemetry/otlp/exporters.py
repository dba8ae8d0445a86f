"""OTLP exporters: OpenTelemetry's own, which also obey its `OTEL_EXPORTER_OTLP_*` variables (headers, time limits,
compression, certificates; the endpoint where gateway.yaml names none).

The collector is the operator's destination. It is dialled by these exporters and by nothing else, never through a proxy
(ours would record its own export), and redirects are refused.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from io import BytesIO
from typing import Any, NamedTuple, Protocol

import requests
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_EXPORTER_OTLP_PROTOCOL, OTEL_SDK_DISABLED
from opentelemetry.sdk.resources import OTELResourceDetector, Resource

from gateway.model.errors import ConfigError
from gateway.telemetry.otlp.plan import Plan

_GRPC = "opentelemetry.exporter.otlp.proto.grpc"
_INSTANCE = "service.instance.id"
_NO_PROXY = (("grpc.enable_http_proxy", 0),)
ANSWER_BYTES = 64 * 1024


class Exports(Protocol):
    """Sends one signal to the collector. May block for as long as `OTEL_EXPORTER_OTLP_TIMEOUT` says (10 s)."""

    def export(self, batch: Any, /) -> Any:
        """Returns a member of an enumeration, SUCCESS if the collector accepted it; raises nothing."""
        ...

    def shutdown(self) -> Any:
        """Stop retrying."""
        ...


class Exporters(NamedTuple):
    """One exporter for each signal; None for one that is not exported."""

    traces: Exports | None = None
    metrics: Exports | None = None
    logs: Exports | None = None


def is_disabled(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment switches OpenTelemetry off."""
    return environ.get(OTEL_SDK_DISABLED, "").strip().lower() == "true"


def open_exporters(plan: Plan, environ: Mapping[str, str] = os.environ) -> Exporters:
    """Nothing is sent yet. Raises `ConfigError` if the package for gRPC is missing, or for an unknown protocol."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # `OtlpExport` says it, less often
    return Exporters(
        *(_made(plan, signal, environ) if signal in plan.signals else None for signal in Exporters._fields)
    )


def _made(plan: Plan, signal: str, environ: Mapping[str, str]) -> Exports:
    names = (f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL", OTEL_EXPORTER_OTLP_PROTOCOL)
    name = next((name for name in names if environ.get(name)), "")
    protocol = plan.protocol or environ.get(name, "http/protobuf").strip()
    match protocol:
        case "http" | "http/protobuf":
            return _http(plan, signal)
        case "grpc":
            return _grpc(plan, signal)
        case _:
            raise ConfigError(name, f"{protocol} is not supported: use grpc or http/protobuf")


def _http(plan: Plan, signal: str) -> Exports:
    session = requests.Session()
    session.trust_env = False
    session.hooks["response"] += [_refuse_redirect, _cut_short]
    made: Mapping[str, Any] = {"traces": OTLPSpanExporter, "metrics": OTLPMetricExporter, "logs": OTLPLogExporter}
    endpoint = f"{plan.endpoint.rstrip('/')}/v1/{signal}" if plan.endpoint else None
    exporter: Exports = made[signal](endpoint=endpoint, session=session)
    return exporter


def _refuse_redirect(response: requests.Response, *_: object, **__: object) -> None:
    """The exporter does not follow redirects, but would take one for success."""
    if response.is_redirect:
        response.close()
        raise requests.TooManyRedirects(response=response)


def _cut_short(response: requests.Response, *_: object, **__: object) -> None:
    """The status is what counts; the body would be read to its end, however long it is."""
    whole, response.raw = response.raw, BytesIO(response.raw.read(ANSWER_BYTES))
    whole.close()  # the connection is kept for the next request if that was all


def _grpc(plan: Plan, signal: str) -> Exports:
    modules = {"traces": "trace_exporter", "metrics": "metric_exporter", "logs": "_log_exporter"}
    names = {"traces": "OTLPSpanExporter", "metrics": "OTLPMetricExporter", "logs": "OTLPLogExporter"}
    try:
        module = import_module(f"{_GRPC}.{modules[signal]}")
    except ImportError as missing:
        raise ConfigError("telemetry.otlp.protocol", "grpc needs the package egress-gateway[grpc]") from missing
    insecure = None if plan.endpoint is None else not plan.endpoint.startswith("https://")
    exporter: Exports = getattr(module, names[signal])(
        endpoint=plan.endpoint, insecure=insecure, channel_options=_NO_PROXY
    )
    return exporter


def resource_of(host: str, process: int) -> Resource:
    """This process. `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` take precedence, but are the same for all
    workers: so the process id is part of the instance's name, whoever gave that. Two workers of one name would be one
    series in a metrics store, jumping between their counts."""
    from_environment = OTELResourceDetector().detect()
    ours: dict[str, str | bool | int | float | Sequence[str]] = {
        "service.name": "egress-gateway",
        "service.version": version("egress-gateway"),
    }
    own: dict[str, str | bool | int | float | Sequence[str]] = {
        _INSTANCE: f"{from_environment.attributes.get(_INSTANCE, host)}-{process}",
        "process.pid": process,
    }
    return Resource.create(ours).merge(from_environment).merge(Resource(own))
