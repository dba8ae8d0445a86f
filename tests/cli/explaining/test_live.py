"""`explain --live` goes where policy allows, says each stage, and goes nowhere else."""

import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.x509 import UnrecognizedExtension
from cryptography.x509.oid import ExtensionOID

from gateway.cli.explaining.explain import explain_url
from gateway.cli.explaining.question import Unreached
from tests.helpers.authority import TestAuthority
from tests.helpers.certificates import Authority
from tests.helpers.dns_server import DnsServer
from tests.helpers.origins import Origin, echo, https
from tests.helpers.ports import free_port
from tests.settings.texts import write

Ask = Callable[[str], tuple[bool, list[str]]]


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    with DnsServer() as server:
        yield server


@pytest.fixture
def authority(tmp_path: Path) -> TestAuthority:
    return TestAuthority(tmp_path)


@pytest.fixture
def ask(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    dns: DnsServer,
    authority: TestAuthority,
) -> Ask:
    monkeypatch.chdir(tmp_path)
    write(
        tmp_path,
        "gateway.yaml",
        f"resolver: {{servers: ['127.0.0.1:{dns.port}'], family: ipv4, timeout: 500ms}}\n"
        "inspection: {ca_cert: ca.crt, ca_key: ca.key}\n",
    )
    write(
        tmp_path,
        "policy.yaml",
        """\
        rules:
          - {name: tls, hosts: [tls.test, "two.test"], ports: [any], private: [127.0.0.0/8], protocol: tls}
          - {name: tcp, hosts: [tcp.test], ports: [any], private: [127.0.0.0/8], protocol: tcp}
          - {name: guarded, hosts: [guarded.test], ports: [any]}
          - {name: net, cidrs: [127.0.0.1/32], ports: [any]}
          - {name: no, hosts: [denied.test], action: deny}
          - {name: own, hosts: [own.test], ports: [any], private: [127.0.0.0/8], inspect: {upstream_ca: test-ca.pem}}
          - {name: public, hosts: [public.test], ports: [any], private: [127.0.0.0/8], inspect: {}}
        """,
    )

    def live(url: str) -> tuple[bool, list[str]]:
        allowed = explain_url(url, None, None, None, None, None, live=True)
        return allowed, stages(capsys.readouterr().out)

    return live


def stages(out: str) -> list[str]:
    """Without their milliseconds, which are no test's business."""
    lines = out.rsplit("\n\n", maxsplit=1)[-1].splitlines()
    told = []
    for line in lines:
        before, unit, after = line.partition(" ms  ")
        told.append(f"{before.split()[0]}: {after}" if unit else line.strip())
    return told


def test_every_stage_is_told(
    ask: Ask, dns: DnsServer, authority: TestAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    dns.answer("tls.test", "127.0.0.1", ttl=77)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
    context = authority.server_context("tls.test", "*.tls.test", not_after=datetime(2099, 1, 31, 12, 0, tzinfo=UTC))
    context.set_alpn_protocols(["h2"])
    with Origin(https(context)) as origin:
        allowed, told = ask(f"https://tls.test:{origin.port}")
        assert allowed
        assert told[:5] == [
            "identity: 127.0.0.1",
            "rule: policy.yaml#tls (policy.yaml:2)",
            f"dns: A tls.test from 127.0.0.1:{dns.port} over udp: 127.0.0.1, ttl 77 s",
            "screen: 127.0.0.1 may be dialled",
            f"dial: connected to 127.0.0.1:{origin.port}",
        ]
        assert told[5].startswith("tls: TLSv1.3, alpn h2; subject ")
        assert "; names tls.test, *.tls.test; issuer " in told[5]
        assert told[5].endswith("; expires 2099-01-31 12:00 UTC; trusted by this machine")
        assert len(told) == 6


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ("unknown", "unable to get local issuer certificate"),
        ("expired", "certificate has expired"),
        ("name", "Hostname mismatch, certificate is not valid for 'tls.test'."),
    ],
)
def test_a_peer_that_is_not_trusted_is_shown_all_the_same(
    ask: Ask, dns: DnsServer, authority: TestAuthority, monkeypatch: pytest.MonkeyPatch, case: str, why: str
) -> None:
    dns.answer("tls.test", "127.0.0.1")
    if case != "unknown":
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.bundle))
    name = "other.test" if case == "name" else "tls.test"
    past = datetime(2020, 1, 31, tzinfo=UTC) if case == "expired" else None
    with Origin(https(authority.server_context(name, not_after=past))) as origin:
        allowed, told = ask(f"https://tls.test:{origin.port}")
    assert allowed
    assert f"names {name};" in told[-1]
    assert told[-1].endswith(f"NOT trusted by this machine: {why}")


def test_a_peer_is_judged_as_the_gateway_does_where_the_rule_inspects(
    ask: Ask, dns: DnsServer, authority: TestAuthority
) -> None:
    for name in ("own.test", "public.test"):
        dns.answer(name, "127.0.0.1")
    with Origin(https(authority.server_context("own.test", "public.test"))) as origin:
        assert ask(f"https://own.test:{origin.port}")[1][-1].endswith("; trusted by the gateway")
        told = ask(f"https://public.test:{origin.port}")[1][-1]
    assert told.endswith("NOT trusted by the gateway: unable to get local issuer certificate")


def test_a_peer_whose_certificate_only_openssl_can_read_is_told(ask: Ask, dns: DnsServer, tmp_path: Path) -> None:
    dns.answer("tls.test", "127.0.0.1")
    names = UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, bytes.fromhex("3002a300"))  # an X.400 address
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*Authority("odd").leaf("tls.test", further=[(names, False)]).write(tmp_path, "odd"))
    with Origin(https(context)) as origin:
        allowed, told = ask(f"https://tls.test:{origin.port}")
    assert allowed
    assert "; its certificate cannot be read (" in told[-1]
    assert "NOT trusted by this machine: " in told[-1]


def test_a_peer_that_does_not_speak_tls_is_told(ask: Ask, dns: DnsServer) -> None:
    dns.answer("tls.test", "127.0.0.1")
    with Origin(echo) as origin:
        allowed, told = ask(f"https://tls.test:{origin.port}")
    assert allowed
    assert told[-1].startswith("tls: handshake failed: ")


def test_where_the_rule_says_tcp_nothing_is_said_to_the_destination(ask: Ask, dns: DnsServer) -> None:
    dns.answer("tcp.test", "127.0.0.1")
    with Origin(echo) as origin:
        allowed, told = ask(f"tcp.test:{origin.port}")
        assert allowed
        assert told[-1] == f"dial: connected to 127.0.0.1:{origin.port}"
        assert bytes(origin.received) == b""


def test_what_is_denied_is_neither_resolved_nor_dialled(ask: Ask, dns: DnsServer) -> None:
    for url, rule in (
        ("https://denied.test", "policy.yaml#no (policy.yaml:6)"),
        ("https://nowhere.test", "no_rule"),
    ):
        allowed, told = ask(url)
        assert not allowed
        assert told[1:] == [f"rule: {rule}", "nothing was resolved or dialled"]
    assert dns.queries == []


def test_an_address_that_is_refused_is_not_dialled(ask: Ask, dns: DnsServer) -> None:
    dns.answer("guarded.test", "127.0.0.1")
    with Origin(echo) as origin:
        allowed, told = ask(f"guarded.test:{origin.port}")
        assert not allowed
        assert told[3:] == [
            "screen: 127.0.0.1 refused: loopback, opened by nothing",
            "dial: refused: 127.0.0.1: loopback, opened by nothing",
        ]
        assert origin.visits == []


def test_a_literal_needs_no_name_server(ask: Ask, dns: DnsServer) -> None:
    with Origin(echo) as origin:
        allowed, told = ask(f"http://127.0.0.1:{origin.port}/")
        assert allowed
        assert told[2:] == ["screen: 127.0.0.1 may be dialled", f"dial: connected to 127.0.0.1:{origin.port}"]
    assert dns.queries == []


def test_a_name_that_cannot_be_resolved_says_who_said_so(
    ask: Ask, dns: DnsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Unreached, match=r"tls.test:443 is allowed, but could not be reached: dns_name_not_found"):
        ask("https://tls.test")
    told = stages(capsys.readouterr().out)
    assert told[2] == f"dns: A tls.test from 127.0.0.1:{dns.port} over udp: the name does not exist"
    assert told[3] == "failed: dns_name_not_found: the name does not exist"


def test_a_port_where_nobody_listens_is_told(ask: Ask, dns: DnsServer, capsys: pytest.CaptureFixture[str]) -> None:
    dns.answer("tls.test", "127.0.0.1")
    port = free_port()
    with pytest.raises(Unreached, match="connection_refused"):
        ask(f"https://tls.test:{port}")
    assert stages(capsys.readouterr().out)[-1].startswith("failed: connection_refused: 127.0.0.1")
