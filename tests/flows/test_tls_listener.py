"""Stories of an `https://` proxy: TLS before the CONNECT, and certificates that say who the client is, or do not."""

import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar, cast

import pytest

from gateway.model.reasons import Reason
from tests.flows.entrances import LOAD_BALANCER, SVID, Bed, connect, exchange, open_bed
from tests.helpers.authority import TestAuthority
from tests.helpers.certificates import DAY, Issued, pem
from tests.helpers.client_hello import build_client_hello
from tests.helpers.origins import Origin, https
from tests.helpers.raw_client import RawClient, status_of
from tests.helpers.requirements import require

PROXY_V1 = b"PROXY TCP4 10.7.1.9 192.0.2.1 40000 3128\r\n"
TLS11 = 0x0302
PROTOCOL_VERSION = bytes((2, 70))  # a fatal alert's level and description

T = TypeVar("T")
VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda v: v.name)


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with open_bed(tmp_path_factory.mktemp("tls")) as bed:
        yield bed


def secure(bed: Bed, listener: str, who: Issued | None = None, version: ssl.TLSVersion | None = None) -> RawClient:
    """A client that has shaken hands."""
    context = bed.context(who, version)  # before the time for the handshake begins
    return shaken(bed.client(listener), context)


def shaken(client: RawClient, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> RawClient:
    client.socket = context.wrap_socket(client.socket, server_hostname="localhost", session=session)
    return client


def session_of(client: RawClient) -> ssl.SSLSession | None:
    assert isinstance(client.socket, ssl.SSLSocket)
    return client.socket.session


def was_resumed(client: RawClient) -> bool:
    assert isinstance(client.socket, ssl.SSLSocket)
    return bool(client.socket.session_reused)


@VERSIONS
def test_a_tunnel_is_opened_inside_tls(bed: Bed, version: ssl.TLSVersion) -> None:
    with bed.one_record() as record, secure(bed, "tls", version=version) as client:
        assert isinstance(client.socket, ssl.SSLSocket)
        assert client.socket.selected_alpn_protocol() == "http/1.1"
        assert connect(client, bed.at("open")) == 200
        exchange(client, b"x" * 100_000)
    assert (record["listener"], record["decision"], record["status"]) == ("tls", "allow", 200)
    assert (record["bytes_up"], record["bytes_down"]) == (100_000, 100_000)
    assert (record["identity"], record["ended"], record["ended_by"]) == ("address", "closed", "downstream")


def test_a_refusal_is_told_inside_tls(bed: Bed) -> None:
    with bed.refused() as record, secure(bed, "tls") as client:
        assert connect(client, bed.at("unlisted")) == 403
    assert record["reason"] == Reason.NO_RULE


def test_older_tls_is_not_spoken(bed: Bed) -> None:
    with bed.refused() as record, bed.client("tls") as client:
        client.send(build_client_hello(versions=[TLS11]))
        assert client.read_to_end()[-2:] == PROTOCOL_VERSION
    assert (record["reason"], record["detail"]) == (Reason.TLS_HANDSHAKE_FAILED, "unsupported protocol")


# ------------------------------------------------------------------------------------------------------------ identity


@VERSIONS
def test_a_spiffe_id_behind_an_intermediate_says_who_the_client_is(bed: Bed, version: ssl.TLSVersion) -> None:
    with bed.one_record() as record, secure(bed, "mtls", bed.clients.api, version) as client:
        assert connect(client, bed.at("payments")) == 200
        exchange(client)
    assert (record["identity"], record["spiffe"], record["groups"]) == ("mtls", SVID, ["payments"])
    assert "certificate" not in record


@pytest.mark.parametrize(("who", "name"), [("named", "batch.example"), ("common", "plain old name")])
def test_other_names_of_a_certificate_are_recorded_and_make_nobody_a_member(bed: Bed, who: str, name: str) -> None:
    with bed.refused() as record, secure(bed, "strict", getattr(bed.clients, who)) as client:
        assert connect(client, bed.at("payments")) == 403
    assert (record["identity"], record["certificate"], record["reason"]) == ("mtls", name, Reason.NO_RULE)
    assert "spiffe" not in record


def test_without_a_certificate_an_optional_one_leaves_the_address(bed: Bed) -> None:
    with bed.one_record() as record, secure(bed, "mtls") as client:
        assert connect(client, bed.at("open")) == 200
        exchange(client)
    assert record["identity"] == "address"


def _is_turned_away(bed: Bed, listener: str, who: Issued | None, version: ssl.TLSVersion) -> str:
    """The alert that the client hears: with TLS 1.3 it comes after its own side of the handshake."""

    context = bed.context(who, version)

    def try_it(client: RawClient) -> None:
        client.socket = context.wrap_socket(client.socket, server_hostname="localhost")
        client.send(f"CONNECT {bed.at('open')} HTTP/1.1\r\n\r\n".encode())
        client.read_to_end()

    with bed.client(listener) as client, pytest.raises(ssl.SSLError) as caught:
        try_it(client)
    return str(caught.value.reason)


@VERSIONS
@pytest.mark.parametrize(
    ("who", "alert", "detail"),
    [
        ("expired", "CERTIFICATE_EXPIRED", "expired"),
        ("early", "BAD_CERTIFICATE", "not yet valid"),
        ("revoked", "CERTIFICATE_REVOKED", "revoked"),
        ("foreign", "UNKNOWN_CA", "issuer"),
        ("for_servers", "CERTIFICATE", "purpose"),
    ],
)
def test_a_certificate_that_is_not_accepted_ends_the_attempt(
    bed: Bed, who: str, alert: str, detail: str, version: ssl.TLSVersion
) -> None:
    with bed.refused() as record:
        heard = _is_turned_away(bed, "mtls", getattr(bed.clients, who), version)
    assert alert in heard
    assert (record["reason"], record["decision"]) == (Reason.CLIENT_CERTIFICATE_INVALID, "none")
    assert detail in record["detail"]
    assert "identity" not in record
    assert "status" not in record


@VERSIONS
def test_a_required_certificate_that_is_missing_ends_the_attempt(bed: Bed, version: ssl.TLSVersion) -> None:
    with bed.refused() as record:
        heard = _is_turned_away(bed, "strict", None, version)
    assert heard in ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_HANDSHAKE_FAILURE")
    assert (record["reason"], record["ended"]) == (Reason.CLIENT_CERTIFICATE_MISSING, "refused")


@VERSIONS
def test_no_session_outlives_the_certificate_that_it_began_with(bed: Bed, version: ssl.TLSVersion) -> None:
    """TLS 1.2 would resume one for two hours without looking at the certificate again."""
    context, session = bed.context(bed.clients.api, version), None
    for _ in range(2):
        with bed.one_record() as record, bed.client("mtls") as client:
            shaken(client, context, session)
            assert connect(client, bed.at("payments")) == 200
            assert not was_resumed(client)
            session = session_of(client)
            exchange(client)
        assert (record["identity"], record["spiffe"]) == ("mtls", SVID)


@pytest.mark.parametrize("who", ["two_uris", "no_path"])
def test_a_verified_certificate_without_exactly_one_proper_spiffe_id_is_no_identity(bed: Bed, who: str) -> None:
    with bed.refused() as record, secure(bed, "mtls", getattr(bed.clients, who)) as client:
        assert connect(client, bed.at("open"), "Connection: close") == 407
    assert (record["reason"], record["ended"]) == (Reason.CREDENTIALS_INVALID, "refused")


# --------------------------------------------------------------------------------------------------- what goes wrong


def test_a_forged_record_in_a_tunnel_is_as_good_as_a_reset(bed: Bed) -> None:
    with bed.one_record() as record, secure(bed, "tls") as client:
        assert connect(client, bed.at("open")) == 200
        client.send(b"ping")
        assert client.read(4) == b"ping"
        socket.socket.sendall(client.socket, b"\x17\x03\x03\x00\x20" + bytes(32))
        with pytest.raises((ConnectionResetError, ssl.SSLError)):
            client.read_to_end()
    assert (record["reason"], record["ended"], record["ended_by"]) == (Reason.DOWNSTREAM_RESET, "reset", "downstream")
    assert record["bytes_up"] == 4


def test_plain_http_on_a_tls_port_is_told_the_cure(bed: Bed) -> None:
    with bed.refused() as record, bed.client("tls") as client:
        head = client.connect(bed.at("open"))
        assert status_of(head) == 400
        assert b"use https:// for the proxy" in head
    assert record["reason"] == Reason.PLAIN_ON_TLS_PORT


def test_who_does_not_finish_the_handshake_in_time_is_reset(bed: Bed) -> None:
    with bed.refused() as record, bed.client("tls") as client:
        client.send(b"\x16\x03\x01\x02\x00\x01")
        with pytest.raises(ConnectionResetError):
            client.read_to_end()
    assert (record["reason"], record["ended"]) == (Reason.TLS_HANDSHAKE_TIMEOUT, "timeout")


def test_a_client_that_does_not_trust_the_gateway_says_so_in_the_record(bed: Bed) -> None:
    with bed.refused() as record, bed.client("tls") as client, pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(client.socket, server_hostname="localhost")
    assert (record["reason"], record["detail"]) == (Reason.TLS_HANDSHAKE_FAILED, "tlsv1 alert unknown ca")


# ----------------------------------------------------------------------------------------------- behind a load balancer


def test_a_proxy_header_and_the_hello_in_one_segment_lead_into_tls(bed: Bed) -> None:
    with bed.one_record() as record, bed.client("all", source=LOAD_BALANCER) as client:
        peer = client.socket.getsockname()
        tunnelled = TlsInMemory(bed.context(bed.clients.api), client.socket, first=PROXY_V1)
        client.socket = cast("socket.socket", tunnelled)
        assert connect(client, bed.at("payments")) == 200
        exchange(client)
    assert (record["client_address"], record["client_port"]) == ("10.7.1.9", 40000)
    assert (record["peer_address"], record["peer_port"]) == peer
    assert (record["identity"], record["groups"]) == ("mtls", ["payments", "pods"])


class TlsInMemory:
    """A TLS client that can put something else before its hello into the same segment."""

    def __init__(self, context: ssl.SSLContext, sock: socket.socket, first: bytes) -> None:
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self._outgoing.write(first)
        self._until_done(self._tls.do_handshake)
        self._flush()

    def sendall(self, data: bytes) -> None:
        self._tls.write(data)
        self._flush()

    def recv(self, size: int) -> bytes:
        return self._until_done(lambda: self._tls.read(size))

    def close(self) -> None:
        self._sock.close()

    def _until_done(self, act: Callable[[], T]) -> T:
        while True:
            try:
                return act()
            except ssl.SSLWantReadError:
                self._flush()
                self._incoming.write(self._sock.recv(65536))

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._sock.sendall(self._outgoing.read())


# ------------------------------------------------------------------------------------------------------------- reload


def test_a_new_certificate_is_shown_at_once_and_no_tunnel_is_lost(bed: Bed) -> None:
    before = bed.servers.server("localhost", addresses=["127.0.0.1"])
    with secure(bed, "tls") as old:
        assert connect(old, bed.at("open")) == 200
        generation = bed.gateway.metric("egress_policy_generation")
        before.write(bed.folder, "gateway")
        _wait_for_generation(bed, generation)
        with secure(bed, "tls") as fresh:
            assert isinstance(fresh.socket, ssl.SSLSocket)
            shown = fresh.socket.getpeercert(binary_form=True)
        exchange(old)
    assert shown == ssl.PEM_cert_to_DER_cert(pem(before.certificate).decode())
    bed.gateway.quiet()


def test_a_key_that_does_not_fit_is_not_taken_over(bed: Bed) -> None:
    kept = (bed.folder / "gateway.key").read_bytes()
    stranger = bed.clients.common
    try:
        (bed.folder / "gateway.key").write_bytes(stranger.key_pem)
        line = bed.gateway.wait_for_line("does not belong")
        assert (
            f"listeners[2].tls.key: {bed.folder}/gateway.key does not belong to the first certificate in cert" in line
        )
        with secure(bed, "tls") as client:
            assert connect(client, bed.at("unlisted")) == 403
    finally:
        generation = bed.gateway.metric("egress_policy_generation")
        (bed.folder / "gateway.key").write_bytes(kept)
        _wait_for_generation(bed, generation)
    bed.gateway.quiet()


def test_whom_a_newer_list_revokes_is_turned_away_from_then_on_and_an_expired_list_accepts_nobody(bed: Bed) -> None:
    victim = bed.clients.intermediate.leaf("soon fired")
    with bed.one_record(), secure(bed, "mtls", victim) as client:
        assert connect(client, bed.at("unlisted")) == 403
    generation = bed.gateway.metric("egress_policy_generation")
    (bed.folder / "clients.crl").write_bytes(bed.clients.crl(victim))
    _wait_for_generation(bed, generation)
    with bed.refused() as record:
        assert "REVOKED" in _is_turned_away(bed, "mtls", victim, ssl.TLSVersion.TLSv1_3)
    assert record["reason"] == Reason.CLIENT_CERTIFICATE_INVALID
    old = (-2 * DAY, -DAY)
    lists = (authority.revocation_list(valid=old) for authority in (bed.clients.root, bed.clients.intermediate))
    (bed.folder / "clients.crl").write_bytes(pem(*lists))
    _wait_for_generation(bed, generation + 1)
    with bed.refused() as record:
        _is_turned_away(bed, "mtls", bed.clients.api, ssl.TLSVersion.TLSv1_3)
    assert (record["reason"], record["detail"]) == (Reason.CLIENT_CERTIFICATE_INVALID, "CRL has expired")
    (bed.folder / "clients.crl").write_bytes(bed.clients.crl())
    _wait_for_generation(bed, generation + 2)


def _wait_for_generation(bed: Bed, before: float) -> None:
    bed.gateway.wait_for_line(f"policy generation {before + 1:g} is in force")


# -------------------------------------------------------------------------------------------------------- real clients


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Origin, TestAuthority]]:
    authority = TestAuthority(tmp_path_factory.mktemp("site"))
    with Origin(https(authority.server_context("127.0.0.1"), b"hello\n")) as origin:
        yield origin, authority


@pytest.fixture(scope="module")
def curl_bed(tmp_path_factory: pytest.TempPathFactory, site: tuple[Origin, TestAuthority]) -> Iterator[Bed]:
    with open_bed(tmp_path_factory.mktemp("curl"), https_port=site[0].port) as bed:
        yield bed


@pytest.mark.clients
def test_curl_comes_in_over_tls_and_with_its_certificate(curl_bed: Bed, site: tuple[Origin, TestAuthority]) -> None:
    origin, authority = site
    (curl_bed.folder / "servers.pem").write_bytes(pem(curl_bed.servers.certificate))
    cert, key = curl_bed.clients.api.write(curl_bed.folder, "curl")
    for listener, identity in (("tls", "address"), ("strict", "mtls")):
        command = [
            require("curl"), "--silent", "--show-error", f"https://127.0.0.1:{origin.port}/",
            "--cacert", authority.bundle,
            "--proxy", f"https://localhost:{curl_bed.gateway.ports[listener]}",
            "--proxy-cacert", curl_bed.folder / "servers.pem",
            *(["--proxy-cert", cert, "--proxy-key", key] if identity == "mtls" else []),
        ]  # fmt: skip
        with curl_bed.one_record() as record:
            done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr
        assert (record["identity"], record["rule"]) == (identity, "policy.yaml#site")


@pytest.mark.clients
def test_python_comes_in_over_tls(curl_bed: Bed, site: tuple[Origin, TestAuthority]) -> None:
    origin, authority = site
    cert, key = curl_bed.clients.api.write(curl_bed.folder, "python")
    program = (
        "import ssl, sys, httpx\n"
        "url, proxy, proxy_ca, ca, cert, key = sys.argv[1:]\n"
        "to_proxy, to_origin = ssl.create_default_context(cafile=proxy_ca), ssl.create_default_context(cafile=ca)\n"
        "to_proxy.load_cert_chain(cert, key)\n"
        "with httpx.Client(proxy=httpx.Proxy(proxy, ssl_context=to_proxy), verify=to_origin) as client:\n"
        "    print(client.get(url).text, end='')\n"
    )
    (curl_bed.folder / "servers.pem").write_bytes(pem(curl_bed.servers.certificate))
    arguments = [
        f"https://127.0.0.1:{origin.port}/", f"https://localhost:{curl_bed.gateway.ports['strict']}",
        curl_bed.folder / "servers.pem", authority.bundle, cert, key,
    ]  # fmt: skip
    with curl_bed.one_record() as record:
        done = subprocess.run(
            [sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True, timeout=60
        )
    assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr
    assert (record["identity"], record["spiffe"]) == ("mtls", SVID)


def test_a_key_that_everybody_may_read_stops_the_start(bed: Bed, tmp_path: Path) -> None:
    bed.servers.server("localhost").write(tmp_path, "gateway")
    (tmp_path / "gateway.key").chmod(0o644)
    file = tmp_path / "gateway.yaml"
    file.write_text("version: 1\nlisteners:\n  - bind: 127.0.0.1:0\n    tls: {cert: gateway.crt, key: gateway.key}\n")
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "run", "-c", str(file)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    problem = f"{file}:4: listeners[0].tls.key: {tmp_path}/gateway.key has mode 0644: a private key needs 0640 or less"
    assert problem in done.stderr
