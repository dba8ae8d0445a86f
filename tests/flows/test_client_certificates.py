"""Destinations that ask the gateway who it is: each rule shows its own certificate, and no connection of one rule, new,
kept or resumed, is ever another's. nginx does the asking, over HTTP/1.1 and HTTP/2.
"""

import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.model.reasons import Reason
from tests.flows.interception import Bed, inspecting, problem
from tests.helpers.certificates import Authority, Issued, pem
from tests.helpers.http2_client import Http2Client, request
from tests.helpers.ports import free_port
from tests.helpers.raw_client import status_of
from tests.helpers.requirements import require
from tests.helpers.responses import read_response
from tests.helpers.tls_client import TlsClient, client_context
from tests.helpers.tls_origin import Issuer, TlsOrigin

REASONS = frozenset({Reason.UPSTREAM_WANTS_CERTIFICATE})
HOST, BARE, STRICT, REJECTING = "one.test", "bare.test", "strict.test", "rejecting.test"
PAYMENTS, BILLING = "127.0.0.2", "127.0.0.3"
"""Addresses of two clients that are sent to the same host by rules of their own."""
SECONDS = 30.0


@dataclass
class World:
    """A gateway before nginx, which asks for certificates of `authority`, and before two origins that refuse in TLS."""

    bed: Bed
    authority: Authority
    http1: int
    http2: int
    origins: dict[str, TlsOrigin]

    def client(self, host: str, port: int, source: str | None, *alpn: str) -> TlsClient:
        gateway = self.bed.gateway
        return TlsClient(gateway.port, f"{host}:{port}", client_context(self.bed.ca, *alpn), source=source)

    def ask(self, host: str, path: str, port: int | None = None, source: str | None = None) -> tuple[int, bytes]:
        """In a tunnel of its own."""
        with self.client(host, port or self.http1, source) as client:
            client.ask(f"{host}:{port or self.http1}", path, "Accept: application/json")
            head, body = read_response(client)
        return status_of(head), body

    def show(self, name: str, issued: Issued) -> None:
        """Put other files in the place of those of `name`, each at one stroke."""
        folder = self.bed.folder
        for fresh, file in zip(issued.write(folder, "fresh"), _files(folder, name), strict=True):
            fresh.rename(file)


def _files(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}.crt", folder / f"{name}.key"


def _nginx(folder: Path, server: tuple[Path, Path], http1: int, http2: int) -> subprocess.Popen[bytes]:
    """It answers with whom it saw, and whether a session was taken up again."""
    (folder / "nginx.conf").write_text(
        f"""daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.errors; worker_processes 1;
        events {{ worker_connections 64; }}
        http {{
            access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
            fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
            ssl_certificate {server[0]}; ssl_certificate_key {server[1]}; ssl_session_cache shared:all:1m;
            ssl_client_certificate {folder}/clients.pem; ssl_verify_client on;
            server {{ listen 127.0.0.1:{http1} ssl; return 200 "$ssl_client_s_dn $ssl_session_reused"; }}
            server {{ listen 127.0.0.1:{http2} ssl http2; return 200 "$ssl_client_s_dn"; }}
        }}"""
    )
    command = [require("nginx"), "-c", str(folder / "nginx.conf"), "-e", str(folder / "nginx.errors")]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _wait_for(*ports: int) -> None:
    deadline = time.monotonic() + SECONDS
    for port in ports:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert time.monotonic() < deadline, "nginx does not listen"
            time.sleep(0.02)


def _refusing(issuer: Issuer, host: str, clients: Path, version: ssl.TLSVersion) -> TlsOrigin:
    context = issuer.context(host)
    context.minimum_version = context.maximum_version = version
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(clients)
    return TlsOrigin(context=context)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("certificates")
    issuer, authority, strangers = Issuer(folder), Authority("partners"), Authority("strangers")
    (folder / "clients.pem").write_bytes(pem(authority.certificate))
    authority.leaf("payments").write(folder, "payments")
    authority.leaf("billing").write(folder, "billing")
    strangers.leaf("stranger").write(folder, "stranger")
    http1, http2 = free_port(), free_port()
    declared: dict[str, Any] = {
        "payments": {"hosts": [HOST], "clients": ["payments"]},
        "billing": {"hosts": ["*.test"], "clients": ["billing"]},
        "stranger": {"hosts": [REJECTING]},
    }
    for name, said in declared.items():
        said.update(cert=f"{name}.crt", key=f"{name}.key")
    with ExitStack() as stack:
        nginx = _nginx(folder, issuer.files(HOST, BARE), http1, http2)
        stack.callback(nginx.wait)
        stack.callback(nginx.terminate)
        _wait_for(http1, http2)
        origins = {
            host: stack.enter_context(_refusing(issuer, host, folder / "clients.pem", ssl.TLSVersion.TLSv1_3))
            for host in (STRICT, REJECTING)
        }
        rules = [
            _rule("payments", HOST, [http1, http2], "payments", clients=["payments"]),
            _rule("billing", HOST, [http1, http2], "billing", clients=["billing"]),
            _rule("bare", BARE, [http1, http2], None),
            _rule("strict", STRICT, [origins[STRICT].port], None),
            _rule("rejecting", REJECTING, [origins[REJECTING].port], "stranger"),
        ]
        clients = {name: {"match": [{"cidr": f"{who}/32"}]} for name, who in _WHO.items()}
        usual = stack.enter_context(TlsOrigin(context=issuer.context(HOST)))
        settings: dict[str, Any] = {"client_certificates": declared}
        bed = stack.enter_context(inspecting(folder, usual, issuer, time.time(), rules, clients=clients, **settings))
        yield World(bed, authority, http1, http2, origins)


_WHO = {"payments": PAYMENTS, "billing": BILLING}


def _rule(name: str, host: str, ports: list[int], certificate: str | None, **more: Any) -> dict[str, Any]:
    inspect = {"upstream_ca": "origins.pem"} | ({} if certificate is None else {"client_certificate": certificate})
    return {"name": name, "hosts": [host], "ports": ports, "inspect": inspect, **more}


def test_each_rule_shows_its_own_and_sessions_stay_with_their_rule(world: World) -> None:
    for _ in range(3):
        for name, who in _WHO.items():
            status, body = world.ask(HOST, f"/{name}", source=who)
            assert (status, body.split()[0]) == (200, f"CN={name}".encode())
    resumed = [world.ask(HOST, "/resumed", source=who)[1] for who in _WHO.values()]
    assert resumed == [b"CN=payments r", b"CN=billing r"]
    [record, *_] = world.bed.gateway.wait_for_records(3, path="/payments")
    assert record["rule"].endswith("#payments")


def test_over_http_2_as_well(world: World) -> None:
    for name, who in _WHO.items():
        with world.client(HOST, world.http2, who, "h2", "http/1.1") as tls:
            assert tls.tls.selected_alpn_protocol() == "h2"
            client = Http2Client(tls)
            for stream in (1, 3):
                client.send(client.head(stream, request("GET", f"{HOST}:{world.http2}", f"/h2/{name}")))
                assert client.answer(stream) == ("200", f"CN={name}".encode())


def test_what_nginx_says_to_a_rule_without_one_is_passed_on(world: World) -> None:
    """It asks, takes none for an answer, and says so in HTTP: that is an answer like any other."""
    status, body = world.ask(BARE, "/bare")
    assert status == 400
    assert b"No required SSL certificate was sent" in body


@pytest.mark.parametrize("host", [STRICT, REJECTING])
def test_a_destination_that_refuses_in_tls_is_a_502_that_says_so(world: World, host: str) -> None:
    """With TLS 1.3 it says so when our side of the handshake is over already."""
    expected = {STRICT: Reason.UPSTREAM_WANTS_CERTIFICATE, REJECTING: Reason.UPSTREAM_TLS_ALERT}[host]
    origin = world.origins[host]
    for number in range(3):
        path = f"/{host}/{number}"
        status, body = world.ask(host, path, origin.port)
        assert (status, problem(body)["reason"]) == (502, expected)
        [record] = world.bed.gateway.wait_for_records(1, path=path)
        assert (record["status"], record["reason"], record["rule"].partition("#")[2]) == (
            502,
            expected,
            host.partition(".")[0],
        )
    assert origin.requests == []


def test_a_new_pair_takes_effect_without_a_restart_and_a_bad_one_does_not(world: World) -> None:
    world.show("payments", world.authority.leaf("renewed"))
    deadline = time.monotonic() + SECONDS
    while (said := world.ask(HOST, "/renewed", source=PAYMENTS)[1].split()[0]) != b"CN=renewed":
        assert said == b"CN=payments"
        assert time.monotonic() < deadline, world.bed.gateway.stderr_lines
        time.sleep(0.05)
    _, key = world.authority.leaf("another").write(world.bed.folder, "another")
    key.rename(world.bed.folder / "payments.key")
    line = world.bed.gateway.wait_for_line("payments.key does not belong to the first certificate in cert")
    assert "client_certificates.payments.key" in line
    assert world.ask(HOST, "/still", source=PAYMENTS)[1].split()[0] == b"CN=renewed"
