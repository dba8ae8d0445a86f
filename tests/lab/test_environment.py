"""The block that `egress-gateway env` prints is all that a workload needs: in a pod whose only way out is the gateway,
every client of the matrix fetches through inspection with it. The last line printed is `N clients, 0 skipped`.
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.inspected import WEBSOCKET, Nginx, WebSocketEcho, make_npm_registry
from tests.clients.matrix import SECONDS, ClientProgram, Command, Task, java_classes
from tests.clients.told import TOLD_CLIENTS
from tests.flows.interception import make_authority
from tests.helpers.authority import TestAuthority
from tests.helpers.dns_server import DnsServer
from tests.helpers.file_origin import HELLO, make_site
from tests.helpers.gateway import GatewayProcess
from tests.helpers.requirements import require, unavailable
from tests.lab.network import HOME, NAME_SERVER, Network, network

pytestmark = [pytest.mark.privileged, pytest.mark.clients, pytest.mark.slow]

HOST, PORT, PROXY = "allowed.test", 443, 3128
GATEWAY = f"http://10.77.1.1:{PROXY}"
AT_ONCE = 4
NOTHING = "/dev/null"


@dataclass(frozen=True)
class Bed:
    """A pod without DNS, without a route around the gateway, and with the files that a volume would bring."""

    lab: Network
    gateway: GatewayProcess
    nginx: Nginx
    echo: WebSocketEcho
    bundle: Path
    block: Path

    def run(
        self, command: Command, folder: Path, block: Path | str | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """In the pod, with no variable but these and those of the block."""
        environ = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(folder), "GIT_TERMINAL_PROMPT": "0"}
        told = ["sh", "-c", '. "$0" && exec "$@"', str(block or self.block)]
        words = [*self.lab.pod1.prefix, *told, *map(str, command)]
        return subprocess.run(words, env=environ, cwd=folder, capture_output=True, text=True, timeout=SECONDS)


def _env(*options: str) -> str:
    command = [sys.executable, "-m", "gateway", "env", "--proxy", GATEWAY, "--cluster-domain", "", *options]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("environment")
    authority = TestAuthority(folder)
    make_site(folder / "site")
    make_npm_registry(folder / "site", f"https://{HOST}")
    files = authority.write_server_files(folder, HOST)
    inspect = {"upstream_ca": authority.bundle.name, "requests": [{"methods": ["GET", "HEAD"], "paths": ["/**"]}]}
    with ExitStack() as stack:
        lab = stack.enter_context(network())
        for family in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            lab.gateway.set_sysctl(family, 0)
        with lab.world.entered():
            dns = stack.enter_context(DnsServer(NAME_SERVER, 53))
            nginx = stack.enter_context(Nginx(folder, folder / "site", *files, PORT, HOME[0]))
            echo = stack.enter_context(WebSocketEcho(authority.server_context(HOST), HOME[0]))
        dns.answer(HOST, HOME[0])
        rule = {"name": "allowed", "hosts": [HOST], "ports": [PORT, echo.port], "protocol": "tls", "inspect": inspect}
        settings = {
            "listeners": [{"name": "proxy", "bind": f"[::]:{PROXY}"}],
            "resolver": {"servers": [f"{NAME_SERVER}:53"]},
            "addresses": {"allow": ["203.0.113.0/24"]},
            "inspection": make_authority(folder, time.time()),
        }
        gateway = GatewayProcess(folder, {"rules": [rule]}, settings, prefix=lab.gateway.prefix)
        stack.enter_context(gateway)
        bundle, store, block = folder / "ca-bundle.pem", folder / "truststore.p12", folder / "block"
        with lab.gateway.entered():
            bundle.write_text(gateway.admin("/ca-bundle.pem")[1])
        made = [sys.executable, "-m", "gateway", "ca", "truststore", str(bundle), str(store)]
        subprocess.run(made, check=True, capture_output=True)
        block.write_text(_env("--ca", str(bundle), "--truststore", str(store)))
        yield Bed(lab, gateway, nginx, echo, bundle, block)


def _errand(bed: Bed, client: ClientProgram, folder: Path) -> tuple[int, str, str]:
    folder.mkdir()
    port = bed.echo.port if client is WEBSOCKET else PORT
    origin = f"https://{HOST}" if port == 443 else f"https://{HOST}:{port}"
    task = Task(origin, PROXY, bed.bundle, folder)
    done = bed.run(TOLD_CLIENTS[client](task), folder)
    brought = client.fetched(task, done.stdout) if done.returncode == 0 else ""
    return done.returncode, brought, done.stdout + done.stderr


def _row(client: ClientProgram, said: str) -> str:
    return f"{client.name:<30}{client.version():<12}{said}"


def test_every_client_works_with_the_printed_variables_and_nothing_else(
    bed: Bed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    java_classes()
    clients: Sequence[ClientProgram] = list(TOLD_CLIENTS)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(lambda item: _errand(bed, item[1], tmp_path / str(item[0])), enumerate(clients)))
    rows, missing = [], []
    for client, (status, brought, said) in zip(clients, found, strict=True):
        if (status, brought) == (0, HELLO):
            rows.append(_row(client, "inspected"))
        else:
            missing.append(f"{client.name}: {status} {said[-600:]}")
    with capsys.disabled():
        print("\n" + "\n".join(rows) + f"\n{len(rows)} clients, {len(missing)} skipped")
    if missing:
        unavailable("these did not run to their end:\n" + "\n".join(missing))
    with bed.lab.gateway.entered():
        records = bed.gateway.quiet()
    assert len(records) >= len(clients)
    assert all(record["inspected"] and record["decision"] == "allow" for record in records)


def test_without_the_block_nothing_leaves_and_without_its_authority_nothing_is_trusted(
    bed: Bed, tmp_path: Path
) -> None:
    curl = [require("curl"), "--silent", "--show-error", "--fail", "--max-time", "3"]
    direct = [*curl, "--resolve", f"{HOST}:{PORT}:{HOME[0]}", f"https://{HOST}/hello.txt"]
    seen = bed.lab.world.counters("syn")
    assert bed.run(direct, tmp_path, NOTHING).returncode != 0
    assert bed.lab.world.counters("syn") == seen
    (tmp_path / "proxy-only").write_text(_env())
    refused = bed.run([*curl, f"https://{HOST}/hello.txt"], tmp_path, tmp_path / "proxy-only")
    assert refused.returncode != 0
    assert "certificate" in refused.stderr
