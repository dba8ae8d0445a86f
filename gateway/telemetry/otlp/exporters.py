"""OTLP exporters: OpenTelemetry's own, which also obey its `OTEL_EXPORTER_OTLP_*` variables (headers, time limits,
compression, certificates; the endpoint where gateway.yaml names none).

The collector is the operator's destination. It is dialled by these exporters and by nothing else, never through a proxy
(ours would record its own export), and redirects are refused. Why it did not accept something is said in words from
here and from this machine alone: those of the collector, and addresses, could hold credentials.
"""

import logging
import os
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from socket import gaierror
from typing import Any, NamedTuple, Protocol

import requests
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource

from gateway.model.errors import ConfigError
from gateway.telemetry.otlp.options import ExportOptions, protocol_of, timeout_of
from gateway.telemetry.version import own_version

_GRPC = "opentelemetry.exporter.otlp.proto.grpc"
_INSTANCE = "service.instance.id"
_NO_PROXY = (("grpc.enable_http_proxy", 0),)
_GRPC_CAUSES = (
    *("Connection refused", "Domain name not found", "No route to host", "Network is unreachable", "Socket closed"),
    *("Tls handshake failed", "CERTIFICATE_VERIFY_FAILED"),
)
ANSWER_BYTES = 64 * 1024


class Exports(Protocol):
    """Sends one signal to the collector. May block for as long as `OTEL_EXPORTER_OTLP_TIMEOUT` says (10 s)."""

    def export(self, batch: Any, /) -> str:
        """Why the collector did not accept it; empty if it did. Raises nothing."""
        ...

    def shutdown(self) -> Any:
        """Stop retrying."""
        ...


@dataclass(slots=True)
class _Trouble:
    """`why` the last attempt failed; all exporters share one, since one thread calls them."""

    why: str = ""


class _Exporter:
    """Fulfils `Exports` with one of OpenTelemetry's, which keeps to itself why it failed."""

    def __init__(self, exporter: Any, trouble: _Trouble) -> None:
        self._exporter = exporter
        self._trouble = trouble
        self._has_ended = False

    def export(self, batch: Any, /) -> str:
        """See `Exports`."""
        self._trouble.why = ""
        try:
            accepted = self._exporter.export(batch).name == "SUCCESS"
        except ValueError:
            if not self._has_ended:
                raise
            return "the gateway ends"  # the channel of gRPC was closed under the call
        return "" if accepted else self._trouble.why or "for an unknown reason"

    def shutdown(self) -> Any:
        """See `Exports`."""
        self._has_ended = True
        return self._exporter.shutdown()


class Exporters(NamedTuple):
    """One exporter for each signal; None for one that is not exported."""

    traces: Exports | None = None
    metrics: Exports | None = None
    logs: Exports | None = None


def open_exporters(options: ExportOptions, environ: Mapping[str, str] = os.environ) -> Exporters:
    """Nothing is sent yet. Raises `ConfigError` if the package for gRPC is missing, and as `options` do."""
    for name in ("opentelemetry", "urllib3"):  # `OtlpExport` says it, less often and in words from here
        logging.getLogger(name).setLevel(logging.CRITICAL)
    trouble = _Trouble()
    return Exporters(
        *(
            _Exporter(_made(options, signal, environ, trouble), trouble) if signal in options.signals else None
            for signal in Exporters._fields
        )
    )


def _made(options: ExportOptions, signal: str, environ: Mapping[str, str], trouble: _Trouble) -> Any:
    make = _grpc if (options.protocol or protocol_of(signal, environ)) == "grpc" else _http
    return make(options, signal, timeout_of(signal, environ), trouble)


class _Session(requests.Session):
    """Notes how an attempt failed."""

    def __init__(self, trouble: _Trouble) -> None:
        super().__init__()
        self._trouble = trouble

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        """As requests has it."""
        try:
            response = super().request(*args, **kwargs)
        except Exception as error:
            self._trouble.why = _described(error)
            raise
        self._trouble.why = _status(response)
        return response


def _status(response: requests.Response) -> str:
    """Without the phrase that came with it, which could be anything."""
    return f"HTTP status {response.status_code}"


def _described(error: Exception) -> str:
    """Errors of requests quote URLs and headers; those of the system and of OpenSSL, which caused them, do not."""
    if isinstance(error, requests.RequestException) and error.response is not None:
        return _status(error.response)
    if isinstance(error, requests.Timeout):
        return "timed out"
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError):
            why = getattr(cause, "verify_message", "") or cause.reason or "connection closed"
            return f"TLS failed: {why}"
        if isinstance(cause, gaierror):
            return f"its name was not resolved: {cause.strerror}"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror.lower()
    is_missing_file = type(error) is OSError  # requests says so of certificates, with the file's name
    return str(error) if is_missing_file else type(error).__name__


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _http(options: ExportOptions, signal: str, seconds: float, trouble: _Trouble) -> Any:
    session = _Session(trouble)
    session.trust_env = False
    session.hooks["response"] += [_refuse_redirect, _cut_short]
    made: Mapping[str, Any] = {"traces": OTLPSpanExporter, "metrics": OTLPMetricExporter, "logs": OTLPLogExporter}
    endpoint = f"{options.endpoint.rstrip('/')}/v1/{signal}" if options.endpoint else None
    return made[signal](endpoint=endpoint, timeout=seconds, session=session)


def _refuse_redirect(response: requests.Response, *_: object, **__: object) -> None:
    """The exporter does not follow redirects, but would take one for success, and so 304 or one that leads nowhere."""
    if 300 <= response.status_code < 400:
        response.close()
        raise requests.TooManyRedirects(response=response)


def _cut_short(response: requests.Response, *_: object, **__: object) -> None:
    """The status is what counts; the body would be read to its end, however long it is."""
    whole, response.raw = response.raw, BytesIO(response.raw.read(ANSWER_BYTES))
    whole.close()  # the connection is kept for the next request if that was all


class _Listener(logging.Filter):
    """Exporters over gRPC tell nobody but their log why they failed. Silent itself."""

    def __init__(self, trouble: _Trouble) -> None:
        super().__init__()
        self._trouble = trouble

    def filter(self, record: logging.LogRecord) -> bool:
        """See `logging.Filter`."""
        values: tuple[Any, ...] = record.args if isinstance(record.args, tuple) else ()
        for status in (value.name for value in values if type(value).__name__ == "StatusCode"):
            causes = ", ".join(cause for cause in _GRPC_CAUSES if any(cause in str(value) for value in values))
            self._trouble.why = f"gRPC status {status} ({causes})" if causes else f"gRPC status {status}"
        return False


def _grpc(options: ExportOptions, signal: str, seconds: float, trouble: _Trouble) -> Any:
    modules = {"traces": "trace_exporter", "metrics": "metric_exporter", "logs": "_log_exporter"}
    names = {"traces": "OTLPSpanExporter", "metrics": "OTLPMetricExporter", "logs": "OTLPLogExporter"}
    try:
        module = import_module(f"{_GRPC}.{modules[signal]}")
    except ImportError as missing:
        raise ConfigError("telemetry.otlp.protocol", "grpc needs the package egress-gateway[grpc]") from missing
    insecure = None if options.endpoint is None else not options.endpoint.startswith("https://")
    log = logging.getLogger(f"{_GRPC}.exporter")
    log.setLevel(logging.WARNING)
    log.filters[:] = [_Listener(trouble)]  # in place of OpenTelemetry's, which drops what was said before
    make = getattr(module, names[signal])
    return make(endpoint=options.endpoint, insecure=insecure, timeout=seconds, channel_options=_NO_PROXY)


def resource_of(host: str, process: int) -> Resource:
    """This process. `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` take precedence, but are the same for all
    workers: so the process id is part of the instance's name, whoever gave that. Two workers of one name would be one
    series in a metrics store, jumping between their counts."""
    from_environment = OTELResourceDetector().detect()
    ours: dict[str, str | bool | int | float | Sequence[str]] = {
        "service.name": "egress-gateway",
        "service.version": own_version(),
    }
    own: dict[str, str | bool | int | float | Sequence[str]] = {
        _INSTANCE: f"{from_environment.attributes.get(_INSTANCE, host)}-{process}",
        "process.pid": process,
    }
    return Resource.create(ours).merge(from_environment).merge(Resource(own))
