"""Names are looked up privately: the real gateway asks a real unbound over TLS and HTTPS, trusts no other, and comes
back to it when it was away."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.authority import TestAuthority
from tests.helpers.dns_server import DnsServer
from tests.helpers.gateway import GatewayProcess
from tests.helpers.origins import Origin, echo
from tests.helpers.raw_client import RawClient, status_of
from tests.helpers.secure_dns_server import SecureDnsServer
from tests.helpers.unbound import Unbound

OVERS = ("dot", "doh")
NAMES = {f"n{number}.test": "127.0.0.1" for number in range(10)}


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with Origin(echo) as server:
        yield server


@pytest.fixture
def authority(tmp_path: Path) -> TestAuthority:
    return TestAuthority(tmp_path)


@pytest.fixture
def unbound(tmp_path: Path, authority: TestAuthority) -> Iterator[Unbound]:
    (tmp_path / "unbound").mkdir()
    certificate, key = authority.write_server_files(tmp_path / "unbound", "127.0.0.1", "dns.test")
    with Unbound(tmp_path / "unbound", certificate, key, NAMES) as server:
        yield server


def gateway_with(folder: Path, origin: Origin, **resolver: Any) -> GatewayProcess:
    policy = {"rules": [{"name": "all", "hosts": ["*.test"], "ports": [origin.port], "protocol": "auto"}]}
    settings = {"resolver": {"family": "ipv4", "cache": {"min_ttl": "0s", "max_ttl": "1ms"}, **resolver}}
    return GatewayProcess(folder, policy, settings)


def asked(gateway: GatewayProcess, origin: Origin, name: str) -> int:
    """The status that a CONNECT to `name` gets."""
    with RawClient(gateway.port) as client:
        return status_of(client.connect(f"{name}:{origin.port}"))


@pytest.mark.parametrize(("over", "server_name"), [("dot", None), ("doh", "dns.test")])
def test_unbound_answers_inside_tls_over_one_connection(
    tmp_path: Path, origin: Origin, authority: TestAuthority, unbound: Unbound, over: str, server_name: str | None
) -> None:
    port = unbound.dot_port if over == "dot" else unbound.doh_port
    tls = {"ca": str(authority.bundle), "server_name": server_name}
    with gateway_with(tmp_path, origin, servers=[f"127.0.0.1:{port}"], transport=over, tls=tls) as gateway:
        for name in NAMES:
            assert asked(gateway, origin, name) == 200
            assert unbound.questions(name) == 1
        assert unbound.connections(port) == 1
        assert f'egress_dns_queries_total{{result="answer",server="127.0.0.1:{port}",transport="{over}"}} 10.0' in (
            gateway.metrics()
        )
        assert asked(gateway, origin, "nothing.test") == 502
        gateway.wait_for_records(1, reason="dns_name_not_found")


@pytest.mark.parametrize("over", OVERS)
def test_unbound_is_killed_and_back(
    tmp_path: Path, origin: Origin, authority: TestAuthority, unbound: Unbound, over: str
) -> None:
    port = unbound.dot_port if over == "dot" else unbound.doh_port
    servers, tls = [f"127.0.0.1:{port}"], {"ca": str(authority.bundle)}
    with gateway_with(tmp_path, origin, servers=servers, transport=over, tls=tls) as gateway:
        assert asked(gateway, origin, "n0.test") == 200
        unbound.kill()
        assert asked(gateway, origin, "n1.test") == 502
        gateway.wait_for_records(1, reason="dns_failure")
        assert gateway.metric("egress_dns_server_up") == 0
        unbound.start()
        assert asked(gateway, origin, "n2.test") == 200
        assert gateway.metric("egress_dns_server_up") == 1
        assert unbound.connections(port) == 1


@pytest.mark.parametrize("over", OVERS)
def test_a_server_that_is_not_trusted_gets_no_question_and_nothing_is_asked_in_the_clear(
    tmp_path: Path, origin: Origin, authority: TestAuthority, over: Any
) -> None:
    visits = origin.settled()
    with (
        SecureDnsServer(authority.server_context("other.test"), over) as dns,
        gateway_with(
            tmp_path,
            origin,
            servers=[f"127.0.0.1:{dns.tls_port}"],
            transport=over,
            tls={"ca": str(authority.bundle), "server_name": "dns.test"},
        ) as gateway,
    ):
        dns.answer("n0.test", "127.0.0.1")
        assert asked(gateway, origin, "n0.test") == 502
        assert dns.queries == []
        assert origin.settled() == visits
        [record] = gateway.wait_for_records(1, reason="dns_failure")
        assert "certificate" in record["detail"]
        unreachable = f'{{result="unreachable",server="127.0.0.1:{dns.tls_port}",transport="{over}"}}'
        assert f"egress_dns_queries_total{unreachable} 1.0" in gateway.metrics()


def test_stale_addresses_serve_while_the_server_is_away(
    tmp_path: Path, origin: Origin, authority: TestAuthority
) -> None:
    with SecureDnsServer(authority.server_context("127.0.0.1"), "dot") as dns:
        dns.answer("n0.test", "127.0.0.1", ttl=1)
        resolver = {
            "servers": [f"127.0.0.1:{dns.tls_port}"],
            "transport": "dot",
            "tls": {"ca": str(authority.bundle)},
            "cache": {"min_ttl": "0s", "max_ttl": "1ms", "serve_stale": "1h"},
        }
        with gateway_with(tmp_path, origin, **resolver) as gateway:
            assert asked(gateway, origin, "n0.test") == 200
            dns.kill()
            assert asked(gateway, origin, "n0.test") == 200
            assert 'egress_dns_names_total{result="stale"} 1.0' in gateway.metrics()
            assert asked(gateway, origin, "n1.test") == 502


def test_a_reload_takes_other_name_servers_and_other_trust(
    tmp_path: Path, origin: Origin, authority: TestAuthority
) -> None:
    with DnsServer() as plain, SecureDnsServer(authority.server_context("127.0.0.1"), "dot") as secure:
        for dns in (plain, secure):
            dns.answer("n0.test", "127.0.0.1")
        with gateway_with(tmp_path, origin, servers=[f"127.0.0.1:{plain.port}"]) as gateway:
            assert asked(gateway, origin, "n0.test") == 200
            before = len(plain.queries)
            text = gateway.settings_file.read_text()
            other = f"127.0.0.1:{secure.tls_port}\n  tls: {{ca: {authority.bundle}}}\n  transport: dot"
            fresh = gateway.settings_file.with_suffix(".new")
            fresh.write_text(text.replace(f"127.0.0.1:{plain.port}", other))
            fresh.rename(gateway.settings_file)  # half of it would be a generation as well
            until(lambda: gateway.metric("egress_policy_generation") == 2)
            assert asked(gateway, origin, "n0.test") == 200
            assert (len(plain.queries), len(secure.queries)) == (before, 1)
            authority.bundle.write_text("no certificate")
            gateway.wait_for_line("resolver.tls.ca: ")
            assert asked(gateway, origin, "n0.test") == 200


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)
