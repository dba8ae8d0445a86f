"""A story: a gateway reports, a policy is learnt from what real clients did, it is enforced, and everything that went
on before still does. What was sent is what every log says, and another tool's reader as well."""

import json
import re
import socket
import socketserver
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml
from flowlogs_reader.flowlogs_reader import DEFAULT_FIELDS, FlowRecord

from gateway.telemetry.formats import squid
from tests.cli.test_main import asked
from tests.clients.matrix import CLIENTS, ClientProgram, Task
from tests.helpers.authority import TestAuthority
from tests.helpers.dns_server import DnsServer
from tests.helpers.file_origin import HELLO, FileOrigin, make_site
from tests.helpers.gateway import GatewayProcess
from tests.helpers.own_network import own_network

pytestmark = [
    pytest.mark.clients,
    pytest.mark.slow,
    pytest.mark.privileged,
    pytest.mark.filterwarnings("ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning"),
]

TOLD_OF_PROXIES = ("curl", "git clone", "Python urllib", "Python requests")
REPORTING = """version: 1
mode: report
# Nobody knows yet who goes where.
rules:
  - name: old   # from before
    hosts: [old.example]
"""
ADDRESS = "9.9.9.9"  # global unicast, and here this machine's
SENT, ANSWERED = 70_001, 130_003


class CountingOrigin(socketserver.ThreadingTCPServer):
    """Reads until the client's end, answers `ANSWERED` bytes, and knows how many it read."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__((ADDRESS, 0), _Counting)
        self.read = 0
        self.port = self.server_address[1]


class _Counting(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, CountingOrigin)
        while data := self.request.recv(65536):
            self.server.read += len(data)
        self.request.sendall(b"y" * ANSWERED)


@dataclass
class World:
    """Origins and names."""

    dns: DnsServer
    origin: FileOrigin
    counting: CountingOrigin
    authority: TestAuthority
    hosts: Mapping[str, str]

    def settings(self) -> dict[str, Any]:
        logs = {
            "json": "records.jsonl",
            "vpc": "flows.log",
            "squid": "squid.log",
            "envoy": "envoy.log",
            "text": "text.log",
        }
        access_log = [{"path": path, "format": format_} for format_, path in logs.items()]
        return {
            "resolver": {"servers": [f"127.0.0.1:{self.dns.port}"]},
            "telemetry": {"access_log": access_log},
        }


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    folder = tmp_path / "world"
    folder.mkdir()
    make_site(folder / "site")
    hosts = {name: f"{re.sub('[^a-z]', '-', name.lower())}.test" for name in TOLD_OF_PROXIES}
    authority = TestAuthority(folder)
    context = authority.server_context(*hosts.values(), "new.test")
    with (
        own_network(f"{ADDRESS}/32"),
        DnsServer() as dns,
        FileOrigin(folder / "site", context, ADDRESS) as origin,
        CountingOrigin() as counting,
    ):
        for host in (*hosts.values(), "new.test", "counted.test"):
            dns.answer(host, ADDRESS)
        Thread(target=counting.serve_forever, daemon=True).start()
        yield World(dns, origin, counting, authority, hosts)
        counting.shutdown()


def _clients() -> list[ClientProgram]:
    return [client for client in CLIENTS if client.name in TOLD_OF_PROXIES]


def _fetch(
    world: World, client: ClientProgram, host: str, gateway: GatewayProcess, folder: Path
) -> tuple[int, str, str]:
    folder.mkdir(parents=True)
    return client.run(Task(f"https://{host}:{world.origin.port}", gateway.port, world.authority.bundle, folder))


def _send_counted(world: World, gateway: GatewayProcess) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        client.sendall(f"CONNECT counted.test:{world.counting.port} HTTP/1.1\r\nHost: counted.test\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += client.recv(1)
        assert b" 200 " in head
        client.sendall(b"x" * SENT)
        client.shutdown(socket.SHUT_WR)
        got = 0
        while data := client.recv(65536):
            got += len(data)
    assert got == ANSWERED


def _run(folder: Path, *arguments: object, status: int = 0) -> str:
    ended = asked(folder, *map(str, arguments))
    assert ended.returncode == status, ended.stdout + ended.stderr
    return ended.stdout


def test_what_was_reported_is_learnt_enforced_replayed_and_added_up(world: World, tmp_path: Path) -> None:
    seen = tmp_path / "reporting"
    seen.mkdir()
    with GatewayProcess(seen, REPORTING, world.settings()) as gateway:
        for client in _clients():
            status, brought, said = _fetch(world, client, world.hosts[client.name], gateway, seen / client.name)
            assert (status, brought) == (0, HELLO), said
        for _ in range(3):
            _send_counted(world, gateway)
        assert {record["would_deny"] for record in gateway.quiet()} == {"no_rule"}
    records = seen / "records.jsonl"

    policy = seen / "policy.yaml"
    _run(seen, "learn", "-c", seen / "gateway.yaml", "-w", records)
    learnt = policy.read_text()
    assert learnt.startswith(REPORTING)
    rules = yaml.safe_load(learnt)["rules"][1:]
    assert {host for rule in rules for host in rule["hosts"]} == {*world.hosts.values(), "counted.test"}
    assert _run(seen, "learn", "-c", seen / "gateway.yaml", records) == ""

    _still_works_when_enforced(world, tmp_path / "enforcing", learnt.replace("mode: report", "mode: enforce"))
    _replay_names_what_a_missing_rule_breaks(world, seen, learnt)
    _logs_add_up_to_what_was_sent(world, seen)


def _still_works_when_enforced(world: World, folder: Path, policy: str) -> None:
    folder.mkdir()
    with GatewayProcess(folder, policy, world.settings()) as gateway:
        for client in _clients():
            status, brought, said = _fetch(world, client, world.hosts[client.name], gateway, folder / client.name)
            assert (status, brought) == (0, HELLO), said
        _send_counted(world, gateway)
        left = world.origin.connections, len(world.dns.queries)
        status, _, said = _fetch(world, _clients()[0], "new.test", gateway, folder / "new")
        assert status != 0
        assert "403" in said
        assert (world.origin.connections, len(world.dns.queries)) == left
        (denied,) = gateway.wait_for_records(1, decision="deny")
        assert (denied["host"], denied["reason"]) == ("new.test", "no_rule")
    diff = _run(folder, "report", "-o", "json", "--by", "destination", folder / "records.jsonl")
    (row,) = [row for row in json.loads(diff)["rows"] if row["denied"]]
    assert row["destination"] == f"new.test:{world.origin.port}"


def _replay_names_what_a_missing_rule_breaks(world: World, seen: Path, learnt: str) -> None:
    whole = yaml.safe_load(learnt) | {"mode": "enforce"}
    candidate = seen / "candidate.yaml"
    candidate.write_text(yaml.safe_dump(whole))
    replay = ("replay", "-c", seen / "gateway.yaml", "--policy", candidate, "-o", "json", seen / "records.jsonl")
    assert json.loads(_run(seen, *replay))["newly_denied"] == []

    rules = [rule for rule in whole["rules"] if "git-clone.test" not in rule["hosts"]]
    candidate.write_text(yaml.safe_dump(whole | {"rules": rules}))
    broken = json.loads(_run(seen, *replay, status=1))
    mine = [record for record in _json(seen) if record["host"] == "git-clone.test"]
    (flow,) = broken["newly_denied"]
    assert (flow["client"], flow["destination"]) == ("127.0.0.1", f"git-clone.test:{world.origin.port}")
    assert (flow["count"], flow["reason"]) == (len(mine), "no_rule")
    assert (flow["first"], flow["last"]) == (mine[0]["time"], mine[-1]["time"])
    assert broken["newly_allowed"] == []


def _json(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


def _logs_add_up_to_what_was_sent(world: World, seen: Path) -> None:
    """Three counted transfers went by: each log and each reader says so, without and with the clients beside them."""
    sent, answered = 3 * SENT, 3 * ANSWERED
    destination = f"counted.test:{world.counting.port}"
    everything = sum(record["bytes_up"] + record["bytes_down"] for record in _json(seen))
    for log in ("records.jsonl", "envoy.log", "text.log"):
        report = json.loads(_run(seen, "report", "-o", "json", "--by", "destination", seen / log))
        (row,) = [row for row in report["rows"] if row["destination"] == destination]
        assert (row["bytes_up"], row["bytes_down"], row["allowed"]) == (sent, answered, 3)
        assert report["total"]["bytes_up"] + report["total"]["bytes_down"] == everything

    flows = [FlowRecord.from_cwl_event({"message": line}) for line in (seen / "flows.log").read_text().splitlines()]
    assert sum(flow.bytes for flow in flows if flow.dstport == world.counting.port) == sent
    assert sum(flow.bytes for flow in flows if flow.srcport == world.counting.port) == answered
    assert sum(flow.bytes or 0 for flow in flows) == everything
    assert len(DEFAULT_FIELDS) == 14

    lines = [squid.decode(line) for line in (seen / "squid.log").read_bytes().splitlines()]
    assert sum(line["bytes_down"] for line in lines if line["host"] == "counted.test") == answered
    assert world.counting.read == 4 * SENT
