"""Plain HTTP inside a tunnel: each request must name the tunnel's own host, and is answered in HTTP."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.model.reasons import Reason
from tests.helpers.dns_server import DnsServer
from tests.helpers.gateway import GatewayProcess
from tests.helpers.http_origin import Got, HttpOrigin, Talk
from tests.helpers.raw_client import RawClient, status_of
from tests.helpers.responses import read_response


@dataclass
class Bed:
    """One gateway, one DNS server, one origin."""

    dns: DnsServer
    origin: HttpOrigin
    gateway: GatewayProcess

    def tunnel(self, host: str, source: str | None = None) -> RawClient:
        """An open one."""
        client = RawClient(self.gateway.port, source=source)
        assert status_of(client.connect(f"{host}:{self.origin.port}")) == 200
        return client

    def ask(self, client: RawClient, host: str, path: str, port: int | None = None, target: str = "") -> int:
        """The status of the answer to a GET."""
        place = f"{host}:{port or self.origin.port}"
        client.send(f"GET {target or path} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
        return status_of(read_response(client)[0])


def never(talk: Talk, got: Got) -> None:
    """Wait for the client to leave."""
    talk.read_some()


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with DnsServer() as dns, HttpOrigin({"/never": never}) as origin:

        def rule(name: str, *hosts: str, **keys: object) -> dict[str, object]:
            return {"name": name, "hosts": [*hosts], "ports": [origin.port], "protocol": "http", **keys}

        policy = {
            "clients": {"r": {"mode": "report", "match": [{"cidr": "127.9.0.0/16"}]}},
            "rules": [
                rule("x", "x.test"),
                rule("y", "y.test", protocol="auto"),
                rule("family", "a.fam.test", "b.fam.test", sni="rule"),
                rule("loose", "loose.test", sni="any"),
                rule("tls", "tls.test", protocol="tls"),
                rule("brief", "brief.test", timeouts={"lifetime": "2s"}),
                {"name": "no", "hosts": [".denied.test"], "action": "deny"},
            ],
        }
        for name in ("x", "y", "a.fam", "b.fam", "loose", "tls", "brief", "unlisted"):
            dns.answer(f"{name}.test", "127.0.0.1")
        settings = {"resolver": {"servers": [f"127.0.0.1:{dns.port}"]}, "timeouts": {"client_hello": "1s"}}
        with GatewayProcess(tmp_path_factory.mktemp("tunnels"), policy, settings) as gateway:
            yield Bed(dns, origin, gateway)


@pytest.mark.parametrize("host", ["x.test", "y.test"])
def test_requests_for_the_tunnels_host_pass_over_the_tunnels_connection(bed: Bed, host: str) -> None:
    connections = bed.origin.connections
    with bed.tunnel(host) as client:
        assert [bed.ask(client, host, f"/{host}/{number}") for number in range(3)] == [200] * 3
    assert bed.origin.connections == connections + 1
    assert bed.origin.requests[-1].values("host") == [f"{host}:{bed.origin.port}"]
    records = [bed.gateway.wait_for_records(1, path=f"/{host}/{number}")[0] for number in range(3)]
    [connection] = bed.gateway.wait_for_records(1, connection_id=records[0]["connection_id"], requests=3)
    assert (connection["door"], connection["status"], connection["bytes_down"]) == ("connect", 200, 18)
    assert {record["connection_id"] for record in records} == {connection["connection_id"]}


def test_another_host_or_port_is_421_and_nothing_of_it_leaves(bed: Bed) -> None:
    with bed.tunnel("x.test") as client:
        requests = len(bed.origin.requests)
        assert bed.ask(client, "y.test", "/other-host") == 421
        assert bed.ask(client, "x.test", "/other-port", port=80) == 421
        assert bed.ask(client, "x.test", "/absolute", target=f"http://y.test:{bed.origin.port}/absolute") == 421
        assert bed.ask(client, "www.denied.test", "/denied") == 421
        assert len(bed.origin.requests) == requests
        assert bed.ask(client, "x.test", "/behind") == 200
    reasons = {
        path: bed.gateway.wait_for_records(1, path=path)[0]["reason"]
        for path in ("/other-host", "/other-port", "/absolute", "/denied")
    }
    assert reasons == {
        "/other-host": Reason.HOST_MISMATCH,
        "/other-port": Reason.HOST_MISMATCH,
        "/absolute": Reason.HOST_MISMATCH,
        "/denied": Reason.HOST_DENIED,
    }


def test_the_rules_sni_setting_admits_other_hosts_but_never_a_denied_one(bed: Bed) -> None:
    with bed.tunnel("a.fam.test") as client:
        assert bed.ask(client, "b.fam.test", "/same-rule") == 200
        assert bed.ask(client, "x.test", "/other-rule") == 421
    with bed.tunnel("loose.test") as client:
        assert bed.ask(client, "unlisted.test", "/any") == 200
        assert bed.ask(client, "www.denied.test", "/any-denied") == 421
    assert bed.gateway.wait_for_records(1, path="/any-denied")[0]["reason"] == Reason.HOST_DENIED


def test_http_1_0_without_host_is_sent_on_with_the_tunnels(bed: Bed) -> None:
    with bed.tunnel("x.test") as client:
        client.send(b"GET /ancient HTTP/1.0\r\n\r\n")
        assert client.read_to_end().endswith(b"hello\n")
    assert bed.origin.requests[-1].values("host") == [f"x.test:{bed.origin.port}"]


def test_report_mode_notes_another_host_and_lets_it_pass(bed: Bed) -> None:
    with bed.tunnel("x.test", source="127.9.0.1") as client:
        assert bed.ask(client, "y.test", "/reported") == 200
    record = bed.gateway.wait_for_records(1, path="/reported")[0]
    assert (record["decision"], record["would_deny"]) == ("allow", Reason.HOST_MISMATCH)


def test_report_mode_lets_http_pass_where_the_rule_says_tls(bed: Bed) -> None:
    with bed.tunnel("tls.test", source="127.9.0.1") as client:
        assert bed.ask(client, "tls.test", "/not-tls") == 200
    [record] = bed.gateway.wait_for_records(1, door="connect", host="tls.test", would_deny=Reason.PROTOCOL_MISMATCH)
    assert record["requests"] == 1


def test_garbage_after_a_request_is_answered_in_http_and_ends_the_tunnel(bed: Bed) -> None:
    with bed.tunnel("x.test") as client:
        assert bed.ask(client, "x.test", "/fine") == 200
        client.send(b"GET /bad HTTP/1.1\nHost: x.test\n\n")
        assert status_of(client.read_to_end()) == 400


def test_a_tunnel_outlives_an_origin_that_closes_after_each_answer(bed: Bed, tmp_path: Path) -> None:
    def closing(talk: Talk, got: Got) -> None:
        talk.reply(b"once\n", "200 OK", "Connection: close")
        talk.close()

    with HttpOrigin({"/": closing}) as origin:
        policy = {"rules": [{"name": "ip", "cidrs": ["127.0.0.1/32"], "ports": [origin.port], "protocol": "http"}]}
        with GatewayProcess(tmp_path, policy) as gateway, RawClient(gateway.port) as client:
            assert status_of(client.connect(f"127.0.0.1:{origin.port}")) == 200
            for _ in range(3):
                client.send(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{origin.port}\r\n\r\n".encode())
                assert read_response(client)[1] == b"once\n"
        assert origin.connections == 3


def test_a_tunnel_ends_with_its_lifetime_though_requests_go_on(bed: Bed) -> None:
    with bed.tunnel("brief.test") as client:
        assert bed.ask(client, "brief.test", "/brief") == 200
        with pytest.raises(ConnectionResetError):
            bed.ask(client, "brief.test", "/never")
    records = bed.gateway.wait_for_records(2, host="brief.test", reason="lifetime_reached")
    assert {(record.get("path"), record["ended"], record["ended_by"]) for record in records} == {
        ("/never", "timeout", "gateway"),
        (None, "timeout", "gateway"),
    }
