"""A collector as OTLP/HTTP knows it: takes what is posted, and can be slow, refuse, or be gone for a while."""

import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from tests.helpers.ports import held_port, port_of

SECONDS = 60.0


class Span:
    """One that was told, numbers as hexadecimal text."""

    def __init__(self, told: Any, resource: dict[str, Any]) -> None:
        self.name: str = told.name
        self.trace = told.trace_id.hex()
        self.id = told.span_id.hex()
        self.parent = told.parent_span_id.hex()
        self.began: int = told.start_time_unix_nano
        self.ended: int = told.end_time_unix_nano
        self.failed = told.status.code == 2  # STATUS_CODE_ERROR
        self.attributes = values_of(told.attributes)
        self.resource = resource


class Collector:
    """On loopback, as a context manager. `status` is its answer to everything; while `held` is clear it answers
    nothing. `stop` and `start` make it go and come back at the same port."""

    def __init__(self) -> None:
        self.status = 200
        self.held = threading.Event()
        self.held.set()
        self.port = 0
        self.traces: list[ExportTraceServiceRequest] = []
        self.metrics: list[ExportMetricsServiceRequest] = []
        self.logs: list[ExportLogsServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        self._reserved = held_port()
        self.port = port_of(self._reserved)
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.held.set()
        self.stop()
        self._reserved.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.server = server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def spans(self) -> list[Span]:
        """All that were told by now."""
        return [
            Span(span, values_of(of_resource.resource.attributes))
            for request in list(self.traces)
            for of_resource in request.resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]

    def wait_for_spans(self, count: int, **having: object) -> list[Span]:
        """Those with these attributes (`__` for a dot), as soon as there are `count`."""
        wanted = {key.replace("__", "."): value for key, value in having.items()}
        deadline = time.monotonic() + SECONDS
        while True:
            found = [span for span in self.spans() if wanted.items() <= span.attributes.items()]
            if len(found) >= count:
                return found
            assert time.monotonic() < deadline, f"{len(found)} of {count} spans with {wanted}: {self.spans()}"
            time.sleep(0.05)

    def points(self, name: str) -> Iterator[Any]:
        """The data points of a metric, as they were told last."""
        for of_resource in self.metrics[-1].resource_metrics:
            for of_scope in of_resource.scope_metrics:
                for metric in of_scope.metrics:
                    if metric.name == name:
                        yield from getattr(metric, metric.WhichOneof("data")).data_points

    def records(self) -> Sequence[Any]:
        """The log records that were told by now."""
        return [
            record
            for request in list(self.logs)
            for of_resource in request.resource_logs
            for of_scope in of_resource.scope_logs
            for record in of_scope.log_records
        ]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.held.wait(SECONDS)
                if collector.status == 200:
                    collector._take(self.path, body, dict(self.headers.items()))
                self.send_response(collector.status)
                if collector.status in range(300, 400):
                    self.send_header("location", f"{collector.url}/elsewhere")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                return

        return Handler

    def _take(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        self.headers.append(headers)
        match path:
            case "/v1/traces":
                self.traces.append(ExportTraceServiceRequest.FromString(body))
            case "/v1/metrics":
                self.metrics.append(ExportMetricsServiceRequest.FromString(body))
            case "/v1/logs":
                self.logs.append(ExportLogsServiceRequest.FromString(body))
            case _:
                raise AssertionError(path)


def values_of(pairs: Sequence[KeyValue]) -> dict[str, Any]:
    """Attributes as plain values."""
    return {pair.key: _plain(pair.value) for pair in pairs}


def _plain(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_plain(each) for each in value.array_value.values]
    return getattr(value, kind) if kind else None
