"""Who speaks OTLP, and what the environment has to say."""

import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any, Literal

import pytest
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from gateway.model.errors import ConfigError
from gateway.telemetry.counters import Counters
from gateway.telemetry.otlp.export import open_export
from gateway.telemetry.otlp.exporters import open_exporters, resource_of
from gateway.telemetry.otlp.options import ExportOptions, is_disabled
from gateway.telemetry.otlp.spans import spans_of
from gateway.telemetry.otlp.tracing import Numbering
from tests.helpers.authority import TestAuthority
from tests.helpers.collector import Collector
from tests.telemetry.drafts import tunnelled

ENDLESS = 64 * 1024 * 1024
"""Bytes: far more than sockets hold."""


def spans() -> list[Any]:
    draft = tunnelled("a" * 16)
    return list(spans_of(draft, 1002.0, Numbering(5).of(draft), resource_of("here", 7)))


@pytest.fixture(autouse=True)
def proxied(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever obeys these gets nowhere."""
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "grpc_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


def told(options: ExportOptions) -> str:
    """Why a trace was not accepted; empty if it was."""
    traces = open_exporters(options).traces
    assert traces is not None
    try:
        return traces.export(spans())
    finally:
        traces.shutdown()


def test_the_settings_endpoint_is_a_base_and_goes_before_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    with Collector() as collector:
        assert told(ExportOptions(f"{collector.url}/")) == ""
        assert [span.name for span in collector.spans()] == ["CONNECT"]


def test_without_one_the_environment_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    with Collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        assert told(ExportOptions()) == ""


@pytest.mark.parametrize("status", [302, 304, 400, 401])
def test_a_refusal_is_none_that_is_tried_again_or_followed(status: int) -> None:
    with Collector() as collector:
        collector.status = status
        assert told(ExportOptions(collector.url)) == f"HTTP status {status}"
        assert collector.spans() == []


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts end soon, and are repeated only so long."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")


@pytest.fixture
def unused() -> Iterator[int]:
    """A port where nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def silent() -> Iterator[int]:
    """A port where nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


@pytest.fixture
def tls_port(tmp_path: Path) -> Iterator[int]:
    """Of a collector whose certificate nobody here trusts."""
    context = TestAuthority(tmp_path).server_context("127.0.0.1")

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                context.wrap_socket(self.request, server_side=True).close()

    with ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.usefixtures("hasty")
def test_an_attempt_that_is_repeated_says_how_the_last_one_failed(unused: int, silent: int) -> None:
    assert told(ExportOptions(f"http://127.0.0.1:{unused}")) == "connection refused"
    assert told(ExportOptions(f"http://127.0.0.1:{silent}")) == "timed out"
    with Collector() as collector:
        collector.status = 429
        assert told(ExportOptions(collector.url)) == "HTTP status 429"


@pytest.mark.usefixtures("hasty")
def test_a_collector_that_is_not_trusted_says_why(tls_port: int) -> None:
    why = told(ExportOptions(f"https://127.0.0.1:{tls_port}"))
    assert why.startswith("TLS failed: ")
    assert "issuer certificate" in why
    why = told(ExportOptions(f"https://127.0.0.1:{tls_port}", "grpc"))
    assert why == "gRPC status UNAVAILABLE (Tls handshake failed, CERTIFICATE_VERIFY_FAILED)"


def test_a_certificate_file_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.pem")
    assert "/nowhere/ca.pem" in told(ExportOptions("https://127.0.0.1:9"))


def test_no_reason_holds_a_credential(monkeypatch: pytest.MonkeyPatch, unused: int) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"http://user:hunter2@127.0.0.1:{unused}/?key=hunter2")
    assert told(ExportOptions()) == "connection refused"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://user:hunter2@[/?key=hunter2")
    assert told(ExportOptions()) == "InvalidURL"


def test_an_answer_without_end_is_not_read_to_its_end() -> None:
    """It would be held in memory."""
    sent = 0

    def answer(listening: socket.socket) -> None:
        nonlocal sent
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
            with suppress(OSError):
                while sent < ENDLESS:
                    sent += connection.send(bytes(65536))

    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        answering = pool.submit(answer, listening)
        assert told(ExportOptions(f"http://127.0.0.1:{listening.getsockname()[1]}")) == ""
        answering.result()
    assert sent < ENDLESS


def test_a_collectors_words_are_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """What speaks HTTP for the exporter logs an answer that is cut off, its address included, with a traceback."""

    def answer(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 500 hunter2\r\nhunter2")

    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        answering = pool.submit(answer, listening)
        assert told(ExportOptions(f"http://127.0.0.1:{listening.getsockname()[1]}")) == "HTTP status 500"
        answering.result()
    assert caplog.text == ""


class Service:
    """A collector over gRPC. `refusal` is the name of a status to answer with."""

    refusal = ""

    def __init__(self) -> None:
        self.got: list[ExportTraceServiceRequest] = []
        self.came = threading.Event()

    def Export(  # noqa: N802  # the name in the protocol
        self, request: ExportTraceServiceRequest, context: Any
    ) -> ExportTraceServiceResponse:
        if self.refusal:
            context.abort(getattr(import_module("grpc").StatusCode, self.refusal), "the token hunter2 is wrong")
        self.got.append(request)
        self.came.set()
        return ExportTraceServiceResponse()


@pytest.fixture
def service() -> Iterator[tuple[Service, int]]:
    grpc: Any = import_module("grpc")  # it has no types
    stubs: Any = import_module("opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc")
    server = grpc.server(ThreadPoolExecutor(2))
    made = Service()
    stubs.add_TraceServiceServicer_to_server(made, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield made, port
    server.stop(None).wait()


def test_grpc_is_spoken_too(service: tuple[Service, int]) -> None:
    made, port = service
    assert told(ExportOptions(f"http://127.0.0.1:{port}", "grpc")) == ""
    assert made.came.is_set()
    assert made.got[0].resource_spans[0].scope_spans[0].spans[0].name == "CONNECT"


@pytest.mark.usefixtures("hasty")
def test_a_refusal_over_grpc_says_its_status_each_time(service: tuple[Service, int], unused: int, silent: int) -> None:
    made, port = service
    made.refusal = "UNAUTHENTICATED"
    assert told(ExportOptions(f"http://127.0.0.1:{port}", "grpc")) == "gRPC status UNAUTHENTICATED"
    assert told(ExportOptions(f"http://127.0.0.1:{port}", "grpc")) == "gRPC status UNAUTHENTICATED"
    assert told(ExportOptions(f"http://127.0.0.1:{unused}", "grpc")) == "gRPC status UNAVAILABLE (Connection refused)"
    assert told(ExportOptions(f"http://127.0.0.1:{silent}", "grpc")) == "gRPC status DEADLINE_EXCEEDED"


def test_a_channel_that_the_end_closes_under_an_export_is_no_fault() -> None:
    traces: Any = open_exporters(ExportOptions("http://127.0.0.1:9", "grpc")).traces
    traces.shutdown()
    traces._exporter._shutdown = False  # as if it had been asked a moment before
    assert traces.export(spans()) == "the gateway ends"


def test_the_environment_says_which_protocol_where_the_settings_do_not(
    service: tuple[Service, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, port = service
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    assert told(ExportOptions(f"http://127.0.0.1:{port}")) == ""
    assert made.came.is_set()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")
    with Collector() as collector:
        assert told(ExportOptions(collector.url)) == ""
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc")
        assert told(ExportOptions(collector.url, "http")) == ""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json")
    with pytest.raises(ConfigError, match="OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: http/json is not supported"):
        open_exporters(ExportOptions("http://127.0.0.1:9"))


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("written", ["0", "-1", "nan", "inf", "1e6", "ten"])
def test_a_time_in_which_nothing_could_be_sent_is_an_error_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, written: str, protocol: Literal["http", "grpc"]
) -> None:
    """Everything would be dropped, or the usual time be taken without a word."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", written)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_TIMEOUT", "2")
    with pytest.raises(ConfigError, match=f"OTEL_EXPORTER_OTLP_TIMEOUT: {written} is no time"):
        open_exporters(ExportOptions("http://127.0.0.1:9", protocol))
    only_logs = ExportOptions("http://127.0.0.1:9", protocol, signals=frozenset({"logs"}))
    assert open_exporters(only_logs).logs is not None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "")
    assert open_exporters(ExportOptions("http://127.0.0.1:9", protocol)).traces is not None


def test_what_is_not_to_be_told_has_nobody_to_tell_it() -> None:
    assert [exporter is None for exporter in open_exporters(ExportOptions(signals=frozenset({"logs"})))] == [
        True,
        True,
        False,
    ]


def test_grpc_without_its_package_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)
    with pytest.raises(ConfigError, match=r"telemetry.otlp.protocol: grpc needs the package egress-gateway\[grpc\]"):
        open_exporters(ExportOptions(protocol="grpc"))


def test_the_environment_names_the_service_and_adds_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resource_of("pod-1", 7).attributes["service.name"] == "egress-gateway"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "out")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=pod-1,service.name=lower")
    attributes = resource_of("pod-1", 7).attributes
    assert (attributes["service.name"], attributes["k8s.pod.name"]) == ("out", "pod-1")
    assert (attributes["service.instance.id"], attributes["telemetry.sdk.language"]) == ("pod-1-7", "python")


def test_workers_are_told_apart_though_the_environment_gives_them_all_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=team.pod-1.gateway")
    one, other = (resource_of("pod-1", process).attributes for process in (7, 8))
    assert [each["service.instance.id"] for each in (one, other)] == ["team.pod-1.gateway-7", "team.pod-1.gateway-8"]
    assert [each["process.pid"] for each in (one, other)] == [7, 8]


def test_the_environment_switches_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_disabled({"OTEL_SDK_DISABLED": "True"})
    assert not is_disabled({"OTEL_SDK_DISABLED": "1"})
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert open_export(ExportOptions(), Counters(), tuple) is None


def test_the_session_keeps_away_from_netrc_and_proxies() -> None:
    """What requests would take from the environment could be somebody's credentials."""
    traces: Any = open_exporters(ExportOptions("http://127.0.0.1:9")).traces
    session = traces._exporter._client._transport._session
    assert isinstance(session, requests.Session)
    assert session.trust_env is False
