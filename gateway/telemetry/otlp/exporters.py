"""OTLP exporters: those of OpenTelemetry, which also obey its `OTEL_EXPORTER_OTLP_*` variables (headers, time limits,
compression, certificates; the endpoint where none was set).

The collector is the operator's destination. It is dialled by these exporters and by nothing else, never through a proxy
(ours would record its own export), and redirects are refused.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Any, NamedTuple, Protocol

import requests
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_SDK_DISABLED
from opentelemetry.sdk.resources import OTELResourceDetector, Resource

from gateway.model.errors import ConfigError
from gateway.telemetry.otlp.plan import Plan

_GRPC = "opentelemetry.exporter.otlp.proto.grpc"
_NO_PROXY = (("grpc.enable_http_proxy", 0),)


class Exports(Protocol):
    """Sends one signal to the collector. May block for as long as `OTEL_EXPORTER_OTLP_TIMEOUT` says (10 s)."""

    def export(self, batch: Any, /) -> Any:
        """Returns an enumeration whose member SUCCESS means that the collector took it; raises nothing."""
        ...

    def shutdown(self) -> Any:
        """Stop retrying."""
        ...


class Exporters(NamedTuple):
    """None: this signal is not exported."""

    traces: Exports | None = None
    metrics: Exports | None = None
    logs: Exports | None = None


def is_disabled(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment switches OpenTelemetry off."""
    return environ.get(OTEL_SDK_DISABLED, "").strip().lower() == "true"


def open_exporters(plan: Plan) -> Exporters:
    """Nothing is sent yet. Raises `ConfigError` where the package for gRPC is missing."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # `Telling` says it, more seldom
    make = _http if plan.protocol == "http" else _grpc
    return Exporters(*(make(plan, signal) if signal in plan.signals else None for signal in Exporters._fields))


def _http(plan: Plan, signal: str) -> Exports:
    session = requests.Session()
    session.trust_env = False
    session.hooks["response"].append(_refuse_redirect)
    made: Mapping[str, Any] = {"traces": OTLPSpanExporter, "metrics": OTLPMetricExporter, "logs": OTLPLogExporter}
    endpoint = f"{plan.endpoint.rstrip('/')}/v1/{signal}" if plan.endpoint else None
    exporter: Exports = made[signal](endpoint=endpoint, session=session)
    return exporter


def _refuse_redirect(response: requests.Response, *_: object, **__: object) -> None:
    """The exporter does not follow redirects, and would take one for success."""
    if response.is_redirect:
        response.close()
        raise requests.TooManyRedirects(response=response)


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


def resource_of(instance: str) -> Resource:
    """This process; what the environment says (`OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`) goes before."""
    ours: dict[str, str | bool | int | float | Sequence[str]] = {
        "service.name": "egress-gateway",
        "service.version": version("egress-gateway"),
        "service.instance.id": instance,
    }
    return Resource.create(ours).merge(OTELResourceDetector().detect())
