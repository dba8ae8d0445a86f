"""Files change under a running gateway in every way that they do, and nothing but whole, valid policies take over."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest

from benchmarks.reloading import GAP, Size, watch_reloads
from tests.cli.test_main import asked
from tests.flows.test_lifecycle import ROOT, ask, becomes, echoes, generation, tunnel, until
from tests.helpers.gateway import GatewayProcess
from tests.helpers.origins import Origin, echo
from tests.helpers.ports import free_port
from tests.helpers.raw_client import RawClient, status_of
from tests.helpers.responses import read_response

TOKEN = "correct-horse-battery"
READER = "gateway.app.generation.child"


SECOND = "127.0.0.2"


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with Origin(echo, port=free_port(SECOND)) as server:
        yield server


def allowing(origin: Origin, name: str = "ip") -> str:
    """A policy file under which the origin can be reached."""
    return f"rules: [{{name: {name}, cidrs: [127.0.0.1/32], ports: [{origin.port}], protocol: tcp}}]\n"


def test_a_bad_list_file_keeps_it_from_starting_with_status_2_and_the_files_line(tmp_path: Path) -> None:
    (tmp_path / "feed.txt").write_text("# bad names\ngood.test\nnot a name\n*.*\n")
    (tmp_path / "policy.yaml").write_text("rules: [{name: feed, hosts_file: feed.txt, action: deny}]\n")
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "run", "--listen", "127.0.0.1:0"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "EGRESS__ADMIN__BIND": "127.0.0.1:0"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert [line.split(": ")[0] for line in done.stderr.splitlines()] == ["feed.txt:3", "feed.txt:4"]


def test_a_list_file_is_read_again_when_it_changes_and_an_empty_one_is_an_error(tmp_path: Path) -> None:
    feed = tmp_path / "feed.txt"
    feed.write_text("one.bad.test\n")
    policy = "rules:\n- {name: feed, hosts_file: feed.txt, action: deny}\n"

    def told(host: str) -> object:
        with RawClient(gateway.port) as client:
            assert status_of(client.connect(f"{host}:443")) == 403
        return gateway.wait_for_records(1, host=host)[-1]["reason"]

    with GatewayProcess(tmp_path, policy) as gateway:
        assert (told("one.bad.test"), told("two.bad.test")) == ("denied_by_rule", "no_rule")
        feed.write_text("# nothing left\n")
        becomes(gateway, "egress_policy_reload_success", 0)
        gateway.wait_for_line(f"{gateway.policy_file}:2: rules[0].hosts_file: {feed} has no entries")
        assert generation(gateway) == 1
        feed.write_text("one.bad.test\nthree.bad.test # new\n")
        becomes(gateway, "egress_policy_generation", 2)
        assert told("three.bad.test") == "denied_by_rule"


class ConfigMap:
    """A directory as the kubelet mounts one: names point through `..data`, which is swapped whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._states = 0
        folder.mkdir()

    def swap(self, **files: str) -> None:
        self._states += 1
        state = self.folder / f"..state{self._states}"
        state.mkdir()
        for name, text in files.items():
            (state / f"{name}.yaml").write_text(text)
        fresh = self.folder / "..data_tmp"
        fresh.symlink_to(state.name)
        fresh.replace(self.folder / "..data")
        for name in files:
            link = self.folder / f"{name}.yaml"
            if not link.is_symlink():
                link.symlink_to(f"..data/{name}.yaml")


def test_the_files_of_a_swapped_mount_take_over_as_one_policy(tmp_path: Path, origin: Origin) -> None:
    mount = ConfigMap(tmp_path / "policy")
    mount.swap(a=allowing(origin), b="rules: [{name: x, hosts: [x.test]}]\n")
    with GatewayProcess(tmp_path, "", {"policy": "policy"}) as gateway:
        assert ask(gateway, origin) == 200
        mount.swap(a="rules: []\n", b=allowing(origin, "moved"))
        becomes(gateway, "egress_policy_generation", 2)
        assert ask(gateway, origin) == 200
        assert [record["rule"] for record in gateway.wait_for_records(2)] == ["a.yaml#ip", "b.yaml#moved"]


def test_a_half_written_file_is_not_taken_and_the_whole_one_is(tmp_path: Path, origin: Origin) -> None:
    whole = "rules:\n- {name: other, hosts: [x.test]}\n" + allowing(origin, "late").removeprefix("rules: [")[:-2] + "\n"
    whole = whole.replace("{name: late", "- {name: late")
    half = whole[: whole.index("ports")]
    with GatewayProcess(tmp_path, allowing(origin)) as gateway:
        gateway.policy_file.write_text(half)
        becomes(gateway, "egress_policy_reload_success", 0)
        assert (generation(gateway), ask(gateway, origin)) == (1, 200)
        gateway.policy_file.write_text(whole)
        becomes(gateway, "egress_policy_reload_success", 1)  # told when the reader has ended, after the generation
        assert generation(gateway) == 2
        ask(gateway, origin)
        assert gateway.wait_for_records(2)[-1]["rule"] == "policy.yaml#late"


def test_two_hundred_reloads_in_a_row_end_with_the_last_file_and_cost_no_memory(tmp_path: Path, origin: Origin) -> None:
    with GatewayProcess(tmp_path, allowing(origin)) as gateway, tunnel(gateway, origin) as client:
        process = psutil.Process(gateway.process.pid)
        sizes = []
        for number in range(1, 201):
            gateway.write_policy(allowing(origin, f"r{number}"))
            gateway.process.send_signal(signal.SIGHUP)
            if number % 50 == 0:
                latest = f"policy.yaml#r{number}"
                until(partial(_decides, gateway, origin, latest))
                sizes.append(process.memory_info().rss)
            time.sleep(0.01)
        echoes(client)
        assert 4 <= generation(gateway) <= 201
        assert gateway.metric("egress_policy_reload_success") == 1
        until(lambda: not _readers(process))
        assert sizes[-1] - sizes[0] < 8 << 20


def _decides(gateway: GatewayProcess, origin: Origin, rule: str) -> bool:
    """Whether this rule let the last connection pass."""
    assert ask(gateway, origin) == 200
    return any(record["rule"] == rule for record in gateway.records())


def test_a_reader_does_not_outlive_a_gateway_that_is_killed(tmp_path: Path, origin: Origin) -> None:
    with GatewayProcess(tmp_path, allowing(origin)) as gateway:
        process, endless = psutil.Process(gateway.process.pid), tmp_path / "endless.txt"
        os.mkfifo(endless)
        with endless.open("r+b", buffering=0):
            gateway.write_policy("rules: [{name: a, hosts_file: endless.txt}]\n")
            gateway.process.send_signal(signal.SIGHUP)
            until(lambda: any(_has_open(each, endless) for each in _readers(process)))
            reading = _readers(process)
            gateway.process.kill()
            gone, left = psutil.wait_procs(reading, timeout=10)
            for each in left:
                each.kill()
            assert set(gone) == set(reading)


def test_a_signal_of_a_terminal_is_not_for_a_reader(tmp_path: Path, origin: Origin) -> None:
    with GatewayProcess(tmp_path, allowing(origin), prefix=["setsid"]) as gateway:
        process, endless = psutil.Process(gateway.process.pid), tmp_path / "endless.txt"
        os.mkfifo(endless)
        with endless.open("r+b", buffering=0):
            gateway.write_policy("rules: [{name: a, hosts_file: endless.txt}]\n")
            gateway.process.send_signal(signal.SIGHUP)
            until(lambda: any(_has_open(each, endless) for each in _readers(process)))
            os.killpg(gateway.process.pid, signal.SIGINT)
            assert gateway.process.wait(30) == 0
    assert not [line for line in gateway.stderr_lines if "process that read the files" in line]


def _has_open(process: psutil.Process, file: Path) -> bool:
    with suppress(OSError):  # what it closes meanwhile
        return any(each.readlink() == file for each in Path(f"/proc/{process.pid}/fd").iterdir())
    return False


def _readers(process: psutil.Process) -> list[psutil.Process]:
    return [child for child in process.children() if READER in _command(child)]


def _command(process: psutil.Process) -> str:
    """Nothing for one that has just ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def test_a_reader_that_is_killed_is_a_failed_reload_and_says_so(tmp_path: Path, origin: Origin) -> None:
    with GatewayProcess(tmp_path, allowing(origin)) as gateway:
        process, endless = psutil.Process(gateway.process.pid), tmp_path / "endless.txt"
        os.mkfifo(endless)
        with endless.open("r+b", buffering=0):  # it does not come to its end before it is killed
            gateway.write_policy("rules: [{name: a, hosts_file: endless.txt}]\n")
            gateway.process.send_signal(signal.SIGHUP)
            until(lambda: bool(_readers(process)))
            _readers(process)[0].kill()
            gateway.wait_for_line("the process that read the files ended before it was done (signal 9)")
            assert (generation(gateway), ask(gateway, origin)) == (1, 200)
            assert gateway.metric("egress_policy_reload_success") == 0
            gateway.write_policy(allowing(origin))
            endless.unlink()
        gateway.process.send_signal(signal.SIGHUP)
        becomes(gateway, "egress_policy_generation", 2)


def test_forbidden_tunnels_drain_when_they_are_idle_and_allowed_ones_stay(tmp_path: Path, origin: Origin) -> None:
    both = f"ports: [{origin.port}], protocol: tcp"
    policy = f"rules: [{{name: v4, cidrs: [127.0.0.1/32], {both}}}, {{name: net, cidrs: [127.0.0.2/32], {both}}}]"
    with Origin(echo, SECOND, origin.port) as other:
        settings = {"on_reload": "drain", "drain": {"timeout": "3s"}}
        with GatewayProcess(tmp_path, policy, settings) as gateway, tunnel(gateway, origin) as allowed:
            with RawClient(gateway.port) as forbidden:
                assert status_of(forbidden.connect(f"127.0.0.2:{other.port}")) == 200
                echoes(forbidden)
                gateway.write_policy(allowing(origin, "v4"))
                becomes(gateway, "egress_policy_generation", 2)
                echoes(forbidden)
                with pytest.raises(ConnectionResetError):
                    _echoes_for_ever(forbidden)
            echoes(allowed)
            [record] = gateway.wait_for_records(1)
            assert (record["reason"], record["rule"], record["ended_by"]) == (
                "policy_changed",
                "policy.yaml#net",
                "gateway",
            )


def _echoes_for_ever(client: RawClient) -> None:
    while True:
        echoes(client)
        time.sleep(0.05)


def test_other_logs_and_another_name_follow_a_reload_and_what_cannot_be_opened_stops_it(
    tmp_path: Path, origin: Origin
) -> None:
    with GatewayProcess(tmp_path, "rules: []") as gateway:
        telemetry = {"name": "gw-2", "access_log": [{"path": "second.jsonl"}]}
        gateway.write_settings({"telemetry": telemetry})
        becomes(gateway, "egress_policy_generation", 2)
        with RawClient(gateway.port) as client:
            assert b"Proxy-Status: gw-2;" in client.connect("x.test:443")
        until(lambda: (tmp_path / "second.jsonl").read_text().count("\n") == 1)
        gateway.write_settings({"telemetry": {"access_log": [{"path": "missing/third.jsonl"}]}})
        becomes(gateway, "egress_policy_reload_success", 0)
        gateway.wait_for_line("missing/third.jsonl: cannot be opened for writing")
        ask(gateway, origin)
        until(lambda: (tmp_path / "second.jsonl").read_text().count("\n") == 2)
        assert gateway.metric("egress_records_lost_total") == 0


def test_another_name_and_bound_hold_for_every_request(tmp_path: Path) -> None:
    with GatewayProcess(tmp_path, "rules: []") as gateway:
        gateway.write_settings({"telemetry": {"name": "gw-2"}, "bounds": {"head": "1KiB"}})
        becomes(gateway, "egress_policy_generation", 2)
        with RawClient(gateway.port) as client:
            for padding, status in (("", 403), ("X-Padding: " + "x" * 2000 + "\r\n", 431)):
                client.send(f"GET http://x.test/ HTTP/1.1\r\nHost: x.test\r\n{padding}\r\n".encode())
                head, _ = read_response(client)
                assert status_of(head) == status
                assert b"Proxy-Status: gw-2;" in head


def test_the_command_line_lists_and_closes_tunnels_of_a_running_gateway(
    tmp_path: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    with (
        GatewayProcess(
            tmp_path, allowing(origin), {"admin": {"bind": "127.0.0.1:0", "token_file": "token"}}
        ) as gateway,
        tunnel(gateway, origin) as client,
    ):
        monkeypatch.setenv("EGRESS__ADMIN__BIND", f"127.0.0.1:{gateway.ports['admin']}")

        def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            return asked(tmp_path, "tunnels", *arguments, "-c", str(gateway.settings_file))

        title, row, total = run().stdout.splitlines()
        assert title.split() == ["ID", "CLIENT", "DESTINATION", "RULE", "GEN", "AGE", "UP", "DOWN"]
        assert row.split()[1:5] == ["127.0.0.1", f"127.0.0.1:{origin.port}", "policy.yaml#ip", "1"]
        assert total == "1 open"
        [listed] = json.loads(run("-o", "json", "--client", "127.0.0.1", "--rule", "ip", "--host", "127").stdout)
        assert (listed["bytes_up"], listed["bytes_down"], listed["connection_id"]) == (4, 4, row.split()[0])
        assert json.loads(run("-o", "json", "--client", "127.0.0.9").stdout) == []
        assert run("close", "nowhere").returncode == 1
        assert run("close", listed["connection_id"]).returncode == 0
        with pytest.raises(ConnectionResetError):
            client.read_to_end()
        (tmp_path / "token").write_text("guessed")
        # The gateway reads the token again as well: what the client then sends is right.
        assert run().returncode == 0
    refused = run()
    assert (refused.returncode, refused.stderr.startswith("no answer from the admin port")) == (2, True)


@pytest.mark.slow
async def test_a_large_policy_takes_over_without_keeping_the_loop(tmp_path: Path) -> None:
    """The full size: `python -m benchmarks.reloading`. Here the machine may be busy: what counts is how long the
    gateway's thread was on a CPU between two ticks."""
    size = Size(rules=2_000, lines=20_000, tunnels=10, reloads=2, rest=1)
    resting, seen = await watch_reloads(tmp_path, size)
    assert resting.round_trips > 0
    for one in seen:
        print(one)
    assert [one.generation for one in seen] == [2, 3]
    assert max(one.gaps.on_cpu for one in seen) <= GAP
    assert min(one.gaps.round_trips for one in seen) > 0
