"""How many processes serve, and that a fault in the watch on files ends none."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from gateway.app import process, serving
from gateway.app.configuration import Sources, load_configuration
from gateway.app.live import endless
from gateway.app.process import GatewayProcess, count_workers
from gateway.app.sockets import bind_sockets
from gateway.settings.gateway import GatewaySettings
from tests.app.policies import reading

CPUS = len(os.sched_getaffinity(0))


def test_as_many_as_the_file_says(tmp_path: Path) -> None:
    assert count_workers(GatewaySettings()) == 1
    assert count_workers(GatewaySettings(workers=3), tmp_path / "none") == 3


@pytest.mark.parametrize(
    ("quota", "workers"), [("max 100000", CPUS), ("100000 100000", 1), ("50000 100000", 1), ("900000 1000", CPUS)]
)
def test_auto_is_one_for_each_cpu_that_may_be_used(tmp_path: Path, quota: str, workers: int) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    auto = GatewaySettings(workers="auto")
    assert count_workers(auto, file) == workers
    assert count_workers(auto, tmp_path / "none") == CPUS


async def test_files_are_watched_again_after_a_fault_in_watching_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    faults, watched = [RuntimeError("planted")], asyncio.Event()

    async def watch(*_: object, **__: object) -> None:
        if faults:
            raise faults.pop()
        watched.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(process, "watch", watch)
    monkeypatch.setattr(endless, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(serving, "_freeze", lambda: None)
    (tmp_path / "policy.yaml").write_text("rules: []\n")
    (tmp_path / "gateway.yaml").write_text("listeners: [{bind: '127.0.0.1:0'}]\nadmin: {bind: '127.0.0.1:0'}\n")
    first = load_configuration(Sources(tmp_path / "gateway.yaml"), {})
    sockets = bind_sockets(first.head.settings, 1)
    gateway = GatewayProcess(asyncio.get_running_loop(), first, reading(lambda: first), sockets)
    running = asyncio.create_task(gateway.run())
    async with asyncio.timeout(60):
        await asyncio.wait([running, asyncio.create_task(watched.wait())], return_when=asyncio.FIRST_COMPLETED)
        assert gateway.unready() is None
        os.kill(os.getpid(), signal.SIGTERM)
        await running
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
        asyncio.get_running_loop().remove_signal_handler(number)
    assert "the watch on files failed" in caplog.text
