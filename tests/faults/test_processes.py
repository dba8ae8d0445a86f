"""Processes that stop, and policies that never stand still, under load. Killed workers and supervisors, rolling
restarts: tests/flows/test_workers.py."""

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path

from tests.faults.scale import LONG
from tests.flows.test_workers import accounted, allowing, settings, workers_of
from tests.helpers.crowd import Crowd, echoing, tunnel
from tests.helpers.gateway import GatewayProcess

WAITING = 40
RELOADS = 200 if LONG else 5
RATE = 200


async def test_a_stopped_worker_makes_its_own_clients_wait_and_a_stopped_supervisor_nobody(tmp_path: Path) -> None:
    async with echoing() as target:
        with GatewayProcess(tmp_path, allowing(target), settings(2)) as gateway:
            stopped = workers_of(gateway)[0]
            stopped.suspend()
            try:
                asking = [asyncio.create_task(_served(gateway.port, target)) for _ in range(WAITING)]
                done, waiting = await asyncio.wait(asking, timeout=3.0)
                assert done, "the worker that runs serves its own"
                assert all(task.result() for task in done)
            finally:
                stopped.resume()
            assert await asyncio.gather(*waiting) == [True] * len(waiting)
            accepted, lost, records = await accounted(gateway)
            print(f"{len(waiting)} of {WAITING} waited for the stopped worker")
            assert (accepted, lost, records) == (WAITING, 0, WAITING)

            gateway.process.send_signal(signal.SIGSTOP)
            try:
                crowd = Crowd(gateway.port, target)
                await crowd.arrive(RATE, 1.0)
                assert crowd.outcomes == {"echoed": RATE}
            finally:
                gateway.process.send_signal(signal.SIGCONT)
            assert await accounted(gateway) == (WAITING + RATE, 0, WAITING + RATE)


async def _served(port: int, target: int) -> bool:
    async with tunnel(port, f"127.0.0.1:{target}") as (reader, writer):
        writer.write(b"ping")
        return await reader.readexactly(4) == b"ping"


async def test_a_storm_of_reloads_costs_no_connection_and_ends_with_the_last_policy(tmp_path: Path) -> None:
    async with echoing() as target, AsyncExitStack() as stack:
        with GatewayProcess(tmp_path, allowing(target), settings(2)) as gateway:
            held = [await stack.enter_async_context(tunnel(gateway.port, f"127.0.0.1:{target}")) for _ in range(20)]
            crowd = Crowd(gateway.port, target)
            seconds = RELOADS / 10
            arriving = asyncio.create_task(crowd.arrive(RATE / 2, seconds))
            for number in range(RELOADS):
                broken = "rules: [" if number % 3 == 1 else allowing(target)
                gateway.write_policy(broken)
                gateway.process.send_signal(signal.SIGHUP)
                await asyncio.sleep(0.1)
            await arriving
            assert crowd.outcomes == {"echoed": int(RATE / 2 * seconds)}
            for reader, writer in held:
                writer.write(b"ping")
                assert await reader.readexactly(4) == b"ping"
            gateway.write_policy({"rules": []})
            gateway.process.send_signal(signal.SIGHUP)
            await asyncio.to_thread(_until_denied, gateway.port, target)


def _until_denied(port: int, target: int) -> None:
    deadline = time.monotonic() + 20.0
    while asyncio.run(_is_served(port, target)):
        assert time.monotonic() < deadline, "the last policy is not in force"
        time.sleep(0.1)


async def _is_served(port: int, target: int) -> bool:
    crowd = Crowd(port, target)
    await crowd.arrive(20, 0.1)
    return "echoed" in crowd.outcomes
