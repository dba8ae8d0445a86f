"""Destinations that do not prove who they are: refused each with its reason, told to the client inside its own TLS."""

import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.model.reasons import Reason
from tests.flows.interception import Bed, inspecting, problem
from tests.helpers.origins import Origin, Serve, Visit
from tests.helpers.raw_client import status_of
from tests.helpers.responses import read_response
from tests.helpers.tls_origin import Issuer, TlsOrigin

CERTIFICATE, PROTOCOL, ALERT = "tls_certificate_error", "tls_protocol_error", "tls_alert_received"
TIMEOUT, TERMINATED = "connection_timeout", "connection_terminated"

Contexts = dict[str, Callable[[Issuer, Path], ssl.SSLContext]]


def _other(issuer: Issuer, folder: Path) -> ssl.SSLContext:
    return Issuer(folder, "strangers").context("unknown-ca.test")


def _old(issuer: Issuer, folder: Path) -> ssl.SSLContext:
    context = issuer.context("old.test")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
    return context


def _weak_suites(issuer: Issuer, folder: Path) -> ssl.SSLContext:
    context = issuer.context("weak-suites.test", key=rsa.generate_private_key(65537, 2048))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES128-SHA:@SECLEVEL=0")
    return context


CONTEXTS: Contexts = {
    "expired": lambda issuer, _: issuer.context("expired.test", days=(-30, -1)),
    "early": lambda issuer, _: issuer.context("early.test", days=(1, 30)),
    "wrong-name": lambda issuer, _: issuer.context("another.test"),
    "no-san": lambda issuer, _: issuer.context(common_name="no-san.test"),
    "self-signed": lambda issuer, _: issuer.context("self-signed.test", self_signed=True),
    "unknown-ca": _other,
    "weak-key": lambda issuer, _: issuer.context("weak-key.test", key=rsa.generate_private_key(65537, 1024)),
    "weak-digest": lambda issuer, _: issuer.sha1_context("weak-digest.test"),
    "wrong-purpose": lambda issuer, _: issuer.context("wrong-purpose.test", purpose=ExtendedKeyUsageOID.CLIENT_AUTH),
    "old": _old,
    "weak-suites": _weak_suites,
}

EXPECTED: dict[str, tuple[set[Reason], int, set[str]]] = {
    "expired": ({Reason.UPSTREAM_CERTIFICATE_EXPIRED}, 502, {CERTIFICATE}),
    "early": ({Reason.UPSTREAM_CERTIFICATE_NOT_YET_VALID}, 502, {CERTIFICATE}),
    "wrong-name": ({Reason.UPSTREAM_CERTIFICATE_NAME_MISMATCH}, 502, {CERTIFICATE}),
    "no-san": ({Reason.UPSTREAM_CERTIFICATE_NAME_MISMATCH}, 502, {CERTIFICATE}),
    "self-signed": ({Reason.UPSTREAM_CERTIFICATE_SELF_SIGNED}, 502, {CERTIFICATE}),
    "unknown-ca": ({Reason.UPSTREAM_CERTIFICATE_UNTRUSTED}, 502, {CERTIFICATE}),
    "weak-key": ({Reason.UPSTREAM_CERTIFICATE_WEAK}, 502, {CERTIFICATE}),
    "weak-digest": ({Reason.UPSTREAM_CERTIFICATE_WEAK}, 502, {CERTIFICATE}),
    "wrong-purpose": ({Reason.UPSTREAM_CERTIFICATE_INVALID}, 502, {CERTIFICATE}),
    "old": ({Reason.UPSTREAM_TLS_FAILED, Reason.UPSTREAM_TLS_ALERT}, 502, {PROTOCOL, ALERT}),
    "weak-suites": ({Reason.UPSTREAM_TLS_ALERT}, 502, {ALERT}),
    "no-tls": ({Reason.UPSTREAM_TLS_FAILED}, 502, {PROTOCOL}),
    "unknown-name": ({Reason.UPSTREAM_TLS_ALERT}, 502, {ALERT}),
    "no-protocol": ({Reason.UPSTREAM_TLS_ALERT}, 502, {ALERT}),
    "closing": ({Reason.CONNECTION_TERMINATED}, 502, {TERMINATED}),
    "leaving": ({Reason.CONNECTION_TERMINATED}, 502, {TERMINATED}),
    "silent": ({Reason.UPSTREAM_TLS_TIMEOUT}, 504, {TIMEOUT}),
}

REASONS = frozenset().union(*(reasons for reasons, _, _ in EXPECTED.values()))


@dataclass
class Ports:
    """Where each origin listens, and what it has read of any request."""

    bed: Bed
    of: dict[str, int]
    read: Callable[[str], bytes]


def _closing(connection: socket.socket, visit: Visit) -> None:
    connection.recv(65536)


def _saying(*alert: int) -> Serve:
    def serve(connection: socket.socket, visit: Visit) -> None:
        connection.recv(65536)
        connection.sendall(bytes((21, 3, 3, 0, 2, *alert)))

    return serve


def _no_tls(connection: socket.socket, visit: Visit) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    with contextlib.suppress(OSError):
        connection.recv(65536)


def _silent(connection: socket.socket, visit: Visit) -> None:
    while connection.recv(65536):
        pass


WITHOUT_TLS: dict[str, Serve] = {
    "no-tls": _no_tls,
    "closing": _closing,
    "silent": _silent,
    "unknown-name": _saying(2, 112),  # RFC 8446 section 6: fatal, unrecognized_name
    "no-protocol": _saying(2, 120),
    "leaving": _saying(1, 0),  # close_notify
}


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ports]:
    folder = tmp_path_factory.mktemp("destinations")
    issuer = Issuer(folder)
    with ExitStack() as stack:
        origins: dict[str, Origin] = {}
        for name, make in CONTEXTS.items():
            tls = stack.enter_context(TlsOrigin(context=make(issuer, folder)))
            origins[name] = tls.origin
        for name, serve in WITHOUT_TLS.items():
            origins[name] = stack.enter_context(Origin(serve))
        rules = [
            {"name": name, "hosts": [f"{name}.test"], "ports": [origin.port], "timeouts": {"tls_handshake": "1s"}}
            for name, origin in origins.items()
        ]
        good = stack.enter_context(TlsOrigin(context=issuer.context("good.test")))
        bed = stack.enter_context(inspecting(folder, good, issuer, time.time(), rules))
        yield Ports(bed, {name: origin.port for name, origin in origins.items()}, lambda name: origins[name].received)


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1 is deprecated:DeprecationWarning")
def test_a_destination_that_does_not_prove_itself_is_a_502_inside_the_clients_tls(ports: Ports, name: str) -> None:
    reasons, expected, tokens = EXPECTED[name]
    host, gateway = f"{name}.test", ports.bed.gateway
    with ports.bed.client(host, "http/1.1", port=ports.of[name]) as client:
        client.ask(f"{host}:{ports.of[name]}", f"/{name}", "Accept: application/json")
        head, body = read_response(client)
    assert status_of(head) == expected
    said = problem(body)
    assert said["reason"] in reasons
    assert any(f"error={token}".encode() in head for token in tokens), head
    [exchange] = gateway.wait_for_records(1, path=f"/{name}")
    assert (exchange["reason"], exchange["status"]) == (said["reason"], expected)
    [connection] = gateway.wait_for_records(1, connection_id=exchange["connection_id"], requests=1)
    assert (connection["reason"], connection["inspected"]) == (said["reason"], True)
    assert "upstream_tls_version" not in connection
    assert b"GET" not in ports.read(name)


def test_a_second_request_tries_the_destination_again(ports: Ports) -> None:
    port, gateway = ports.of["expired"], ports.bed.gateway
    with ports.bed.client("expired.test", port=port) as client:
        for number in range(2):
            client.ask(f"expired.test:{port}", f"/again/{number}")
            assert status_of(read_response(client)[0]) == 502
    [second] = gateway.wait_for_records(1, path="/again/1")
    assert second["reason"] == Reason.UPSTREAM_CERTIFICATE_EXPIRED


def test_a_request_for_another_host_is_told_of_that_first(ports: Ports) -> None:
    port = ports.of["expired"]
    with ports.bed.client("expired.test", port=port) as client:
        client.ask(f"early.test:{port}", "/other")
        assert status_of(read_response(client)[0]) == 421
