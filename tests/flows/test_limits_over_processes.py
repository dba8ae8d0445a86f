"""Limits that hold over the workers of one gateway, and over gateways that share a store."""

import os
import signal
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from gateway.model.reasons import Reason
from tests.flows.test_lifecycle import becomes
from tests.helpers.gateway import GatewayProcess
from tests.helpers.origins import Origin, echo
from tests.helpers.raw_client import RawClient, status_of
from tests.helpers.redis_server import RedisServer

RATE, BURST = 100, 20

REASONS = {Reason.LIMIT_STORE_UNAVAILABLE}
"""What the flows here read from records."""


def policy(port: int, *limits: dict[str, object]) -> dict[str, object]:
    rule = {"name": "r", "cidrs": ["127.0.0.1/32"], "ports": [port], "protocol": "tcp", "limits": list(limits)}
    return {"rules": [rule]}


def test_four_workers_let_through_what_one_would_though_one_is_killed(tmp_path: Path) -> None:
    """100/s, burst 20; as much as six clients can ask for 4 s, and a worker is killed in their midst. That no less
    passes either is shown without clients and sockets, in tests/limits/tables/test_shared.py."""
    with Origin(echo) as origin:
        rules = policy(origin.port, {"connections": f"{RATE}/s", "burst": BURST})
        with GatewayProcess(tmp_path, rules, {"workers": 4}) as gateway:
            passed: list[float] = []
            begin = time.monotonic()
            clients = [threading.Thread(target=_ask, args=(gateway, origin, begin + 4.0, passed)) for _ in range(6)]
            for client in clients:
                client.start()
            time.sleep(2.0)
            os.kill(_workers_of(gateway.process.pid)[0], signal.SIGKILL)
            for client in clients:
                client.join()
            seconds = time.monotonic() - begin
    assert len(passed) <= RATE * seconds + BURST
    assert len(passed) >= RATE * 2


def test_what_a_killed_worker_held_is_given_back(tmp_path: Path) -> None:
    with Origin(echo) as origin, ExitStack() as stack:
        gateway = stack.enter_context(GatewayProcess(tmp_path, policy(origin.port, {"concurrent": 3}), {"workers": 2}))
        clients = [stack.enter_context(RawClient(gateway.port)) for _ in range(3)]
        assert [status_of(client.connect(f"127.0.0.1:{origin.port}")) for client in clients] == [200] * 3
        with RawClient(gateway.port) as one_more:
            assert status_of(one_more.connect(f"127.0.0.1:{origin.port}")) == 429
        for worker in _workers_of(gateway.process.pid):
            os.kill(worker, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while True:
            try:
                with RawClient(gateway.port) as again:
                    if status_of(again.connect(f"127.0.0.1:{origin.port}")) == 200:
                        break
            except (OSError, IndexError):
                pass  # nobody serves yet
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_two_gateways_share_a_limit_through_redis_and_deny_without_it_until_a_reload_says_otherwise(
    tmp_path: Path,
) -> None:
    with RedisServer(tmp_path) as redis, Origin(echo) as origin, ExitStack() as stack:
        settings = {"limits": {"store": redis.url, "on_store_failure": "deny"}}
        rules = policy(origin.port, {"connections": "1/m", "burst": 3}, {"concurrent": 100})
        gateways = []
        for name in ("one", "two"):
            folder = tmp_path / name
            folder.mkdir()
            gateways.append(stack.enter_context(GatewayProcess(folder, rules, settings)))
        for gateway in gateways:
            _has_stores_down(gateway, 0)
        found = []
        for number in range(5):
            with RawClient(gateways[number % 2].port) as client:
                found.append(status_of(client.connect(f"127.0.0.1:{origin.port}")))
        assert found == [200, 200, 200, 429, 429]
        redis.kill()
        _has_stores_down(gateways[0], 1)
        visits = origin.settled()
        with RawClient(gateways[0].port) as client:
            head = client.connect(f"127.0.0.1:{origin.port}")
        assert status_of(head) == 503
        assert b"\r\nRetry-After: " in head
        assert origin.settled() == visits
        (record,) = gateways[0].wait_for_records(1, status=503)
        assert (record["reason"], record["decision"]) == (Reason.LIMIT_STORE_UNAVAILABLE, "deny")
        gateways[0].write_settings({"limits": {"store": redis.url, "on_store_failure": "allow"}})
        becomes(gateways[0], "egress_policy_generation", 2)
        with RawClient(gateways[0].port) as client:
            assert status_of(client.connect(f"127.0.0.1:{origin.port}")) == 200


def _has_stores_down(gateway: GatewayProcess, wanted: int) -> None:
    deadline = time.monotonic() + 60
    while gateway.metric("egress_limit_stores_down") != wanted:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _ask(gateway: GatewayProcess, origin: Origin, until: float, passed: list[float]) -> None:
    while time.monotonic() < until:
        try:
            with RawClient(gateway.port) as client:
                if status_of(client.connect(f"127.0.0.1:{origin.port}")) == 200:
                    passed.append(time.monotonic())
        except (OSError, IndexError):
            continue  # its worker was killed


def _workers_of(supervisor: int) -> list[int]:
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    found = []
    for pid in map(int, children):
        with suppress(OSError):  # it may have ended meanwhile
            if b"gateway.app.workers.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found
