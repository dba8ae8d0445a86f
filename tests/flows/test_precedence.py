"""The rows of the contract's table that only requests can show, at their own ports (needs root to listen there)."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from gateway.model.reasons import Reason
from tests.helpers.dns_server import DnsServer
from tests.helpers.gateway import GatewayProcess
from tests.helpers.http_origin import HttpOrigin
from tests.helpers.raw_client import RawClient, status_of
from tests.helpers.requirements import require_root
from tests.helpers.responses import read_response

pytestmark = pytest.mark.privileged


@dataclass
class Bed:
    """x.org and y.org, each at an address and port 80 of its own."""

    x: HttpOrigin
    y: HttpOrigin
    gateway: GatewayProcess


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    require_root()
    rules = [
        {"name": "web", "hosts": ["*"], "ports": [80, 443]},
        {"name": "no-paste", "hosts": [".paste.test"], "action": "deny"},
    ]
    with (
        DnsServer() as dns,
        HttpOrigin(address="127.80.0.1", port=80) as x,
        HttpOrigin(address="127.80.0.2", port=80) as y,
    ):
        dns.answer("x.org", "127.80.0.1")
        dns.answer("y.org", "127.80.0.2")
        settings = {"resolver": {"servers": [f"127.0.0.1:{dns.port}"]}}
        with GatewayProcess(tmp_path_factory.mktemp("precedence"), {"rules": rules}, settings) as gateway:
            yield Bed(x, y, gateway)


def ask(client: RawClient, target: str, host: str) -> int:
    client.send(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    return status_of(read_response(client)[0])


def test_row_5_a_denied_name_is_refused(bed: Bed) -> None:
    with RawClient(bed.gateway.port) as client:
        assert ask(client, "http://paste.test/", "paste.test") == 403
    assert bed.gateway.wait_for_records(1, host="paste.test", method="GET")[0]["rule"] == "policy.yaml#no-paste"


def test_row_26_another_host_inside_the_tunnel_is_421(bed: Bed) -> None:
    with RawClient(bed.gateway.port) as client:
        assert status_of(client.connect("x.org:80")) == 200
        assert ask(client, "/26", "y.org") == 421
        assert ask(client, "/26", "x.org") == 200
    [refused] = bed.gateway.wait_for_records(1, path="/26", decision="deny")
    assert refused["reason"] == Reason.HOST_MISMATCH
    assert [got.path for got in bed.x.requests if got.path == "/26"] == ["/26"]
    assert not any(got.path == "/26" for got in bed.y.requests)


def test_row_27_two_names_on_one_connection_are_two_upstreams(bed: Bed) -> None:
    with RawClient(bed.gateway.port) as client:
        assert [ask(client, f"http://{host}/27", host) for host in ("x.org", "y.org")] == [200, 200]
    records = bed.gateway.wait_for_records(2, path="/27")
    assert [(each["rule"], each["dialled_address"]) for each in records] == [
        ("policy.yaml#web", "127.80.0.1"),
        ("policy.yaml#web", "127.80.0.2"),
    ]
    assert len({each["connection_id"] for each in records}) == 1
    assert [bed.x.requests[-1].path, bed.y.requests[-1].path] == ["/27", "/27"]


def test_row_28_http_at_443_is_a_mismatch_and_https_needs_connect(bed: Bed) -> None:
    with RawClient(bed.gateway.port) as client:
        assert ask(client, "http://x.org:443/28", "x.org") == 403
        client.send(b"GET https://x.org/ HTTP/1.1\r\nHost: x.org\r\n\r\n")
        head = client.read_to_end()
    assert head.startswith(b"HTTP/1.1 400 https:// without CONNECT: use CONNECT host:port\r\n")
    assert bed.gateway.wait_for_records(1, path="/28")[0]["reason"] == Reason.PROTOCOL_MISMATCH
