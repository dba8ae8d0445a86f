"""Request and header rules on plain HTTP, through the real gateway: what passes, is changed, is recorded."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from gateway.model.reasons import Reason
from tests.helpers.dns_server import DnsServer
from tests.helpers.gateway import GatewayProcess, Record
from tests.helpers.http_origin import HttpOrigin
from tests.helpers.raw_client import RawClient, status_of
from tests.helpers.responses import read_response

REASONS = frozenset({Reason.REQUEST_DENIED, Reason.MEDIA_TYPE_DENIED, Reason.BODY_TOO_LARGE})
"""`test_reasons` looks that no reason is missing over all."""


@dataclass
class Bed:
    """One gateway, one DNS server, one origin behind two names: api.test enforces, trial.test reports."""

    dns: DnsServer
    origin: HttpOrigin
    gateway: GatewayProcess

    def ask(self, client: RawClient, path: str, *fields: str, method: str = "GET", host: str = "api.test") -> None:
        lines = [f"{method} http://{host}:{self.origin.port}{path} HTTP/1.1", "Host: x", *fields, "", ""]
        client.send("\r\n".join(lines).encode())

    def exchange(self, **having: object) -> Record:
        return self.gateway.wait_for_records(1, **having)[-1]


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with DnsServer() as dns, HttpOrigin() as origin:
        inspect = {
            "requests": [
                {"methods": ["GET"], "paths": ["/v1/charges", "/v1/charges/**"]},
                {
                    "methods": ["POST"],
                    "paths": ["/v1/charges"],
                    "content_types": ["application/json"],
                    "max_body": "100B",
                },
            ],
            "headers": {"set": {"X-Team": "payments"}, "remove": ["X-Internal-Id"]},
            "log": {"headers": ["User-Agent"], "query": True},
        }
        rule = {"hosts": ["api.test"], "ports": [origin.port], "protocol": "http", "inspect": inspect}
        quiet = {**inspect, "log": {"headers": ["X-Team"]}}
        rules = [
            {**rule, "name": "api"},
            {**rule, "name": "trial", "hosts": ["trial.test"], "mode": "report", "inspect": quiet},
        ]
        for name in ("api", "trial"):
            dns.answer(f"{name}.test", "127.0.0.1")
        settings = {"resolver": {"servers": [f"127.0.0.1:{dns.port}"], "timeout": "500ms"}}
        policy = json.dumps({"rules": rules})  # which is YAML without anchors
        with GatewayProcess(tmp_path_factory.mktemp("inspected"), policy, settings) as gateway:
            yield Bed(dns, origin, gateway)


def test_what_the_rule_allows_passes_with_its_header_changed(bed: Bed) -> None:
    with RawClient(bed.gateway.port) as client:
        theirs = ["X_Team: mine", "x-team: mine", "X-Internal-Id: 7", "User-Agent: t/1", "X-Kept: 1"]
        bed.ask(client, "/v1/%63harges/1?q=1", *theirs)
        assert status_of(read_response(client)[0]) == 200
    got = bed.origin.requests[-1]
    assert got.path == "/v1/%63harges/1?q=1"  # forwarded as it was sent
    assert sorted(name for name, _ in got.fields) == ["host", "user-agent", "via", "x-kept", "x-team"]
    assert got.values("x-team") == ["payments"]
    record = bed.exchange(path="/v1/%63harges/1")
    assert (record["query"], record["request_headers"]) == ("q=1", {"user-agent": "t/1"})
    assert record["rule"] == "policy.yaml#api"


@pytest.mark.parametrize(
    ("method", "path", "fields", "status", "reason"),
    [
        ("DELETE", "/v1/charges", (), 403, Reason.REQUEST_DENIED),
        ("GET", "/v1/refunds", (), 403, Reason.REQUEST_DENIED),
        ("GET", "/v1/charges/../refunds", (), 403, Reason.REQUEST_DENIED),
        ("GET", "/v1/charges/%2e%2e/refunds", (), 403, Reason.REQUEST_DENIED),
        ("GET", "/v1/charges/..%2frefunds", (), 403, Reason.REQUEST_DENIED),
        ("GET", "/v1//charges/", (), 403, Reason.REQUEST_DENIED),
        ("GET", "/v1/charges/m", ("X-HTTP-Method_Override: DELETE",), 403, Reason.REQUEST_DENIED),
        ("GET", "/v1/charges/u", ("X-Original-URL: /v1/refunds",), 403, Reason.REQUEST_DENIED),
        ("POST", "/v1/charges", ("Content-Length: 5", "Content-Type: text/plain"), 415, Reason.MEDIA_TYPE_DENIED),
        ("POST", "/v1/charges", ("Content-Length: 101", "Content-Type: application/json"), 413, Reason.BODY_TOO_LARGE),
    ],
)
def test_what_it_does_not_allow_is_refused_before_the_dial(
    bed: Bed, method: str, path: str, fields: tuple[str, ...], status: int, reason: Reason
) -> None:
    queries, connections, requests = len(bed.dns.queries), bed.origin.connections, len(bed.origin.requests)
    with RawClient(bed.gateway.port) as client:
        bed.ask(client, path, *fields, "Accept: application/problem+json", method=method)
        head, content = read_response(client)
    assert status_of(head) == status
    assert b"Proxy-Status: " in head
    assert f'"reason": "{reason}"'.encode() in content
    assert (len(bed.dns.queries), bed.origin.connections, len(bed.origin.requests)) == (queries, connections, requests)
    record = bed.exchange(path=path, method=method, reason=reason)
    assert (record["decision"], record["rule"], record["status"]) == ("deny", "policy.yaml#api", status)
    assert (record["bytes_up"], record["ended"]) == (0, "refused")


def test_a_refused_request_does_not_end_the_connection(bed: Bed) -> None:
    with RawClient(bed.gateway.port) as client:
        for path, status in (("/v1/refunds", 403), ("/v1/charges", 200), ("/v2", 403), ("/v1/charges/", 200)):
            bed.ask(client, path)
            assert status_of(read_response(client)[0]) == status


def test_the_rules_hold_inside_a_tunnel_as_well(bed: Bed) -> None:
    with RawClient(bed.gateway.port) as client:
        assert status_of(client.connect(f"api.test:{bed.origin.port}")) == 200
        for path, status in (("/v1/charges/t", 200), ("/v1/refunds/t", 403)):
            client.send(f"GET {path} HTTP/1.1\r\nHost: api.test:{bed.origin.port}\r\n\r\n".encode())
            assert status_of(read_response(client)[0]) == status
    assert bed.origin.requests[-1].path == "/v1/charges/t"
    assert bed.exchange(path="/v1/refunds/t")["reason"] == Reason.REQUEST_DENIED


def test_content_without_a_length_is_cut_off_where_it_is_too_large(bed: Bed) -> None:
    post = ("Transfer-Encoding: chunked", "Content-Type: application/json; charset=utf-8")
    with RawClient(bed.gateway.port) as client:
        bed.ask(client, "/v1/charges", *post, method="POST")
        client.send(b"50\r\n" + b"x" * 80 + b"\r\n")
        client.send(b"14\r\n" + b"y" * 20 + b"\r\n0\r\nX-Team: late\r\nX-Sum: 1\r\n\r\n")
        assert status_of(read_response(client)[0]) == 200
        assert bed.origin.requests[-1].body == b"x" * 80 + b"y" * 20
        assert ("trailer: X-Sum: 1", "") in bed.origin.requests[-1].fields
        assert not [field for field in bed.origin.requests[-1].fields if "late" in field[0]]
        bed.ask(client, "/v1/charges", *post, method="POST")
        client.send(b"50\r\n" + b"x" * 80 + b"\r\n")
        client.send(b"15\r\n" + b"z" * 21 + b"\r\n15\r\n")
        head, _ = read_response(client)
        assert status_of(head) == 413
        assert b"Connection: close" in head
        assert client.read_to_end() == b""
    record = bed.exchange(reason=Reason.BODY_TOO_LARGE, decision="deny", method="POST")
    assert record["bytes_up"] <= 100
    assert b"z" not in bytes(bed.origin.origin.received)


def test_content_that_is_too_large_as_soon_as_it_is_there_is_not_sent_at_all(bed: Bed) -> None:
    requests = len(bed.origin.requests)
    with RawClient(bed.gateway.port) as client:
        body = "65\r\n" + "w" * 101 + "\r\n0\r\n\r\n"
        fields = "Host: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        client.send(f"POST http://api.test:{bed.origin.port}/v1/charges HTTP/1.1\r\n{fields}{body}".encode())
        assert status_of(read_response(client)[0]) == 413
        bed.ask(client, "/v1/charges")
        assert status_of(read_response(client)[0]) == 200
    assert [each.method for each in bed.origin.requests[requests:]] == ["GET"]
    assert b"w" not in bytes(bed.origin.origin.received)


def test_report_mode_lets_pass_and_records_what_it_would_refuse(bed: Bed) -> None:
    with RawClient(bed.gateway.port) as client:
        bed.ask(client, "/v1/refunds?card=of-gold", "X-Team: mine", host="trial.test")
        assert status_of(read_response(client)[0]) == 200
        bed.ask(
            client,
            "/v1/charges",
            "Transfer-Encoding: chunked",
            "Content-Type: application/json",
            method="POST",
            host="trial.test",
        )
        client.send(b"65\r\n" + b"x" * 101 + b"\r\n0\r\n\r\n")
        assert status_of(read_response(client)[0]) == 200
    record = bed.exchange(path="/v1/refunds", host="trial.test")
    assert (record["decision"], record["would_deny"]) == ("allow", Reason.REQUEST_DENIED)
    assert record["would_deny_rule"] == "policy.yaml#trial"
    assert record["request_headers"] == {"x-team": "mine"}
    assert "query" not in record
    assert bed.exchange(method="POST", host="trial.test")["would_deny"] == Reason.BODY_TOO_LARGE
    assert "of-gold" not in bed.gateway.log_file.read_text()
