"""Real clients of HTTP/2 and gRPC, given nothing but the CA bundle, through inspection to nginx and a gRPC server. The
last line printed is `N clients, 0 skipped`.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.clients.inspected import Nginx
from tests.clients.matrix import HERE, ClientProgram, Task
from tests.clients.over_http2 import HTTP2_CLIENTS
from tests.flows.interception import make_authority
from tests.helpers.authority import TestAuthority
from tests.helpers.dns_server import DnsServer
from tests.helpers.file_origin import HELLO
from tests.helpers.gateway import GatewayProcess, Record
from tests.helpers.ports import free_port
from tests.helpers.requirements import require, unavailable

pytestmark = [pytest.mark.clients, pytest.mark.slow]

ALLOWED, DENIED, GRPC = "allowed.test", "denied.test", "grpc.test"
SIZE = int(os.environ.get("HTTP2_BYTES", "33554432"))
"""Bytes that go each way where the memory is looked at: `HTTP2_BYTES=1073741824` for a GiB."""
FLAT = 12 * 1024 * 1024
CALLS = 10

rows: dict[str, str] = {}


@dataclass
class Bed:
    """nginx, a gRPC server and a gateway; `bundle` is what the admin port gives to clients."""

    folder: Path
    nginx: Nginx
    grpc_port: int
    gateway: GatewayProcess
    bundle: Path


@contextmanager
def _grpc_server(certificate: Path, key: Path) -> Iterator[int]:
    command = [sys.executable, str(HERE / "grpc_peers.py"), "server", str(certificate), str(key)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait(20)


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("http2")
    authority, port = TestAuthority(folder), free_port()
    site = folder / "site"
    (site / "put").mkdir(parents=True)
    (site / "hello.txt").write_text(HELLO)
    with (site / "big").open("wb") as big:
        big.truncate(SIZE)
    certificate, key = authority.write_server_files(folder, ALLOWED, DENIED, GRPC)
    with (
        DnsServer() as dns,
        Nginx(folder, site, certificate, key, port, http2=True) as nginx,
        _grpc_server(certificate, key) as grpc_port,
    ):
        requests: dict[str, list[dict[str, Any]]] = {
            ALLOWED: [{"methods": ["GET", "PUT"], "paths": ["/**"]}],
            DENIED: [{"methods": ["GET"], "paths": ["/elsewhere/**"]}],
            GRPC: [
                {"methods": ["POST"], "paths": [f"/tests.Echo/{name}"]}
                for name in ("Unary", "Down", "Up", "Both", "Slow", "Count")
            ],
        }
        rules = []
        for host, allowed in requests.items():
            dns.answer(host, "127.0.0.1")
            inspect = {"upstream_ca": authority.bundle.name, "requests": allowed}
            rules.append(
                {"name": host, "hosts": [host], "ports": [port, grpc_port], "protocol": "tls", "inspect": inspect}
            )
        settings = {
            "resolver": {"servers": [f"127.0.0.1:{dns.port}"]},
            "inspection": make_authority(folder, time.time()),
        }
        with GatewayProcess(folder, {"rules": rules}, settings) as gateway:
            bundle = folder / "bundle.pem"
            bundle.write_text(gateway.admin("/ca-bundle.pem")[1])
            yield Bed(folder, nginx, grpc_port, gateway, bundle)


def _exchanges(bed: Bed, host: str) -> list[Record]:
    bed.gateway.quiet()
    return [record for record in bed.gateway.records() if record.get("host") == host and "exchange_id" in record]


@pytest.mark.parametrize("client", HTTP2_CLIENTS, ids=[client.name for client in HTTP2_CLIENTS])
def test_a_real_client_speaks_http2_with_us_and_we_with_nginx(bed: Bed, client: ClientProgram, tmp_path: Path) -> None:
    before = len(_exchanges(bed, ALLOWED))
    status, brought, said = client.run(
        Task(f"https://{ALLOWED}:{bed.nginx.port}", bed.gateway.port, bed.bundle, tmp_path)
    )
    assert (status, brought) == (0, HELLO), said
    seen = _exchanges(bed, ALLOWED)[before:]
    assert {record["http_version"] for record in seen} == {"2"}
    assert "HTTP/2.0" in bed.nginx.requests[-1]
    reached = len(bed.nginx.requests)
    status, _, said = client.run(Task(f"https://{DENIED}:{bed.nginx.port}", bed.gateway.port, bed.bundle, tmp_path))
    assert status != 0
    assert "403" in said, said
    refused = _exchanges(bed, DENIED)
    assert {(record["decision"], record["reason"], record["status"]) for record in refused} == {
        ("deny", "request_denied", 403)
    }
    assert len(bed.nginx.requests) == reached
    rows[client.name] = f"{client.name:<30}{client.version():<12}{len(seen)} exchanges of h2  denied"


def test_all_kinds_of_grpc_calls_pass_and_a_denial_is_a_status_of_grpc(bed: Bed) -> None:
    target = f"{GRPC}:{bed.grpc_port}"
    command = [sys.executable, str(HERE / "grpc_peers.py"), "client", target, bed.gateway.url, str(bed.bundle)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert {name: (one["code"], one["said"]) for name, one in said.items() if name != "denied"} == {
        "unary": ("OK", "hello"),
        "down": ("OK", ["d0", "d1", "d2", "d3", "d4"]),
        "up": ("OK", "a|b|c"),
        "both": ("OK", ["1", "2"]),
        "large": ("OK", 3 * 1024 * 1024),
        "metadata": ("OK", [6000, "1", "00ff"]),
        "deadline": ("DEADLINE_EXCEEDED", said["deadline"]["said"]),
        "cancelled": ("OK", "CANCELLED"),
        "seen": ("OK", 2),
    }
    assert said["denied"]["code"] == "PERMISSION_DENIED"
    assert "request_denied" in said["denied"]["said"]
    records = _exchanges(bed, GRPC)
    assert {record["http_version"] for record in records} == {"2"}
    [denied] = [record for record in records if record["path"] == "/tests.Echo/Denied"]
    assert (denied["decision"], denied["reason"]) == ("deny", "request_denied")
    rows["grpcio"] = f"{'grpcio':<30}{_grpc_version():<12}{len(said)} calls  denied"


def test_what_is_large_passes_both_ways_and_the_memory_stays_flat(bed: Bed) -> None:
    curl = [require("curl"), "-sS", "--fail", "--http2", "-x", bed.gateway.url, "--cacert", str(bed.bundle)]
    url = f"https://{ALLOWED}:{bed.nginx.port}"
    for name in ("warm", "up"):
        subprocess.run([*curl, "-o", os.devnull, f"{url}/hello.txt?{name}"], check=True)
    before = _peak(bed)
    down = subprocess.run(
        [*curl, "-o", os.devnull, "-w", "%{http_version} %{size_download}", f"{url}/big"],
        capture_output=True,
        text=True,
    )
    assert down.stdout == f"2 {SIZE}", down.stderr
    sending = [*curl, "-o", os.devnull, "-w", "%{http_version} %{size_upload}", "-T", str(bed.folder / "site" / "big")]
    up = subprocess.run([*sending, f"{url}/put/copy"], capture_output=True, text=True)
    assert up.stdout == f"2 {SIZE}", up.stderr
    assert (bed.folder / "site" / "put" / "copy").stat().st_size == SIZE
    grown = _peak(bed) - before
    print(f"{SIZE / 2**20:g} MiB each way, peak of memory grown by {grown / 2**20:.1f} MiB")
    assert grown < FLAT


def test_no_client_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    names = [*(client.name for client in HTTP2_CLIENTS), "grpcio"]
    missing = [name for name in names if name not in rows]
    with capsys.disabled():
        print("\n" + "\n".join(rows.values()) + f"\n{len(rows)} clients, {len(missing)} skipped")
    if missing:
        unavailable(f"these did not run to their end: {', '.join(missing)}")


def _peak(bed: Bed) -> int:
    """Bytes of memory that the gateway had at most."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{bed.gateway.process.pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def _grpc_version() -> str:
    from importlib.metadata import version

    return version("grpcio")
