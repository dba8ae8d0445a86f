"""TLS 1.3 lets a server ask for another ClientHello: an honest client's passes, and another name in it does not."""

import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.model.reasons import Reason
from gateway.net.tls.second_hello import RETRY
from tests.helpers.dns_server import DnsServer
from tests.helpers.gateway import GatewayProcess
from tests.helpers.raw_client import RawClient, status_of
from tests.helpers.tls_client import HelloInMemory, client_context
from tests.helpers.tls_origin import Issuer, TlsOrigin

REASONS = frozenset({Reason.SNI_MISMATCH})

ALLOWED, OTHER = "allowed.test", "other.test"
LOOSE = "loose.test"
"""Where the names in TLS are not compared."""


@dataclass
class Bed:
    gateway: GatewayProcess
    origin: TlsOrigin
    issuer: Issuer
    named: list[str | None] = field(default_factory=list)

    def client(self, host: str = ALLOWED) -> RawClient:
        made = RawClient(self.gateway.port)
        assert status_of(made.connect(f"{host}:{self.origin.port}")) == 200
        return made


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """The origin takes one curve only, for which no client sends a key unasked."""
    folder = tmp_path_factory.mktemp("second-hello")
    issuer = Issuer(folder)
    context = issuer.context(ALLOWED, OTHER)
    context.set_ecdh_curve("secp384r1")
    rules = [
        {"name": "allowed", "hosts": [ALLOWED], "ports": "any", "protocol": "tls"},
        {"name": "loose", "hosts": [LOOSE], "ports": "any", "protocol": "tls", "sni": "any"},
    ]
    with DnsServer() as dns, TlsOrigin(context=context) as origin:
        dns.answer(ALLOWED, "127.0.0.1")
        dns.answer(LOOSE, "127.0.0.1")
        settings = {"resolver": {"servers": [f"127.0.0.1:{dns.port}"]}}
        with GatewayProcess(folder, {"rules": rules}, settings) as gateway:
            bed = Bed(gateway, origin, issuer)
            context.sni_callback = lambda _, name, __: bed.named.append(name)
            yield bed


def test_a_hello_that_is_asked_for_again_passes(bed: Bed) -> None:
    hello = HelloInMemory(client_context(bed.issuer.bundle), ALLOWED)
    with bed.client() as client:
        client.send(hello.hello)
        hello.finish(client.socket)
        hello.send(client.socket, b"GET /again HTTP/1.1\r\nHost: allowed.test\r\n\r\n")
        assert hello.read_until(client.socket, b"hello\n").startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(("host", "rule"), [(ALLOWED, "allowed"), (LOOSE, "loose")])
def test_another_name_in_the_second_hello_does_not_reach_the_server(bed: Bed, host: str, rule: str) -> None:
    first, second = (Hello(bed.issuer.bundle, name) for name in (ALLOWED, OTHER))
    named = len(bed.named)
    with bed.client(host) as client:
        client.send(first.said)
        retry = client.socket.recv(65536)
        assert retry[11:43] == RETRY
        client.send(second.asked_again(retry))
        with pytest.raises(ConnectionResetError):
            client.socket.recv(65536)
    [record] = bed.gateway.wait_for_records(1, reason=Reason.SNI_MISMATCH, host=host)
    assert (record["decision"], record["sni"], record["rule"]) == ("deny", ALLOWED, f"policy.yaml#{rule}")
    assert record["detail"] == "other.test in the second ClientHello"
    bed.origin.origin.settled()
    assert OTHER not in bed.named[named:]


class Hello:
    """A client that can be told of a retry which was meant for another one."""

    def __init__(self, ca: Path, name: str) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = client_context(ca).wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self.said = self._step()

    def asked_again(self, retry: bytes) -> bytes:
        """What it answers. The retry echoes the other client's session identifier, which is put right."""
        own = self.said[44:76]
        self._incoming.write(retry[:44] + own + retry[76:])
        return self._step()

    def _step(self) -> bytes:
        with pytest.raises(ssl.SSLWantReadError):
            self._tls.do_handshake()
        return self._outgoing.read()


def test_without_the_gateway_the_server_would_take_it(bed: Bed) -> None:
    """The attack is real: this server goes by the name of the second hello."""
    first, second = (Hello(bed.issuer.bundle, name) for name in (ALLOWED, OTHER))
    named = len(bed.named)
    with socket.create_connection(("127.0.0.1", bed.origin.port), timeout=10) as client:
        client.sendall(first.said)
        client.sendall(second.asked_again(client.recv(65536)))
        deadline = time.monotonic() + 10
        client.recv(65536)
        while OTHER not in bed.named[named:]:
            assert time.monotonic() < deadline, bed.named
            time.sleep(0.01)
