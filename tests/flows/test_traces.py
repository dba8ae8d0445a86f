"""What a collector learns of connections and requests, and that nobody waits for it."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.faults.scale import LONG
from tests.helpers.client_hello import build_client_hello
from tests.helpers.collector import Collector, Span
from tests.helpers.crowd import Crowd, echoing
from tests.helpers.dns_server import DnsServer
from tests.helpers.gateway import GatewayProcess
from tests.helpers.http_origin import HttpOrigin
from tests.helpers.origins import Origin, echo
from tests.helpers.raw_client import RawClient, status_of
from tests.helpers.responses import read_response

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"traceparent: 00-{TRACE}-{CALLER}-01"
NOT_SAMPLED = f"traceparent: 00-{TRACE}-{CALLER}-00"
ENVIRON = {
    "OTEL_SERVICE_NAME": "egress-under-test",
    "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=ci",
    "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=blue",
    "OTEL_METRIC_EXPORT_INTERVAL": "1000",
    # Never through a proxy: nothing listens there.
    "HTTP_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
}


@dataclass
class Bed:
    """A gateway that traces what its client traces, and denied and failed ones."""

    collector: Collector
    origin: HttpOrigin
    echo: Origin
    gateway: GatewayProcess

    def connect(self, authority: str, *fields: str) -> RawClient:
        client = RawClient(self.gateway.port)
        client.send("\r\n".join([f"CONNECT {authority} HTTP/1.1", f"Host: {authority}", *fields, "", ""]).encode())
        return client


def telemetry(collector: Collector, **others: object) -> dict[str, Any]:
    return {
        "access_log": [{"path": "records.jsonl", "format": "json"}],
        "otlp": {"endpoint": collector.url, "sample": 0.0, "signals": ["traces", "metrics", "logs"], **others},
    }


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with DnsServer() as dns, HttpOrigin() as origin, Origin(echo) as echoing, Collector() as collector:
        dns.answer("tls.test", "127.0.0.1")
        dns.answer("plain.test", "127.0.0.1")
        dns.answer("gone.test", "127.0.0.1")
        policy = {
            "rules": [
                {"name": "tls", "hosts": ["tls.test"], "ports": [echoing.port], "protocol": "tls"},
                {"name": "plain", "hosts": ["plain.test"], "ports": [origin.port], "protocol": "http"},
                {"name": "gone", "hosts": ["gone.test"], "ports": [9], "protocol": "tcp"},
            ]
        }
        settings = {
            "resolver": {"servers": [f"127.0.0.1:{dns.port}"]},
            "telemetry": telemetry(collector),
        }
        with GatewayProcess(tmp_path_factory.mktemp("traces"), policy, settings, ENVIRON) as gateway:
            yield Bed(collector, origin, echoing, gateway)


def below(spans: list[Span], parent: Span) -> dict[str, Span]:
    return {span.name: span for span in spans if span.parent == parent.id and span.trace == parent.trace}


def test_a_tunnel_is_a_span_of_its_clients_trace_with_its_stages_below(bed: Bed) -> None:
    with bed.connect(f"tls.test:{bed.echo.port}", PARENT) as client:
        assert status_of(client.read_head()) == 200
        hello = build_client_hello("tls.test")
        client.send(hello)
        assert client.read(len(hello)) == hello
    [record] = bed.gateway.wait_for_records(1, host="tls.test")
    [whole] = bed.collector.wait_for_spans(1, egress__connection_id=record["connection_id"])
    assert (whole.trace, whole.parent, whole.name) == (TRACE, CALLER, "CONNECT")
    assert whole.id == record["connection_id"]
    assert not whole.failed
    assert (
        whole.attributes
        | {
            "server.address": "tls.test",
            "server.port": bed.echo.port,
            "client.address": "127.0.0.1",
            "network.transport": "tcp",
            "http.request.method": "CONNECT",
            "http.response.status_code": 200,
            "egress.rule": "policy.yaml#tls",
            "egress.decision": "allow",
            "egress.bytes_up": len(hello),
        }
        == whole.attributes
    )
    assert "error.type" not in whole.attributes
    stages = below(bed.collector.spans(), whole)
    assert list(stages) == ["policy", "dns", "dial", "tls", "relay"]
    in_order = list(stages.values())
    assert whole.began <= in_order[0].began
    assert all(one.ended <= next_.began for one, next_ in itertools.pairwise(in_order))
    assert in_order[-1].ended == whole.ended
    assert stages["dns"].attributes == {"dns.question.name": "tls.test", "dns.answers": ["127.0.0.1"]}
    assert stages["dial"].attributes == {"network.peer.address": "127.0.0.1", "network.peer.port": bed.echo.port}
    assert stages["tls"].attributes["tls.client.server_name"] == "tls.test"
    assert whole.resource["service.name"] == "egress-under-test"
    assert whole.resource["deployment.environment.name"] == "ci"
    assert bed.collector.headers[-1]["x-tenant"] == "blue"


def test_a_request_joins_the_clients_trace_and_the_origin_learns_nothing_of_it(bed: Bed) -> None:
    url = f"http://plain.test:{bed.origin.port}/traced"
    with RawClient(bed.gateway.port) as client:
        fields = [PARENT, "tracestate: a=1", "baggage: user=s3cret", "x-kept: 1"]
        client.send("\r\n".join([f"GET {url} HTTP/1.1", "Host: x", *fields, "", ""]).encode())
        assert status_of(read_response(client)[0]) == 200
        client.send(f"GET {url} HTTP/1.1\r\nHost: x\r\nConnection: traceparent\r\n\r\n".encode())
        assert status_of(read_response(client)[0]) == 200
    got = bed.origin.requests[-2]
    assert [got.values(name) for name in ("traceparent", "tracestate", "baggage")] == [[], [], []]
    assert got.values("x-kept") == ["1"]
    [request] = bed.collector.wait_for_spans(1, url__path="/traced")
    assert (request.trace, request.parent, request.name) == (TRACE, CALLER, "GET")
    assert request.attributes["http.request.method"] == "GET"
    assert request.attributes["http.response.status_code"] == 200
    assert list(below(bed.collector.spans(), request)) == ["policy", "dns", "dial", "relay"]
    # Its connection is told as well, though no client traces that and none is drawn.
    number = request.attributes["egress.connection_id"]
    whole = bed.collector.wait_for_spans(2, egress__connection_id=number)
    assert {span.id for span in whole if span.name == "connection"} == {number}


def test_denied_and_failed_connections_are_traced_though_none_is_drawn(bed: Bed) -> None:
    with bed.connect("denied.test:443") as client:
        assert status_of(client.read_head()) == 403
    with bed.connect("gone.test:9") as client:
        assert status_of(client.read_head()) == 502
    [denied] = bed.collector.wait_for_spans(1, server__address="denied.test")
    assert (denied.failed, denied.attributes["error.type"], denied.parent) == (False, "no_rule", "")
    assert list(below(bed.collector.spans(), denied)) == ["policy"]
    [failed] = bed.collector.wait_for_spans(1, server__address="gone.test")
    stages = below(bed.collector.spans(), failed)
    assert list(stages) == ["policy", "dial"]
    assert (stages["dial"].failed, stages["dial"].attributes["error.type"]) == (True, "connection_refused")


def test_what_its_client_does_not_trace_is_not_traced(bed: Bed) -> None:
    bed.gateway.quiet()  # of those before the spans are told, and their records may be still to come
    before = len(bed.gateway.records())
    for fields in ([NOT_SAMPLED], []):
        with bed.connect(f"tls.test:{bed.echo.port}", *fields) as client:
            assert status_of(client.read_head()) == 200
            hello = build_client_hello("tls.test")
            client.send(hello)
            assert client.read(len(hello)) == hello
    records = bed.gateway.wait_for_records(before + 2)[before:]
    until(lambda: len(bed.collector.records()) >= before + 2)
    told = {span.attributes.get("egress.connection_id") for span in bed.collector.spans()}
    assert not told & {record["connection_id"] for record in records}


def test_logs_have_the_numbers_of_their_spans_and_metrics_an_example(bed: Bed) -> None:
    with bed.connect("logged.test:443", PARENT) as client:
        assert status_of(client.read_head()) == 403
    [span] = bed.collector.wait_for_spans(1, server__address="logged.test")
    until(lambda: any(record.span_id.hex() == span.id for record in bed.collector.records()))
    [log] = [record for record in bed.collector.records() if record.span_id.hex() == span.id]
    assert (log.trace_id.hex(), log.event_name, log.body.string_value) == (TRACE, "egress.connection", "no_rule")
    until(lambda: bool(bed.collector.metrics) and any(examples(bed.collector)))
    assert span.trace in {exemplar.trace_id.hex() for exemplar in examples(bed.collector)} | {TRACE}
    counted = {
        (attribute.key, attribute.value.string_value)
        for point in bed.collector.points("egress.connections")
        for attribute in point.attributes
    }
    assert {("error.type", "no_rule"), ("egress.decision", "deny"), ("egress.rule", "policy.yaml#tls")} <= counted
    assert bed.gateway.metric("egress_otlp_sent_total") > 0
    assert bed.gateway.metric("egress_otlp_dropped_total") == 0


def examples(collector: Collector) -> Iterator[Any]:
    for point in collector.points("egress.connection.duration"):
        yield from point.exemplars


def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


RATE, AWAY, AT_ONCE, WORKERS = (1000.0, 60.0, 200, 2) if LONG else (600.0, 6.0, 200, 1)
"""Connections a second if the machine can, and seconds for which the collector is gone; so many are open at most, for
memory that clients hold is not what is looked at. That many, each traced, are more than one worker can do."""


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_a_collector_that_is_gone_costs_spans_and_nothing_else(tmp_path: Path) -> None:
    async with echoing() as port, contextlib.AsyncExitStack() as stack:
        collector = stack.enter_context(Collector())
        policy = {"rules": [{"name": "echo", "cidrs": ["127.0.0.1/32"], "ports": [port], "protocol": "tcp"}]}
        environ = {} if LONG else {"OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
        settings = {"telemetry": telemetry(collector, sample=1.0, signals=["traces"]), "workers": WORKERS}
        with GatewayProcess(tmp_path, policy, settings, environ) as gateway:
            supervisor = psutil.Process(gateway.process.pid)
            processes = [supervisor, *supervisor.children()]
            crowd = Crowd(gateway.port, port)
            await crowd.arrive(300, 1.0)
            await asyncio.to_thread(until, lambda: gateway.metric("egress_otlp_sent_total") >= 300)
            before = [process.memory_info().rss for process in processes]
            collector.stop()
            began, arriving = time.monotonic(), asyncio.create_task(crowd.arrive(RATE, AWAY, AT_ONCE))
            grown = 0
            while not arriving.done():
                await asyncio.wait([arriving], timeout=0.5)
                grown = max(grown, *(each.memory_info().rss - rss for each, rss in zip(processes, before, strict=True)))
            arriving.result()
            total = crowd.outcomes.total()
            reached = (total - 300) / (time.monotonic() - began)
            assert len(processes) == (3 if WORKERS > 1 else 1)
            dropped = gateway.metric("egress_otlp_dropped_total")
            print(f"{reached:.0f} a second: grown {grown / 2**20:.1f} MiB, dropped {dropped:g} of {total}")
            assert crowd.outcomes == {"echoed": total}
            assert dropped > 0
            assert grown < 30 * 2**20
            collector.start()
            sent = gateway.metric("egress_otlp_sent_total")
            await asyncio.to_thread(until, lambda: gateway.metric("egress_otlp_sent_total") >= sent + 300)
            await asyncio.to_thread(until, lambda: accounted(gateway) == total)
            await asyncio.to_thread(gateway.wait_for_line, "the collector does not accept traces")


def accounted(gateway: GatewayProcess) -> float:
    """Traces that came to an end, one way or the other."""
    return gateway.metric("egress_otlp_sent_total") + gateway.metric("egress_otlp_dropped_total")


@pytest.mark.slow
def test_a_collector_that_never_answers_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with Collector() as collector:
        collector.held.clear()
        settings = {"telemetry": telemetry(collector)}
        with GatewayProcess(tmp_path, {"rules": []}, settings) as gateway:
            with RawClient(gateway.port) as client:
                client.send(b"CONNECT denied.test:443 HTTP/1.1\r\nHost: denied.test\r\n\r\n")
                assert status_of(client.read_head()) == 403
            began = time.monotonic()
            assert gateway.stop(timeout=12.0) == 0
            assert time.monotonic() - began < 8.0
