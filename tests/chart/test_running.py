"""The real gateway in what the chart makes of a pod: its files, its variables, its place as the first process."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.mounted import Mounted, mount_files, rendered_pod, service_variables
from tests.chart.rendering import CHART, objects, pod_of, rendered, settings_of, template, with_values
from tests.helpers.gateway import GatewayProcess
from tests.helpers.origins import Origin, echo
from tests.helpers.raw_client import RawClient, status_of
from tests.helpers.requirements import require, require_root

SECONDS = 60.0
DENIED = "refused.cluster.local"
"""What `helm test` expects to be refused by default."""


def ask(gateway: GatewayProcess, *destinations: str) -> subprocess.CompletedProcess[str]:
    """The question of `helm test`, put as the pod puts it."""
    (pod,) = (pod_of(each) for each in rendered("helm4", "report-mode") if each["kind"] == "Pod")
    assert pod is not None
    (container,) = pod["containers"]
    assert container["command"] == ["python3", "-I", "-c"]
    script, service, port, denied, allowed = container["args"]
    assert (service, port) == ("rel-egress-gateway.egress.svc.cluster.local", "3128")
    assert (denied, allowed) == (DENIED, "github.com")
    command = [sys.executable, "-I", "-c", script, "127.0.0.1", str(gateway.port), *destinations]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with Origin(echo) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, origin: Origin) -> Iterator[GatewayProcess]:
    """Started beside Services of its own name, whose variables Kubernetes would set."""
    environ = service_variables("egress-gateway", 3128, 9129) | service_variables("egress", 3128)
    assert environ["EGRESS_GATEWAY_PORT"] == "tcp://10.96.7.7:3128"
    settings = {"admin": {"bind": "127.0.0.1:0", "health": "127.0.0.1:0"}}
    policy = {"rules": [{"name": "ip", "cidrs": ["127.0.0.1/32"], "ports": [origin.port], "protocol": "tcp"}]}
    with GatewayProcess(tmp_path_factory.mktemp("gateway"), policy, settings, environ=environ) as process:
        yield process


def test_the_variables_of_a_service_of_its_name_mean_nothing_to_the_gateway(gateway: GatewayProcess) -> None:
    assert gateway.admin("/readyz")[0] == 200
    assert set(gateway.ports) == {"proxy", "admin", "health"}
    assert not [line for line in gateway.stderr_lines if "EGRESS" in line or "10.96.7.7" in line]


def test_the_probes_ask_what_the_health_port_answers(gateway: GatewayProcess) -> None:
    (container,) = rendered_pod(rendered("helm4", "defaults"))["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["port"] == "health"
        with socket.create_connection(("127.0.0.1", gateway.ports["health"]), SECONDS) as connection:
            connection.sendall(f"GET {asked['path']} HTTP/1.1\r\nHost: 10.244.0.7:9129\r\n\r\n".encode())
            assert connection.recv(64).startswith(b"HTTP/1.1 200 ")


def test_what_helm_test_asks_is_allowed_and_refused_by_a_real_gateway(gateway: GatewayProcess, origin: Origin) -> None:
    good = ask(gateway, "refused.invalid", f"127.0.0.1:{origin.port}")
    assert good.returncode == 0, good.stdout + good.stderr
    assert "ok: refused.invalid is answered 403" in good.stdout
    assert f"ok: 127.0.0.1:{origin.port} is answered 200" in good.stdout
    assert gateway.wait_for_records(1, host="refused.invalid")[0]["reason"] == "no_rule"
    bad = ask(gateway, f"127.0.0.1:{origin.port}", "refused.invalid")
    assert bad.returncode == 1
    assert bad.stdout.count("FAILED") == 2


def test_what_it_expects_to_be_refused_is_refused_in_report_mode_too(tmp_path: Path) -> None:
    settings = {"cluster": settings_of(rendered("helm4", "report-mode"))["cluster"]}
    with GatewayProcess(tmp_path, {"mode": "report", "rules": []}, settings) as gateway:
        asked = ask(gateway, DENIED)
        assert asked.returncode == 0, asked.stdout + asked.stderr
        assert f"ok: {DENIED} is answered 403" in asked.stdout


@contextmanager
def mounted_gateway(folder: Path, policy: str, *prefix: str, workers: int = 1) -> Iterator[tuple[GatewayProcess, Any]]:
    """One that runs from the volumes of the rendered Deployment. Only the ports are those of this machine."""
    arguments = with_values(policy__files={"policy.yaml": policy}, gateway={"workers": workers})
    found = objects(template("helm4", *arguments))
    mounted = Mounted(folder / "mounted", rendered_pod(found), found)
    settings = yaml.safe_load(mounted.settings_file.read_text())
    settings["listeners"][0]["bind"] = settings["admin"]["bind"] = settings["admin"]["health"] = "127.0.0.1:0"
    assert settings["listeners"][0].keys() == settings_of(found)["listeners"][0].keys()
    with GatewayProcess(folder, {}, settings, prefix=prefix) as gateway:
        yield gateway, mounted


DENYING = "version: 1\nrules: []\n"


def allowing(port: int) -> str:
    return f"version: 1\nrules:\n  - {{name: ip, cidrs: [127.0.0.1/32], ports: [{port}], protocol: tcp}}\n"


def until_generation(gateway: GatewayProcess, number: int) -> None:
    deadline = time.monotonic() + SECONDS
    while gateway.metric("egress_policy_generation") < number:
        assert time.monotonic() < deadline, "\n".join(gateway.stderr_lines)
        time.sleep(0.05)


@pytest.mark.privileged
def test_as_the_first_process_it_takes_a_changed_config_map_and_drains_and_leaves_nobody_behind(
    tmp_path: Path, origin: Origin
) -> None:
    """In a PID namespace of its own nobody else reaps, and signals without a handler are not delivered."""
    require_root()
    unshare = [require("unshare"), "--pid", "--fork", "--kill-child", "--mount-proc"]
    with mounted_gateway(tmp_path, DENYING, *unshare, workers=2) as (gateway, mounted):
        assert connect(gateway, origin) == 403
        first = first_process(gateway.process.pid)
        mount_files(mounted.folder / "policy", {"policy.yaml": allowing(origin.port).encode()})
        until_generation(gateway, 2)  # read by a child process, which has ended
        assert connect(gateway, origin) == 200
        assert zombies(first) == []
        os.kill(first, signal.SIGTERM)
        assert gateway.process.wait(SECONDS) == 0


def connect(gateway: GatewayProcess, origin: Origin) -> int:
    """The status that a CONNECT to the origin gets."""
    with RawClient(gateway.port) as client:
        return status_of(client.connect(f"127.0.0.1:{origin.port}"))


def first_process(unshare: int) -> int:
    """The child of `unshare`, which is process 1 to all below it."""
    (child,) = Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split()
    return int(child)


def zombies(parent: int) -> list[str]:
    """Children that have ended and were not waited for, a moment after they did."""
    deadline = time.monotonic() + SECONDS
    while True:
        found = []
        for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
            with suppress(OSError):  # waited for meanwhile
                status = Path(f"/proc/{child}/status").read_text()
                if "State:\tZ" in status:
                    found.append(status.partition("\n")[0])
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def test_a_gateway_that_cannot_be_reached_fails_the_test(tmp_path: Path) -> None:
    """The script gives up with its problem told, and does not call silence a refusal."""
    script = (CHART / "files" / "ask.py").read_text().replace("TRIES = 5", "TRIES = 1")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        command = [sys.executable, "-I", "-c", script, "127.0.0.1", str(taken.getsockname()[1]), "refused.invalid"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "refused" in done.stderr
