"""Every client of the matrix, given nothing but the CA bundle, fetches a real thing from nginx where TLS is inspected,
and is refused by path and by method. The last line printed is `N clients, 0 skipped`.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.clients.inspected import INSPECTED_CLIENTS, WEBSOCKET, Nginx, WebSocketEcho, make_npm_registry
from tests.clients.matrix import ClientProgram, Task
from tests.flows.interception import make_authority
from tests.helpers.authority import TestAuthority
from tests.helpers.dns_server import DnsServer
from tests.helpers.file_origin import HELLO, make_site
from tests.helpers.gateway import GatewayProcess
from tests.helpers.ports import free_port
from tests.helpers.requirements import unavailable

pytestmark = [pytest.mark.clients, pytest.mark.slow]

ALLOWED, BY_PATH, BY_METHOD = "allowed.test", "bypath.test", "bymethod.test"

rows: dict[str, str] = {}


@dataclass
class Bed:
    """One nginx, one WebSocket server, one gateway; `bundle` is what the admin port gives to clients."""

    nginx: Nginx
    echo: WebSocketEcho
    gateway: GatewayProcess
    bundle: Path

    def task(self, folder: Path, host: str, port: int) -> Task:
        """An errand in a fresh folder."""
        folder.mkdir(parents=True)
        return Task(f"https://{host}:{port}", self.gateway.port, self.bundle, folder)


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("inspected")
    authority, hosts, port = TestAuthority(folder), (ALLOWED, BY_PATH, BY_METHOD), free_port()
    make_site(folder / "site")
    make_npm_registry(folder / "site", f"https://{ALLOWED}:{port}")
    files = authority.write_server_files(folder, *hosts)
    with (
        DnsServer() as dns,
        Nginx(folder, folder / "site", *files, port) as nginx,
        WebSocketEcho(authority.server_context(*hosts)) as echo,
    ):
        requests: dict[str, list[dict[str, Any]]] = {
            ALLOWED: [{"methods": ["GET", "HEAD"], "paths": ["/**"]}],
            BY_PATH: [{"methods": ["GET"], "paths": ["/elsewhere/**"]}],
            BY_METHOD: [{"methods": ["POST"]}],
        }
        rules = []
        for host, allowed in requests.items():
            dns.answer(host, "127.0.0.1")
            inspect = {"upstream_ca": authority.bundle.name, "requests": allowed}
            rules.append(
                {"name": host, "hosts": [host], "ports": [port, echo.port], "protocol": "tls", "inspect": inspect}
            )
        settings = {
            "resolver": {"servers": [f"127.0.0.1:{dns.port}"]},
            "inspection": make_authority(folder, time.time()),
        }
        with GatewayProcess(folder, {"rules": rules}, settings) as gateway:
            bundle = folder / "bundle.pem"
            bundle.write_text(gateway.admin("/ca-bundle.pem")[1])
            yield Bed(nginx, echo, gateway, bundle)


@pytest.mark.parametrize("client", INSPECTED_CLIENTS, ids=[client.name for client in INSPECTED_CLIENTS])
def test_a_real_client_is_inspected_and_refused_by_path_and_by_method(
    bed: Bed, client: ClientProgram, tmp_path: Path
) -> None:
    status, brought, said = client.run(bed.task(tmp_path / "allowed", ALLOWED, bed.nginx.port))
    assert (status, brought) == (0, HELLO), said
    bed.gateway.quiet()
    seen = bed.gateway.records()
    assert all(record["inspected"] for record in seen if "exchange_id" not in record)
    for host in (BY_PATH, BY_METHOD):
        reached = len(bed.nginx.requests)
        status, _, said = client.run(bed.task(tmp_path / host, host, bed.nginx.port))
        assert status != 0
        assert "403" in said or "Egress denied" in said or "request_denied" in said, said
        bed.gateway.quiet()
        refused = [record for record in bed.gateway.records() if record["host"] == host and "exchange_id" in record]
        assert {(record["decision"], record["reason"], record["status"]) for record in refused} == {
            ("deny", "request_denied", 403)
        }
        assert len(bed.nginx.requests) == reached
    rows[client.name] = f"{client.name:<30}{client.version():<12}allowed  denied by path  denied by method"


def test_a_web_socket_is_relayed_and_refused_before_its_101(bed: Bed, tmp_path: Path) -> None:
    status, brought, said = WEBSOCKET.run(bed.task(tmp_path / "allowed", ALLOWED, bed.echo.port))
    assert (status, brought) == (0, HELLO), said
    reached = bed.echo.connections
    for host in (BY_PATH, BY_METHOD):
        status, _, said = WEBSOCKET.run(bed.task(tmp_path / host, host, bed.echo.port))
        assert status != 0
        assert "403" in said, said
    assert bed.echo.connections == reached
    rows[WEBSOCKET.name] = f"{WEBSOCKET.name:<30}{WEBSOCKET.version():<12}allowed  denied by path  denied by method"


def test_no_client_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    names = [client.name for client in (*INSPECTED_CLIENTS, WEBSOCKET)]
    missing = [name for name in names if name not in rows]
    with capsys.disabled():
        print("\n" + "\n".join(rows.values()) + f"\n{len(rows)} clients, {len(missing)} skipped")
    if missing:
        unavailable(f"these did not run to their end: {', '.join(missing)}")
