"""One gateway with every kind of entrance, and who comes in by them."""

import contextlib
import copy
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from gateway.model.reasons import Reason
from tests.helpers.certificates import DAY, Authority, Issued, client_context, pem
from tests.helpers.dns_server import DnsServer
from tests.helpers.gateway import GatewayProcess, Record
from tests.helpers.origins import Origin, echo
from tests.helpers.raw_client import RawClient, status_of

LOAD_BALANCER = "127.0.0.2"
"""The address from which a PROXY header is required."""
SVID = "spiffe://cluster.local/ns/payments/sa/api"
REASONS = {
    Reason.PLAIN_ON_TLS_PORT,
    Reason.TLS_HANDSHAKE_FAILED,
    Reason.TLS_HANDSHAKE_TIMEOUT,
    Reason.CLIENT_CERTIFICATE_MISSING,
    Reason.CLIENT_CERTIFICATE_INVALID,
    Reason.PROXY_HEADER_MISSING,
    Reason.PROXY_HEADER_MALFORMED,
    Reason.PROXY_HEADER_REFUSED,
}
"""Read from records by test_tls_listener.py and test_proxy_protocol.py."""
NAMES = ("open", "payments", "pods", "told", "late")


@dataclass
class Identities:
    """Client certificates, most of them by an intermediate authority that the gateway is not told of."""

    root: Authority = field(default_factory=lambda: Authority("clients"))
    stranger: Authority = field(default_factory=lambda: Authority("strangers"))

    def __post_init__(self) -> None:
        self.intermediate = Authority("workloads", self.root)
        self.api = self.intermediate.leaf(uris=[SVID])
        self.named = self.intermediate.leaf("batch", dns=["batch.example", "other.example"])
        self.common = self.root.leaf("plain old name")
        self.expired = self.intermediate.leaf("late", valid=(-2 * DAY, -timedelta(minutes=1)))
        self.early = self.intermediate.leaf("early", valid=(DAY, 2 * DAY))
        self.revoked = self.intermediate.leaf("fired")
        self.foreign = self.stranger.leaf(uris=[SVID])
        self.for_servers = self.intermediate.server("server.example")
        self.two_uris = self.intermediate.leaf(uris=[SVID, "spiffe://cluster.local/ns/other/sa/x"])
        self.no_path = self.intermediate.leaf(uris=["spiffe://cluster.local"])

    def crl(self, *more: Issued) -> bytes:
        """Of both authorities."""
        return pem(self.root.revocation_list(), self.intermediate.revocation_list(self.revoked, *more))


@dataclass
class Bed:
    folder: Path
    dns: DnsServer
    origin: Origin
    gateway: GatewayProcess
    servers: Authority
    clients: Identities

    def client(self, listener: str, source: str | None = None) -> RawClient:
        return RawClient(self.gateway.ports[listener], source=source)

    def at(self, host: str) -> str:
        """The origin under that name."""
        return f"{host}.test:{self.origin.port}"

    def context(self, who: Issued | None = None, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        """Trusts the gateway's certificate, and shows that of `who`."""
        context = client_context(self.servers, who, self.folder)
        context.set_alpn_protocols(["h2", "http/1.1"])
        if version is not None:
            context.minimum_version = context.maximum_version = version
        return context

    def left(self) -> tuple[int, int, int]:
        """What has left the gateway so far: DNS queries, connections, payload."""
        return len(self.dns.queries), self.origin.settled(), len(self.origin.received)

    @contextlib.contextmanager
    def one_record(self) -> Iterator[Record]:
        """What happens inside leaves exactly one record; it is filled in at the end."""
        seen = len(self.gateway.quiet())
        record: Record = {}
        yield record
        [only] = self.gateway.quiet()[seen:]
        record |= only

    @contextlib.contextmanager
    def refused(self) -> Iterator[Record]:
        """The same, and nothing leaves the gateway."""
        left = self.left()
        with self.one_record() as record:
            yield record
        assert self.left() == left
        assert (record["bytes_up"], record["bytes_down"]) == (0, 0)


@contextlib.contextmanager
def open_bed(folder: Path, https_port: int = 1, **more: object) -> Iterator[Bed]:
    """`https_port` is that of another origin on 127.0.0.1, which real clients ask for; `more` are settings."""
    servers, clients = Authority("servers"), Identities()
    servers.server("localhost", addresses=["127.0.0.1"]).write(folder, "gateway")
    (folder / "clients.pem").write_bytes(pem(clients.root.certificate))
    (folder / "clients.crl").write_bytes(clients.crl())
    with DnsServer() as dns, Origin(echo) as origin:
        for name in NAMES:
            dns.answer(f"{name}.test", "127.0.0.1")
        settings = {
            "listeners": _listeners(),
            "resolver": {"servers": [f"127.0.0.1:{dns.port}"]},
            "timeouts": {"head": "2s", "tls_handshake": "2s"},
            **more,
        }
        with GatewayProcess(folder, _policy(origin.port, https_port), settings) as gateway:
            yield Bed(folder, dns, origin, gateway, servers, clients)


def _listeners() -> list[dict[str, object]]:
    own = {"cert": "gateway.crt", "key": "gateway.key"}
    asked = {**own, "client_ca": "clients.pem", "crl": "clients.crl"}
    trusted = {"trusted": [f"{LOAD_BALANCER}/32"]}
    entrances: dict[str, dict[str, object]] = {
        "proxy": {},
        "lb": {"proxy_protocol": trusted},
        "tls": {"tls": own},
        "mtls": {"tls": asked},
        "strict": {"tls": {**asked, "client_cert": "required"}},
        "all": {"tls": asked, "proxy_protocol": trusted},
    }
    listeners = [{"name": name, "bind": "127.0.0.1:0", **entrance} for name, entrance in entrances.items()]
    return [copy.deepcopy(listener) for listener in listeners]  # what is shared would become an anchor in the file


def _policy(port: int, https_port: int) -> dict[str, object]:
    def rule(name: str, **keys: object) -> dict[str, object]:
        return {"name": name, "hosts": [f"{name}.test"], "ports": [port], "protocol": "tcp", **keys}

    return {
        "clients": {
            "payments": {"match": [{"spiffe": "spiffe://cluster.local/ns/payments/*"}]},
            "pods": {"match": [{"cidr": "10.7.0.0/16"}]},
        },
        "rules": [
            rule("open"),
            rule("payments", clients=["payments"]),
            rule("pods", clients=["pods"]),
            rule("told", proxy_protocol="v2"),
            rule("late", proxy_protocol="v1", protocol="tls"),
            {"name": "site", "cidrs": ["127.0.0.1/32"], "ports": [https_port], "protocol": "tls"},
        ],
    }


def connect(client: RawClient, authority: str, *headers: str) -> int:
    """The status that a CONNECT is answered with."""
    return status_of(client.connect(authority, *headers))


def exchange(client: RawClient, data: bytes = b"ping") -> None:
    """The origin sends back what it got; then both sides end."""
    client.send(data)
    assert client.read(len(data)) == data
    client.socket.close()
