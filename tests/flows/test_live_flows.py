"""Looking on while connections go through: at once, over all workers, and at nobody's cost."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.helpers.crowd import Crowd, echoing
from tests.helpers.gateway import GatewayProcess
from tests.helpers.raw_client import RawClient, status_of

WORKERS = 4


class Observer:
    """`egress-gateway observe -o json` of a gateway; `seen` are flows with the instants at which they were printed."""

    def __init__(self, gateway: GatewayProcess, *flags: str) -> None:
        settings = yaml.safe_load(gateway.settings_file.read_text())
        settings["admin"] = {"bind": f"127.0.0.1:{gateway.ports['admin']}"}
        config = gateway.folder / "observe.yaml"
        config.write_text(yaml.safe_dump(settings))
        command = [sys.executable, "-m", "gateway", "observe", "-c", str(config), "-o", "json", *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.seen: deque[tuple[float, dict[str, Any]]] = deque()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.seen.append((time.monotonic(), json.loads(line)))

    def wait_for(self, host: str, seconds: float = 60.0) -> tuple[float, dict[str, Any]]:
        """The first flow to that host, and when it was printed."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for at, flow in list(self.seen):
                if flow.get("host") == host:
                    return at, flow
            time.sleep(0.005)
        raise AssertionError(f"{host} was never seen among {len(self.seen)}")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        self._reader.join()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


@contextmanager
def observing(gateway: GatewayProcess, *flags: str) -> Iterator[Observer]:
    """One that has begun to look on."""
    observer = Observer(gateway, *flags)
    try:
        see_something(observer, gateway)
        yield observer
    finally:
        observer.stop()


def see_something(observer: Observer, gateway: GatewayProcess) -> None:
    """Its process has begun to look on."""
    deadline = time.monotonic() + 60
    while not observer.seen:
        assert time.monotonic() < deadline, "it sees nothing"
        deny(gateway, "warm-up.test")
        time.sleep(0.05)


def deny(gateway: GatewayProcess, host: str) -> float:
    """When a client that is refused had its answer."""
    with RawClient(gateway.port) as client:
        assert status_of(client.connect(f"{host}:443")) == 403
    return time.monotonic()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    settings = {"workers": WORKERS, "drain": {"timeout": "2s"}}
    with GatewayProcess(tmp_path_factory.mktemp("live"), {"rules": []}, settings) as running:
        yield running


def test_a_denied_connection_is_seen_within_half_a_second_whichever_worker_had_it(gateway: GatewayProcess) -> None:
    with observing(gateway, "-f", "--verdict", "dropped", "--reason", "no_rule") as observer:
        late = []
        for number in range(24):
            answered = deny(gateway, f"denied-{number}.test")
            at, flow = observer.wait_for(f"denied-{number}.test")
            assert (flow["decision"], flow["reason"]) == ("deny", "no_rule")
            late.append(at - answered)
        print(f"seen after {sorted(late)[12] * 1e3:.0f} ms, at most {max(late) * 1e3:.0f} ms")
        assert max(late) < 0.5


def test_what_is_not_asked_for_is_not_shown(gateway: GatewayProcess) -> None:
    deny(gateway, "elsewhere.test")
    deny(gateway, "a.wanted.test")
    deadline = time.monotonic() + 60
    seen: list[str] = []
    while not seen and time.monotonic() < deadline:
        observer = Observer(gateway, "--to-fqdn", "*.wanted.test", "--since", "1m", "--port", "443")
        assert observer.process.wait(60) == 0
        observer.stop()
        seen = [flow["host"] for _, flow in observer.seen]
    assert seen == ["a.wanted.test"]


@pytest.mark.parametrize("workers", [1, WORKERS])
async def test_a_reader_that_does_not_read_costs_nobody_anything(tmp_path: Path, workers: int) -> None:
    async with echoing() as port:
        policy = {"rules": [{"name": "echo", "cidrs": ["127.0.0.1/32"], "ports": [port], "protocol": "tcp"}]}
        with GatewayProcess(tmp_path, policy, {"workers": workers, "drain": {"timeout": "2s"}}) as gateway:
            admin = gateway.ports["admin"]
            stuck = []
            for _ in range(4):
                reader, writer = await asyncio.open_connection("127.0.0.1", admin, limit=256)
                writer.write(b"GET /flows?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert b"200" in await reader.readline()
                writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport has it
                stuck.append(writer)
            process = psutil.Process(gateway.process.pid)
            before = process.memory_info().rss
            crowd = Crowd(gateway.port, port)
            observer = Observer(gateway, "-f")
            await asyncio.to_thread(see_something, observer, gateway)
            await crowd.arrive(400, 6.0)
            await asyncio.to_thread(deny, gateway, "last.test")
            at, _ = await asyncio.to_thread(observer.wait_for, "last.test")
            assert time.monotonic() - at < 5
            observer.stop()
            grown = process.memory_info().rss - before
            assert crowd.outcomes == {"echoed": 2400}
            assert gateway.metric("egress_flows_dropped_total") == 0
            assert grown < 40 * 2**20, f"{grown / 2**20:.1f} MiB"
            print(f"{workers} workers: grown {grown / 2**20:.1f} MiB with {len(stuck)} stuck readers")
            for writer in stuck:
                writer.transport.abort()
