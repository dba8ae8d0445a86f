"""What a start imports: what the configuration uses, and all of that before the first client comes.

Every process is asked by Python itself (`-X importtime`), workers and the one that reads files included.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.flows.interception import make_authority
from tests.helpers.gateway import GatewayProcess
from tests.helpers.raw_client import RawClient

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "config" / "quickstart.yaml"
POLICY = (ROOT / "config" / "quickstart-policy.yaml").read_text()

# Each is megabytes and tens of milliseconds in every process.
FOR_FEATURES = {
    "aiohttp": "asking the API server",
    "brotli": "looking into content",
    "cryptography": "inspection",
    "gateway.intercept": "inspection",
    "gateway.kubernetes.watching": "pods",
    "gateway.limits.replicas": "a shared store of limits",
    "gateway.telemetry.otlp.export": "telling a collector",
    "gateway.wire.http2.connection": "HTTP/2",
    "grpc": "telling a collector",
    "h2": "name servers over HTTPS",
    "hpack": "HTTP/2",
    "jwt": "tokens",
    "opentelemetry": "telling a collector",
    "re2": "looking for secrets",
    "redis": "a shared store of limits",
    "requests": "telling a collector",
    "rich": "what commands print",
}


class Imports(list[str]):
    """The names of modules, as processes told them."""

    @classmethod
    def told(cls, lines: list[str]) -> "Imports":
        """On standard error."""
        return cls(line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:"))

    def of(self, *packages: str) -> set[str]:
        """Those that are one of these, or inside one."""
        return {name for name in self for package in packages if f"{name}.".startswith(f"{package}.")}


@contextmanager
def started(folder: Path, **settings: Any) -> Iterator[GatewayProcess]:
    """By the quickstart's files; ports are free ones, and `settings` come on top."""
    quickstart: Mapping[str, Any] = yaml.safe_load(QUICKSTART.read_text())
    places = {"listeners", "admin", "policy"}
    settings = {key: value for key, value in quickstart.items() if key not in places} | settings
    with GatewayProcess(folder, POLICY, settings, {"PYTHONPROFILEIMPORTTIME": "1"}) as gateway:
        yield gateway


def ask(gateway: GatewayProcess) -> None:
    """For what is refused, and for what needs a name server that is not there."""
    for host in ("example.org", "example.com"):
        with RawClient(gateway.port) as client:
            client.send(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n".encode())
            client.read_head()


@pytest.mark.parametrize("workers", [1, 2])
def test_the_quickstart_imports_nothing_that_only_other_configurations_use(tmp_path: Path, workers: int) -> None:
    with started(tmp_path, workers=workers) as gateway:
        before = Imports.told(gateway.stderr_lines)
        ask(gateway)
        gateway.process.send_signal(signal.SIGHUP)
        gateway.wait_for_line("generation 2")
    assert before.of("gateway.serve.connection"), "nobody told what it imports"
    assert Imports.told(gateway.stderr_lines).of(*FOR_FEATURES) == set()


def test_what_features_use_is_imported_before_the_first_client_comes(tmp_path: Path) -> None:
    features = {
        "inspection": make_authority(tmp_path, time.time()),
        "limits": {"store": "redis://127.0.0.1:9/0", "on_store_failure": "local"},
        "resolver": {"transport": "doh", "servers": ["127.0.0.1"], "timeout": "100ms"},
    }
    with started(tmp_path, **features) as gateway:
        ready = len(gateway.stderr_lines)
        before = Imports.told(gateway.stderr_lines)
        ask(gateway)
        gateway.admin("/metrics")
    used = {
        "cryptography",
        "gateway.intercept",
        "gateway.wire.http2.connection",
        "hpack",
        "h2",
        "gateway.limits.replicas",
    }
    assert {name for name in used if not before.of(name)} == set()
    assert Imports.told(gateway.stderr_lines[ready:]).of("gateway", *FOR_FEATURES) == set()


@pytest.mark.parametrize(
    ("command", "unneeded"),
    [
        (["--help"], ["gateway.app", "gateway.settings", "uvloop", "asyncio"]),
        (["check", str(QUICKSTART)], ["gateway.serve", "gateway.admin", "starlette", "uvloop", "prometheus_client"]),
        (["explain", "https://example.com", "-c", str(QUICKSTART)], ["gateway.serve", "gateway.admin", "uvloop"]),
    ],
    ids=lambda each: each[0],
)
def test_a_command_imports_nothing_that_serves(command: list[str], unneeded: list[str]) -> None:
    environ = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    ended = subprocess.run(
        [sys.executable, "-m", "gateway", *command], env=environ, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    for_features = [name for name in FOR_FEATURES if name != "rich"]
    found = Imports.told(ended.stderr.splitlines())
    assert found.of("gateway.cli.main")
    assert found.of(*unneeded, *for_features) == set()
