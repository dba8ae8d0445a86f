"""Stories of plain HTTP by an `https://` proxy, and of destinations that are told for whom each connection is."""

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.flows.entrances import LOAD_BALANCER, SVID, Identities
from tests.helpers.certificates import Authority, client_context, pem
from tests.helpers.dns_server import DnsServer
from tests.helpers.gateway import GatewayProcess
from tests.helpers.origins import Origin, Visit
from tests.helpers.raw_client import RawClient, status_of
from tests.helpers.responses import read_response

LARGE = 3_000_000
_TOLD = re.compile(rb"PROXY TCP4 (\S+) 127\.0\.0\.1 (\d+) \d+\r\nGET /(\w+) HTTP/1\.1\r\n")


@dataclass
class Bed:
    folder: Path
    origin: Origin
    gateway: GatewayProcess
    servers: Authority
    clients: Identities

    def secure(self) -> RawClient:
        client = RawClient(self.gateway.ports["proxy"])
        context = client_context(self.servers, self.clients.api, self.folder)
        client.socket = context.wrap_socket(client.socket, server_hostname="localhost")
        return client

    def from_pod(self, address: str, port: int) -> RawClient:
        client = RawClient(self.gateway.ports["lb"], source=LOAD_BALANCER)
        client.send(f"PROXY TCP4 {address} 192.0.2.1 {port} 3128\r\n".encode())
        return client

    def at(self, name: str) -> str:
        return f"{name}.test:{self.origin.port}"

    def ask(self, client: RawClient, name: str, path: str) -> tuple[int, bytes]:
        """In absolute form."""
        return _answer(client, f"http://{self.at(name)}{path}", self.at(name))

    def ask_inside(self, client: RawClient, name: str, path: str) -> tuple[int, bytes]:
        """In a tunnel that stands."""
        return _answer(client, path, self.at(name))

    def told(self, since: int) -> list[list[tuple[bytes, bytes, bytes]]]:
        """By connection: who the client was said to be, and for what it asked next."""
        return [_TOLD.findall(bytes(visit.received)) for visit in self.origin.visits[since:]]


def _answer(client: RawClient, target: str, host: str) -> tuple[int, bytes]:
    client.send(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    head, content = read_response(client)
    return status_of(head), content


def _serve(connection: socket.socket, visit: Visit) -> None:
    """Answers what ends like a request, whatever came before it."""
    answered = 0
    while data := connection.recv(65536):
        visit.received += data
        while visit.received.count(b"\r\n\r\n") > answered:
            answered += 1
            size = LARGE if b"/large " in visit.received else 2
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"o" * size)


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder, servers, clients = tmp_path_factory.mktemp("over-tls"), Authority("servers"), Identities()
    servers.server("localhost").write(folder, "gateway")
    (folder / "clients.pem").write_bytes(pem(clients.root.certificate))
    with DnsServer() as dns, Origin(_serve) as origin:
        for name in ("payments", "told"):
            dns.answer(f"{name}.test", "127.0.0.1")
        policy = {
            "clients": {"payments": {"match": [{"spiffe": SVID}]}},
            "rules": [
                {"name": "payments", "hosts": ["payments.test"], "ports": [origin.port], "clients": ["payments"]},
                {"name": "told", "hosts": ["told.test"], "ports": [origin.port], "proxy_protocol": "v1"},
            ],
        }
        tls = {"cert": "gateway.crt", "key": "gateway.key", "client_ca": "clients.pem", "client_cert": "required"}
        settings = {
            "listeners": [
                {"name": "proxy", "bind": "127.0.0.1:0", "tls": tls},
                {"name": "lb", "bind": "127.0.0.1:0", "proxy_protocol": {"trusted": [LOAD_BALANCER]}},
            ],
            "resolver": {"servers": [f"127.0.0.1:{dns.port}"]},
        }
        with GatewayProcess(folder, policy, settings) as gateway:
            yield Bed(folder, origin, gateway, servers, clients)


def test_requests_in_absolute_form_come_by_tls_and_are_judged_by_the_certificate(bed: Bed) -> None:
    seen = bed.origin.settled()
    with bed.secure() as client:
        assert bed.ask(client, "payments", "/one") == (200, b"oo")
        assert bed.ask(client, "unlisted", "/two")[0] == 403
        assert bed.ask(client, "payments", "/three") == (200, b"oo")
    one, two, three = (bed.gateway.wait_for_records(1, path=path)[0] for path in ("/one", "/two", "/three"))
    assert [each["spiffe"] for each in (one, two, three)] == [SVID] * 3
    assert (one["identity"], one["door"], one["listener"], one["groups"]) == (
        "mtls",
        "absolute_form",
        "proxy",
        ["payments"],
    )
    assert (two["decision"], two["reason"]) == ("deny", "no_rule")
    assert three["reused"]
    assert bed.origin.settled() == seen + 1
    [connection] = bed.gateway.wait_for_records(1, connection_id=one["connection_id"], requests=3)
    assert (connection["identity"], connection["spiffe"]) == ("mtls", SVID)


def test_requests_in_a_tunnel_come_by_tls_each_judged_by_itself(bed: Bed) -> None:
    with bed.secure() as client:
        assert status_of(client.connect(bed.at("payments"))) == 200
        assert bed.ask_inside(client, "payments", "/inside") == (200, b"oo")
        assert bed.ask_inside(client, "told", "/elsewhere")[0] == 421
    [inside] = bed.gateway.wait_for_records(1, path="/inside")
    assert (inside["identity"], inside["spiffe"], inside["door"], inside["status"]) == ("mtls", SVID, "connect", 200)
    [elsewhere] = bed.gateway.wait_for_records(1, path="/elsewhere")
    assert elsewhere["reason"] == "host_mismatch"


def test_a_large_answer_comes_whole_by_tls(bed: Bed) -> None:
    with bed.secure() as client:
        assert bed.ask(client, "payments", "/large") == (200, b"o" * LARGE)


def test_a_destination_is_told_of_each_client_connection_and_none_of_two_share_one(bed: Bed) -> None:
    since = bed.origin.settled()
    with bed.from_pod("10.7.0.1", 1001) as first, bed.from_pod("10.7.0.1", 1002) as second:
        assert bed.ask(first, "told", "/a") == (200, b"oo")
        assert bed.ask(second, "told", "/b") == (200, b"oo")
        assert bed.ask(first, "told", "/c") == (200, b"oo")
    assert bed.told(since) == [[(b"10.7.0.1", b"1001", b"a")], [(b"10.7.0.1", b"1002", b"b")]]
    assert b"GET /c " in bed.origin.visits[since].received
    [record] = bed.gateway.wait_for_records(1, path="/a")
    assert (record["client_address"], record["client_port"]) == ("10.7.0.1", 1001)
    assert record["peer_address"] == LOAD_BALANCER


def test_a_destination_is_told_of_the_client_of_requests_in_a_tunnel(bed: Bed) -> None:
    since = bed.origin.settled()
    with bed.from_pod("10.7.0.1", 1003) as client:
        assert status_of(client.connect(bed.at("told"))) == 200
        assert bed.ask_inside(client, "told", "/tunnelled") == (200, b"oo")
        assert bed.ask_inside(client, "told", "/again") == (200, b"oo")
    assert bed.told(since) == [[(b"10.7.0.1", b"1003", b"tunnelled")]]
