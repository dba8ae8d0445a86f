"""Inspected tunnels as an operator has them: settings that are refused, entrances before them, bulk, many workers."""

import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.flows.interception import HOST, Bed, inspecting, make_authority
from tests.helpers.http_origin import Got, Talk
from tests.helpers.raw_client import RawClient, status_of
from tests.helpers.responses import read_response
from tests.helpers.tls_client import HelloInMemory, TlsClient, client_context
from tests.helpers.tls_origin import Issuer, TlsOrigin

LOAD_BALANCER = "127.0.0.2"
BULK = int(os.environ.get("INSPECTION_BULK_MIB", "64")) << 20
ROOM = 32 << 20
"""Bytes of memory that inspected bulk may take more than none."""


def _check(folder: Path, gateway: dict[str, object], rule: dict[str, object]) -> str:
    """What `check` says of these two files."""
    (folder / "gateway.yaml").write_text(yaml.safe_dump({"version": 1, "policy": "policy.yaml", **gateway}))
    (folder / "policy.yaml").write_text(
        yaml.safe_dump({"version": 1, "rules": [{"name": "site", "hosts": [HOST], **rule}]})
    )
    command = [sys.executable, "-m", "gateway", "check", str(folder / "gateway.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_rule_that_inspects_needs_an_authority(tmp_path: Path) -> None:
    said = _check(tmp_path, {}, {"inspect": {}})
    assert re.search(r"policy\.yaml:\d+: rules\[0\]\.inspect: needs an authority: set inspection", said)


def test_an_authority_whose_key_everybody_may_read_is_refused(tmp_path: Path) -> None:
    inspection = make_authority(tmp_path, time.time())
    (tmp_path / "ca.key").chmod(0o644)
    said = _check(tmp_path, {"inspection": inspection}, {"inspect": {}})
    assert re.search(r"gateway\.yaml:\d+: inspection\.ca_key: .*ca\.key has mode 0644", said)


def test_an_authority_that_cannot_sign_is_refused(tmp_path: Path) -> None:
    inspection = make_authority(tmp_path, time.time() - 11 * 365 * 86400)
    assert "the certificate expired on" in _check(tmp_path, {"inspection": inspection}, {"inspect": {}})


def test_an_upstream_ca_must_be_a_certificate(tmp_path: Path) -> None:
    inspection = make_authority(tmp_path, time.time())
    (tmp_path / "corp.pem").write_text("nothing\n")
    said = _check(tmp_path, {"inspection": inspection}, {"inspect": {"upstream_ca": "corp.pem"}})
    assert re.search(r"rules\[0\]\.inspect\.upstream_ca: .*corp\.pem holds no CA certificate in PEM form", said)


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """Behind a load balancer on one listener, inside TLS on the other."""
    folder = tmp_path_factory.mktemp("operation")
    issuer = Issuer(folder)
    certificate, key = issuer.files("proxy.test")
    listeners = [
        {"name": "proxy", "bind": "127.0.0.1:0", "proxy_protocol": {"trusted": [f"{LOAD_BALANCER}/32"]}},
        {"name": "secure", "bind": "127.0.0.1:0", "tls": {"cert": str(certificate), "key": str(key)}},
    ]
    with TlsOrigin(context=issuer.context(HOST)) as origin:
        requests = [{"methods": ["GET"], "paths": ["/allowed/**"]}, {"methods": ["POST"], "paths": ["/bulk"]}]
        requests.append({"methods": ["GET"], "paths": ["/bulk"]})
        inspect = {"upstream_ca": "origins.pem", "requests": requests}
        rules = [{"name": "site", "hosts": [HOST], "inspect": inspect}]
        with inspecting(folder, origin, issuer, time.time(), rules, listeners=listeners) as bed:
            yield bed


def test_header_connect_and_hello_may_come_in_one_segment(bed: Bed) -> None:
    authority = f"{HOST}:{bed.origin.port}"
    hello = HelloInMemory(client_context(bed.ca), HOST)
    request = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode()
    with RawClient(bed.gateway.port, source=LOAD_BALANCER) as client:
        client.send(b"PROXY TCP4 10.1.2.3 10.0.0.1 4711 3128\r\n" + request + hello.hello)
        assert status_of(client.read_head()) == 200
        hello.finish(client.socket)
        hello.send(client.socket, f"GET /allowed/one HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
        assert hello.read_until(client.socket, b"hello\n").startswith(b"HTTP/1.1 200")
    [record] = bed.gateway.wait_for_records(1, path="/allowed/one")
    assert (record["client_address"], record["status"]) == ("10.1.2.3", 200)


def test_tls_may_stand_inside_the_tls_of_a_listener(bed: Bed) -> None:
    authority = f"{HOST}:{bed.origin.port}"
    hello = HelloInMemory(client_context(bed.ca), HOST)
    outer = client_context(bed.issuer.bundle)
    with RawClient(bed.gateway.ports["secure"]) as client:
        client.socket = outer.wrap_socket(client.socket, server_hostname="proxy.test")
        assert status_of(client.connect(authority, early=hello.hello)) == 200
        hello.finish(client.socket)
        for number in range(3):
            hello.send(client.socket, f"GET /allowed/inner/{number} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
            assert hello.read_until(client.socket, b"hello\n").startswith(b"HTTP/1.1 200")
    [record] = bed.gateway.wait_for_records(1, path="/allowed/inner/2")
    [connection] = bed.gateway.wait_for_records(1, connection_id=record["connection_id"], requests=3)
    assert (connection["listener"], connection["inspected"]) == ("secure", True)


def test_a_client_may_reject_our_certificate_inside_the_tls_of_a_listener(bed: Bed) -> None:
    hello = HelloInMemory(client_context(None), HOST)
    with RawClient(bed.gateway.ports["secure"]) as client:
        client.socket = client_context(bed.issuer.bundle).wrap_socket(client.socket, server_hostname="proxy.test")
        assert status_of(client.connect(f"{HOST}:{bed.origin.port}", early=hello.hello)) == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            hello.finish(client.socket)
    assert bed.gateway.wait_for_records(1, listener="secure", reason="client_rejected_certificate")


def test_requests_are_judged_inside_tls_and_the_origin_sees_no_denied_one(bed: Bed) -> None:
    authority, requests = f"{HOST}:{bed.origin.port}", len(bed.origin.requests)
    with bed.client() as client:
        client.ask(authority, "/other")
        assert status_of(read_response(client)[0]) == 403
        client.ask(authority, "/allowed/x", "Content-Length: 0", method="DELETE")
        assert status_of(read_response(client)[0]) == 403
        client.ask(authority, "/allowed/y")
        assert status_of(read_response(client)[0]) == 200
    assert [got.path for got in bed.origin.requests[requests:]] == ["/allowed/y"]


def _resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
def test_bulk_in_both_directions_needs_no_memory(bed: Bed) -> None:
    """64 MiB each way; INSPECTION_BULK_MIB says otherwise."""
    piece, most, pid = bytes(1 << 20), 0, bed.gateway.process.pid

    def bulk(talk: Talk, got: Got) -> None:
        if got.method == "POST":
            left = int(got.values("content-length")[0])
            while left > 0 and (data := talk.read_some()):
                left -= len(data)
            talk.reply()
            return
        talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BULK)
        for _ in range(BULK >> 20):
            talk.send(piece)

    bed.origin.answers = {"/bulk": bulk}
    authority, before = f"{HOST}:{bed.origin.port}", _resident(pid)
    with bed.client() as client:
        client.ask(authority, "/bulk", f"Content-Length: {BULK}", method="POST")
        for _ in range(BULK >> 20):
            client.send(piece)
            most = max(most, _resident(pid))
        assert status_of(read_response(client)[0]) == 200
        client.ask(authority, "/bulk")
        assert status_of(client.read_head()) == 200
        got = 0
        while got < BULK:
            got += len(client.socket.recv(1 << 20))
            most = max(most, _resident(pid))
    records = bed.gateway.wait_for_records(2, path="/bulk")
    assert {(record["bytes_up"], record["bytes_down"]) for record in records} == {(BULK, 6), (0, BULK)}
    assert most - before < ROOM


def test_every_worker_signs_and_a_new_authority_reaches_all_of_them(tmp_path: Path) -> None:
    issuer = Issuer(tmp_path)
    with TlsOrigin(context=issuer.context(HOST)) as origin:
        rules = [{"name": "site", "hosts": [HOST]}]
        with inspecting(tmp_path, origin, issuer, time.time(), rules, workers=2) as bed:
            first = bed.ca.read_bytes()
            _fetch_often(bed, first)
            make_authority(tmp_path, time.time())
            second = bed.ca.read_bytes()
            os.kill(bed.gateway.process.pid, signal.SIGHUP)
            bed.gateway.wait_for_line("policy generation 2 is in force")
            _fetch_often(bed, second)
            assert bed.gateway.admin("/ca.pem")[1].encode().strip() == second.strip()
            (tmp_path / "ca.key").chmod(0o604)
            os.kill(bed.gateway.process.pid, signal.SIGHUP)
            assert "has mode 0604" in bed.gateway.wait_for_line("inspection.ca_key")
            _fetch_often(bed, second)
            key = (tmp_path / "ca.key").read_text().splitlines()[1]
            assert key not in "\n".join(bed.gateway.stderr_lines) + bed.gateway.log_file.read_text()


def _fetch_often(bed: Bed, certificate: bytes) -> None:
    """Over enough connections that both workers have some."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=certificate.decode())
    for number in range(12):
        with TlsClient(bed.gateway.port, f"{HOST}:{bed.origin.port}", context) as client:
            client.ask(f"{HOST}:{bed.origin.port}", f"/{number}")
            assert status_of(read_response(client)[0]) == 200
