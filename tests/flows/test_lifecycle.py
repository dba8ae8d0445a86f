"""The process as operators meet it: it starts or says in one line why not, takes new policies, rotates logs, drains."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import yaml

from tests.helpers.gateway import GatewayProcess
from tests.helpers.origins import Origin, echo
from tests.helpers.raw_client import RawClient, status_of

ROOT = Path(__file__).parents[2]
TOKEN = "correct-horse-battery"
SECONDS = 60.0

Policy = Mapping[str, object]


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with Origin(echo) as server:
        yield server


@pytest.fixture
def allowing(origin: Origin) -> Policy:
    """A policy under which the origin can be reached."""
    return {"rules": [{"name": "ip", "cidrs": ["127.0.0.1/32"], "ports": [origin.port], "protocol": "tcp"}]}


DENYING: Policy = {"rules": []}


def until(holds: Callable[[], bool]) -> None:
    """Wait for it."""
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def becomes(gateway: GatewayProcess, metric: str, value: float) -> None:
    """Wait for it."""
    until(lambda: gateway.metric(metric) == value)


def generation(gateway: GatewayProcess) -> float:
    return gateway.metric("egress_policy_generation")


def ask(gateway: GatewayProcess, origin: Origin) -> int:
    """The status of one CONNECT to the origin."""
    with RawClient(gateway.port) as client:
        return status_of(client.connect(f"127.0.0.1:{origin.port}"))


@contextlib.contextmanager
def tunnel(gateway: GatewayProcess, origin: Origin) -> Iterator[RawClient]:
    """An open one that is known to work."""
    with RawClient(gateway.port) as client:
        assert status_of(client.connect(f"127.0.0.1:{origin.port}")) == 200
        echoes(client)
        yield client


def echoes(client: RawClient) -> None:
    client.send(b"ping")
    assert client.read(4) == b"ping"


# ------------------------------------------------------------------------------------------------------------- reload


def test_a_changed_file_takes_over_and_open_tunnels_stay_as_they_were(
    tmp_path: Path, origin: Origin, allowing: Policy
) -> None:
    with GatewayProcess(tmp_path, allowing) as gateway:
        with tunnel(gateway, origin) as client:
            gateway.write_policy(DENYING)
            becomes(gateway, "egress_policy_generation", 2)
            assert ask(gateway, origin) == 403
            echoes(client)
        assert ask(gateway, origin) == 403
        denied = gateway.wait_for_records(2, generation=2)
        [kept] = gateway.wait_for_records(1, generation=1)
        assert [record["reason"] for record in denied] == ["no_rule"] * 2
        assert (kept["decision"], kept["ended"], kept["bytes_up"]) == ("allow", "closed", 8)
        assert gateway.wait_for_line("generation 2 is in force").endswith(
            "Z INFO policy generation 2 is in force: 0 rules"
        )


def test_a_hang_up_reads_the_policy_again_each_time(tmp_path: Path, origin: Origin, allowing: Policy) -> None:
    with GatewayProcess(tmp_path, allowing) as gateway:
        for wanted in (2, 3):
            gateway.process.send_signal(signal.SIGHUP)
            becomes(gateway, "egress_policy_generation", wanted)
            assert ask(gateway, origin) == 200
        gateway.write_policy(DENYING)
        gateway.process.send_signal(signal.SIGHUP)
        until(lambda: ask(gateway, origin) == 403)


def test_a_policy_with_an_error_is_named_with_its_line_and_the_last_good_one_stays(
    tmp_path: Path, origin: Origin, allowing: Policy
) -> None:
    with GatewayProcess(tmp_path, allowing) as gateway:
        assert gateway.metric("egress_policy_reload_success") == 1
        gateway.write_policy("rules:\n  - {name: ok, hosts: [x.test]}\n  - {name: bad, hosst: [y.test]}\n")
        becomes(gateway, "egress_policy_reload_success", 0)
        assert generation(gateway) == 1
        assert ask(gateway, origin) == 200
        assert f"Z ERROR {gateway.policy_file}:3: rules" in gateway.wait_for_line("hosst")
        assert gateway.wait_for_line("Z ERROR reload failed").endswith(": policy generation 1 stays in force")
        assert gateway.metric("egress_policy_last_reload_timestamp_seconds") == pytest.approx(time.time(), abs=10)
        gateway.write_policy(allowing)
        becomes(gateway, "egress_policy_reload_success", 1)
        assert generation(gateway) == 2


def test_a_reload_can_be_asked_for_with_the_token_only_and_leaves_an_audit_line(
    tmp_path: Path, allowing: Policy
) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    settings = {"admin": {"bind": "127.0.0.1:0", "token_file": "token"}}
    right, wrong = ({"Authorization": f"Bearer {token}"} for token in (TOKEN, "guessed"))
    with GatewayProcess(tmp_path, allowing, settings) as gateway:
        assert gateway.admin("/reload", method="POST")[0] == 401
        assert gateway.admin("/reload", method="POST", headers=wrong)[0] == 401
        assert gateway.admin("/reload", headers=right)[0] == 405
        assert gateway.admin("/reload", headers=wrong)[0] == 401
        assert generation(gateway) == 1
        status, body = gateway.admin("/reload", method="POST", headers=right)
        assert (status, json.loads(body)) == (200, {"generation": 2, "problems": []})
        assert "Z INFO audit: reload by 127.0.0.1: done" in gateway.wait_for_line("audit: ")
        gateway.write_policy("rules: 5")
        status, body = gateway.admin("/reload", method="POST", headers=right)
        answer = json.loads(body)
        assert (status, answer["generation"]) == (422, 2)
        assert [problem.partition(": ")[0] for problem in answer["problems"]] == [f"{gateway.policy_file}:1"]
        gateway.wait_for_line("audit: reload by 127.0.0.1: failed")
        assert TOKEN not in "\n".join(gateway.stderr_lines)


def test_without_a_token_file_nobody_may_reload(tmp_path: Path, allowing: Policy) -> None:
    with GatewayProcess(tmp_path, allowing) as gateway:
        assert gateway.admin("/reload", method="POST")[0] == 401
        assert gateway.admin("/reload", method="POST", headers={"Authorization": "Bearer x"})[0] == 401
        assert gateway.admin("/metrics", headers={"Host": "evil.example"})[0] == 401
        assert gateway.admin("/reload")[0] == 405
        assert generation(gateway) == 1


# ------------------------------------------------------------------------------------------------------------- the end


def test_a_drain_is_told_at_once_and_over_when_the_last_tunnel_has_ended(
    tmp_path: Path, origin: Origin, allowing: Policy
) -> None:
    with GatewayProcess(tmp_path, allowing, {"drain": {"timeout": "1m"}}) as gateway:
        with tunnel(gateway, origin) as client:
            assert gateway.admin("/readyz")[0] == 200
            gateway.terminate()
            gateway.wait_for_line("draining 1 connections, for 60 s")
            status, body = gateway.admin("/readyz")
            assert (status, json.loads(body)) == (503, {"ready": False, "reason": "draining"})
            assert gateway.admin("/healthz")[0] == 200
            with pytest.raises(ConnectionRefusedError):
                RawClient(gateway.port)
            echoes(client)
        assert gateway.stop() == 0
    [record] = gateway.records()
    assert (record["ended"], record["ended_by"], record["bytes_down"]) == ("closed", "downstream", 8)
    assert "reason" not in record


def test_a_second_signal_ends_at_once(tmp_path: Path, origin: Origin, allowing: Policy) -> None:
    with GatewayProcess(tmp_path, allowing, {"drain": {"timeout": "1m"}}) as gateway, tunnel(gateway, origin) as client:
        gateway.terminate()
        gateway.wait_for_line("draining")
        asked_at = time.monotonic()
        gateway.terminate()
        with pytest.raises(ConnectionResetError):
            client.read_to_end()
        assert gateway.stop() == 0
        assert time.monotonic() - asked_at < 30  # half of the drain's time
    [record] = gateway.records()
    assert (record["reason"], record["ended"], record["ended_by"]) == ("draining", "reset", "gateway")


def test_without_connections_it_ends_without_waiting(tmp_path: Path) -> None:
    with GatewayProcess(tmp_path, DENYING, {"drain": {"timeout": "1m"}}) as gateway:
        gateway.process.send_signal(signal.SIGINT)
        assert gateway.process.wait(30) == 0  # half of the drain's time


def test_who_was_gone_before_the_process_could_accept_leaves_a_record_too(tmp_path: Path) -> None:
    with GatewayProcess(tmp_path, DENYING) as gateway:
        gateway.process.send_signal(signal.SIGSTOP)
        try:
            for _ in range(3):
                RawClient(gateway.port).reset()
        finally:
            gateway.process.send_signal(signal.SIGCONT)
        records = gateway.wait_for_records(3, reason="client_closed")
        assert {(record["client_address"], record["client_port"]) for record in records} == {("0.0.0.0", 0)}
        assert len(gateway.quiet()) == 3


@pytest.mark.parametrize("workers", [1, 2])
def test_who_waits_to_be_accepted_when_the_end_is_told_is_answered_and_recorded(tmp_path: Path, workers: int) -> None:
    with GatewayProcess(tmp_path, DENYING, {"workers": workers}) as gateway:
        stopped = [psutil.Process(gateway.process.pid), *psutil.Process(gateway.process.pid).children(recursive=True)]
        for process in stopped:
            process.suspend()
        try:
            clients = [RawClient(gateway.port) for _ in range(30)]
            for client in clients:
                client.send(b"CONNECT late.test:443 HTTP/1.1\r\nHost: late.test\r\n\r\n")
            gateway.terminate()
        finally:
            for process in stopped:
                process.resume()
        for client in clients:
            assert status_of(client.read_head()) in (403, 503)
            client.socket.close()
        assert gateway.stop() == 0
        assert len(gateway.records()) == len(clients)


# ---------------------------------------------------------------------------------------------------------------- logs


def test_a_hang_up_opens_the_log_anew_after_it_was_rotated_away(tmp_path: Path, origin: Origin) -> None:
    with GatewayProcess(tmp_path, DENYING) as gateway:
        assert ask(gateway, origin) == 403
        gateway.wait_for_records(1)
        old = gateway.log_file.rename(tmp_path / "records.jsonl.1")
        assert ask(gateway, origin) == 403
        until(lambda: len(old.read_text().splitlines()) == 2)
        gateway.process.send_signal(signal.SIGHUP)
        becomes(gateway, "egress_policy_generation", 2)  # that the file is there does not say that it is written to
        assert ask(gateway, origin) == 403
        gateway.wait_for_records(1)
        assert len(old.read_text().splitlines()) == 2
        assert gateway.metric("egress_records_lost_total") == 0


def test_a_full_disk_costs_records_that_are_counted_and_no_traffic(
    tmp_path: Path, origin: Origin, allowing: Policy
) -> None:
    settings = {"telemetry": {"access_log": [{"path": "/dev/full"}]}}
    with GatewayProcess(tmp_path, allowing, settings) as gateway:
        for served in (1, 2):
            assert ask(gateway, origin) == 200
            becomes(gateway, "egress_records_lost_total", served)
        gateway.wait_for_line("access log /dev/full: it cannot be written: No space left on device")


def test_a_log_that_nobody_reads_costs_records_that_are_told_and_no_traffic(
    tmp_path: Path, origin: Origin, allowing: Policy
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with GatewayProcess(tmp_path, allowing, {"telemetry": {"access_log": [{"path": "pipe"}]}}) as gateway:
        for _ in range(3):
            assert ask(gateway, origin) == 200
        becomes(gateway, "egress_connections_total", 3)
        assert gateway.stop() == 0
        gateway.wait_for_line(f"access log {pipe}: the last 3 records were not written in time")


# ----------------------------------------------------------------------------------------------------------- the start


def test_without_a_policy_it_starts_denies_everything_and_says_so_once(tmp_path: Path, origin: Origin) -> None:
    config = tmp_path / "gateway.yaml"
    config.write_text("listeners: [{bind: '127.0.0.1:0'}]\nadmin: {bind: '127.0.0.1:0'}\n")
    for text in (None, ""):
        if text is not None:
            (tmp_path / "policy.yaml").write_text(text)
        with Running(tmp_path) as gateway, RawClient(gateway.port) as client:
            assert status_of(client.connect(f"127.0.0.1:{origin.port}")) == 403
        [warning] = [line for line in gateway.stderr if " WARNING " in line]
        assert "Z WARNING policy.yaml: " in warning
        assert warning.endswith("everything is denied")


class Running:
    """`egress-gateway run` in `folder` with these arguments; its standard output and error as they were at its end."""

    def __init__(self, folder: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> None:
        self._command = [sys.executable, "-m", "gateway", "run", *arguments]
        self._environ = {**os.environ, "PYTHONPATH": str(ROOT), **(environ or {})}
        self._folder = folder

    def __enter__(self) -> "Running":
        self.process = subprocess.Popen(
            self._command,
            cwd=self._folder,
            env=self._environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        self.stderr: list[str] = []
        for line in self.process.stderr:
            self.stderr.append(line.rstrip("\n"))
            if "ready" in line:
                self.port = int(line.partition("proxy on ")[2].partition(";")[0].rpartition(":")[2])
                return self
        raise AssertionError("\n".join(self.stderr))

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.stdout, rest = self.process.communicate(timeout=60)
        self.stderr += rest.splitlines()
        assert self.process.returncode == 0, self.stderr


def test_the_quickstart_starts_says_in_one_line_what_it_does_and_prints_nothing_but_records(tmp_path: Path) -> None:
    environ = {
        "EGRESS__LISTENERS": '[{name: proxy, bind: "127.0.0.1:0"}]',
        "EGRESS__ADMIN__BIND": "127.0.0.1:0",
    }
    with Running(tmp_path, "-c", str(ROOT / "config/quickstart.yaml"), environ=environ) as gateway:
        [ready] = gateway.stderr
        with RawClient(gateway.port) as client:
            assert status_of(client.connect("gist.github.com:443")) == 403
    policy = yaml.safe_load((ROOT / "config/quickstart-policy.yaml").read_text())
    assert f"Z INFO ready: proxy on 127.0.0.1:{gateway.port}; admin on 127.0.0.1:" in ready
    assert ready.endswith(f"; 1 worker; policy generation 1, {len(policy['rules'])} rules")
    [record] = map(json.loads, gateway.stdout.splitlines())
    assert (record["reason"], record["rule"]) == ("denied_by_rule", "quickstart-policy.yaml#no-gists")


def test_the_command_line_goes_before_the_file(tmp_path: Path, origin: Origin, allowing: Policy) -> None:
    other = tmp_path / "elsewhere.yaml"
    other.write_text(yaml.safe_dump({"version": 1, **allowing}))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = {
            "listeners": [{"name": "proxy", "bind": f"127.0.0.1:{taken.getsockname()[1]}"}],
            "addresses": {"allow": ["127.0.0.0/8"]},
        }
        arguments = ["--listen", "127.0.0.1:0", "--policy", str(other)]
        with GatewayProcess(tmp_path, DENYING, settings, arguments=arguments) as gateway:
            assert ask(gateway, origin) == 200
            [record] = gateway.wait_for_records(1)
            assert (record["listener"], record["rule"]) == ("proxy", "elsewhere.yaml#ip")


def test_the_environment_goes_before_the_file_and_kubernetes_own_variables_are_passed_over(
    tmp_path: Path, origin: Origin
) -> None:
    environ = {
        "EGRESS__TELEMETRY__NAME": "gw-from-env",
        "EGRESS_GATEWAY_SERVICE_HOST": "10.96.0.7",
        "EGRESS_GATEWAY_SERVICE_PORT": "3128",
        "EGRESS_GATEWAY_SERVICE_PORT_PROXY": "3128",
        "EGRESS_GATEWAY_PORT": "tcp://10.96.0.7:3128",
        "EGRESS_GATEWAY_PORT_3128_TCP": "tcp://10.96.0.7:3128",
        "EGRESS_GATEWAY_PORT_3128_TCP_ADDR": "10.96.0.7",
        "EGRESS_GATEWAY_PORT_3128_TCP_PORT": "3128",
        "EGRESS_GATEWAY_PORT_3128_TCP_PROTO": "tcp",
    }
    with GatewayProcess(tmp_path, DENYING, environ=environ) as gateway, RawClient(gateway.port) as client:
        assert b"Proxy-Status: gw-from-env;" in client.connect(f"127.0.0.1:{origin.port}")


@dataclass(frozen=True)
class Refused:
    """A start that comes to nothing: what stands in line 3 of gateway.yaml, or else was given, and what is told of it.
    `TAKEN` is a port that somebody listens on."""

    told: str
    text: str = ""
    arguments: tuple[str, ...] = ()
    variable: tuple[str, str] | None = None


REFUSED = {
    "port-taken": Refused(
        "listeners[0].bind: 127.0.0.1:TAKEN: cannot listen: the address is already in use",
        "listeners: [{bind: '127.0.0.1:TAKEN'}]",
    ),
    "admin-port-taken": Refused(
        "admin.bind: 127.0.0.1:TAKEN: cannot listen: the address is already in use", "admin: {bind: '127.0.0.1:TAKEN'}"
    ),
    "policy-missing": Refused(
        "gateway.yaml:3: policy: gone.yaml cannot be read: No such file or directory", "policy: gone.yaml"
    ),
    "policy-option-missing": Refused(
        "--policy: gone.yaml cannot be read: No such file or directory", arguments=("--policy", "gone.yaml")
    ),
    "bad-yaml": Refused("gateway.yaml:4: not valid YAML: ", "identity: {"),
    "users-unreadable": Refused(
        "gateway.yaml:3: identity.basic.htpasswd: . cannot be read: Is a directory", "identity: {basic: {htpasswd: .}}"
    ),
    "log-unwritable": Refused(
        "gone/r: cannot be opened for writing: No such file or directory", "telemetry: {access_log: {path: gone/r}}"
    ),
    "token-missing": Refused(
        "gone: admin.token_file: No such file or directory", "admin: {bind: '127.0.0.1:0', token_file: gone}"
    ),
    "config-missing": Refused("gone.yaml: cannot be read: No such file or directory", arguments=("-c", "gone.yaml")),
    "unknown-variable": Refused("EGRESS__TIMEOUT__IDLE: ", variable=("EGRESS__TIMEOUT__IDLE", "5m")),
}


@pytest.mark.parametrize("story", REFUSED)
def test_what_keeps_it_from_starting_is_told_in_one_line(tmp_path: Path, story: str) -> None:
    refused = REFUSED[story]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        usual = {"listeners": "[{bind: '127.0.0.1:0'}]", "admin": "{bind: '127.0.0.1:0'}"}
        given = [f"{key}: {value}" for key, value in usual.items() if not refused.text.startswith(key)]
        lines = [*given, *[""] * (2 - len(given)), refused.text.replace("TAKEN", port), ""]
        (tmp_path / "gateway.yaml").write_text("\n".join(lines))
        (tmp_path / "policy.yaml").write_text("rules: [{name: x, hosts: [x.test]}]\n")
        done = subprocess.run(
            [sys.executable, "-m", "gateway", "run", *refused.arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), **dict([refused.variable] if refused.variable else [])},
            capture_output=True,
            text=True,
            timeout=60,
        )
    [line] = done.stderr.splitlines()
    assert refused.told.replace("TAKEN", port) in line
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_comes_when_all_is_done_does_not_change_the_status(
    tmp_path: Path, number: signal.Signals
) -> None:
    with GatewayProcess(tmp_path, DENYING) as gateway:
        gateway.terminate()
        gateway.wait_for_line("drained")
        while gateway.process.poll() is None:
            gateway.process.send_signal(number)
            time.sleep(0.002)
        assert gateway.stop() == 0


def test_who_ends_it_while_it_reads_its_files_need_not_wait_and_who_wants_a_reload_does_not_end_it(
    tmp_path: Path,
) -> None:
    os.mkfifo(tmp_path / "hosts.txt")
    (tmp_path / "policy.yaml").write_text("rules: [{name: a, hosts_file: hosts.txt}]\n")
    command = [sys.executable, "-m", "gateway", "run", "--policy", "policy.yaml"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (
        subprocess.Popen(command, cwd=tmp_path, env=environ) as reading,
        (tmp_path / "hosts.txt").open("wb"),  # waits until it reads there
    ):
        reading.send_signal(signal.SIGHUP)
        assert _ended(reading) == 0


def _ended(process: "subprocess.Popen[bytes]") -> int:
    """Its status. Python notices a signal that comes just before a read that waits only after it: it is told again."""
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(10)
    process.send_signal(signal.SIGTERM)
    return process.wait(30)


def test_a_gateway_file_that_nobody_named_and_that_is_gone_stays_in_force(tmp_path: Path) -> None:
    environ = {"EGRESS__LISTENERS": '[{bind: "127.0.0.1:0"}]', "EGRESS__ADMIN__BIND": "127.0.0.1:0"}
    (tmp_path / "gateway.yaml").write_text("addresses: {deny: [192.0.2.0/24]}\n")
    with Running(tmp_path, environ=environ) as gateway:
        (tmp_path / "gateway.yaml").unlink()
        gateway.process.send_signal(signal.SIGHUP)
        assert gateway.process.stderr is not None
        for line in gateway.process.stderr:
            gateway.stderr.append(line.rstrip("\n"))
            if "in force" in line:
                break
    told = [line.partition(" ")[2] for line in gateway.stderr]
    assert "ERROR gateway.yaml: cannot be read: No such file or directory" in told
    assert "ERROR reload failed: policy generation 1 stays in force" in told
