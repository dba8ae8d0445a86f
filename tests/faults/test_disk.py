"""A disk that is full, really: a tmpfs of 64 KiB that only the gateway sees."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.flows.test_workers import allowing
from tests.helpers.crowd import Crowd, echoing
from tests.helpers.gateway import GatewayProcess
from tests.helpers.requirements import require, require_root

MANY = 300
"""Records, of some 600 bytes each: three times what the disk holds."""


@pytest.mark.privileged
async def test_a_full_disk_costs_records_that_are_counted_and_with_room_again_they_are_written(tmp_path: Path) -> None:
    require_root()
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = f'{require("mount")} -t tmpfs -o size=64k none "{disk}" && exec "$@"'
    prefix = [require("unshare"), "--mount", "sh", "-c", mounted, "gateway"]
    settings = {"telemetry": {"access_log": [{"path": str(disk / "records.jsonl"), "format": "json"}]}}
    async with echoing() as target:
        with GatewayProcess(tmp_path, allowing(target), settings, prefix=prefix) as gateway:
            inside = Path(f"/proc/{gateway.process.pid}/root{disk}/records.jsonl")
            crowd = Crowd(gateway.port, target)
            await crowd.arrive(MANY, 1.0)
            assert crowd.outcomes == {"echoed": MANY}
            await _until(lambda: _written(gateway) + _lost(gateway) == MANY)
            written, lost = _written(gateway), _lost(gateway)
            assert lost > 0
            assert await asyncio.to_thread(_size, inside) <= 64 * 1024
            os.truncate(inside, 0)
            await crowd.arrive(20, 0.5)
            await _until(lambda: _written(gateway) + _lost(gateway) == MANY + 10)
            assert _written(gateway) > written
            more = _written(gateway) - written
            print(f"{written:g} records written, {lost:g} lost; then room, and {more:g} of 10 written")


def _size(file: Path) -> int:
    return file.stat().st_size


def _written(gateway: GatewayProcess) -> float:
    return gateway.metric("egress_records_written_total")


def _lost(gateway: GatewayProcess) -> float:
    return gateway.metric("egress_records_lost_total")


async def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15.0
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < deadline, "never"
        await asyncio.sleep(0.05)
