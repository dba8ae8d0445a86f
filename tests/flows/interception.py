"""What stories of inspected tunnels stand on: an authority of ours, one of the origins', and a gateway with both."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.intercept.authority import create_authority
from tests.helpers.dns_server import DnsServer
from tests.helpers.gateway import GatewayProcess
from tests.helpers.tls_client import TlsClient, client_context
from tests.helpers.tls_origin import Issuer, TlsOrigin

HOST = "origin.test"


@dataclass
class Bed:
    """One gateway that inspects; `ca` is what its clients are given."""

    folder: Path
    dns: DnsServer
    origin: TlsOrigin
    issuer: Issuer
    gateway: GatewayProcess
    ca: Path

    def client(self, host: str = HOST, *alpn: str, port: int | None = None, sni: str | None = None) -> TlsClient:
        """Connected, with both hands shaken."""
        return TlsClient(self.gateway.port, f"{host}:{port or self.origin.port}", client_context(self.ca, *alpn), sni)


def make_authority(folder: Path, now: float) -> dict[str, str]:
    """Two files, as gateway.yaml's `inspection` names them."""
    certificate, key = create_authority("tests of inspection", now)
    (folder / "ca.crt").write_bytes(certificate)
    (folder / "ca.key").write_bytes(key)
    (folder / "ca.key").chmod(0o600)
    return {"ca_cert": "ca.crt", "ca_key": "ca.key"}


@contextmanager
def inspecting(
    folder: Path,
    origin: TlsOrigin,
    issuer: Issuer,
    now: float,
    rules: list[dict[str, Any]],
    clients: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
    **settings: Any,
) -> Iterator[Bed]:
    """`rules` get the origin's port and authority unless they say otherwise; `clients` are the policy's groups. The
    rest as `GatewayProcess` has it."""
    (folder / "origins.pem").write_bytes(issuer.bundle.read_bytes())
    usual = {"ports": [origin.port], "protocol": "tls", "inspect": {"upstream_ca": "origins.pem"}}
    with DnsServer() as dns:
        written = [deepcopy({**usual, **rule}) for rule in rules]
        for rule in written:
            for host in rule["hosts"]:
                dns.answer(host.lstrip("*."), "127.0.0.1")
        inspection = make_authority(folder, now)
        said = {"resolver": {"servers": [f"127.0.0.1:{dns.port}"]}, "inspection": inspection, **settings}
        policy = {"rules": written, "clients": dict(clients or {})}
        with GatewayProcess(folder, policy, said, environ, prefix) as gateway:
            yield Bed(folder, dns, origin, issuer, gateway, folder / "ca.crt")


def problem(body: bytes) -> Mapping[str, Any]:
    """A problem document."""
    said = json.loads(body)
    assert isinstance(said, dict)
    return said
