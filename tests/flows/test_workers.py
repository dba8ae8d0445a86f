"""Many workers as one gateway: nobody who connects notices that a worker was killed or replaced, and nothing that was
accepted goes uncounted."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import psutil
import pytest

from tests.helpers.crowd import Crowd, echoing, tunnel
from tests.helpers.gateway import GatewayProcess

TOKEN = "correct-horse-battery"
RATE = 500
SECONDS = 10.0

Policy = Mapping[str, object]


@pytest.fixture
async def target() -> AsyncIterator[int]:
    async with echoing() as port:
        yield port


def allowing(port: int) -> Policy:
    return {"rules": [{"name": "echo", "cidrs": ["127.0.0.1/32"], "ports": [port], "protocol": "tcp"}]}


def settings(workers: int, **others: object) -> dict[str, object]:
    return {"workers": workers, "drain": {"timeout": "5s"}, **others}


def workers_of(gateway: GatewayProcess) -> list[psutil.Process]:
    """Those that live, the oldest first."""
    children = psutil.Process(gateway.process.pid).children()
    alive = [child for child in children if child.status() != psutil.STATUS_ZOMBIE]
    return sorted(alive, key=lambda child: (child.create_time(), child.pid))


async def until(holds: Callable[[], bool], what: str = "it") -> None:
    """Wait for it."""
    deadline = time.monotonic() + SECONDS
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < deadline, f"{what} never came true"
        await asyncio.sleep(0.05)


async def becomes(gateway: GatewayProcess, metric: str, value: float) -> None:
    await until(lambda: gateway.metric(metric) == value, f"{metric} = {value:g}")


async def accounted(gateway: GatewayProcess) -> tuple[float, float, int]:
    """Connections accepted, those lost with a worker, and records: once nothing is open and all is written."""
    await becomes(gateway, "egress_connections_open", 0)
    await until(lambda: _balance(gateway) == 0, "the balance")
    return (
        gateway.metric("egress_connections_accepted_total"),
        gateway.metric("egress_records_lost_total"),
        len(gateway.records()),
    )


def _balance(gateway: GatewayProcess) -> float:
    counts = {line.partition(" ")[0]: line.rpartition(" ")[2] for line in gateway.metrics().splitlines()}
    accepted, lost = counts["egress_connections_accepted_total"], counts["egress_connections_lost_total"]
    return float(accepted) - float(lost) - gateway.metric("egress_connections_total")


async def test_a_killed_worker_costs_only_the_connections_that_it_held(tmp_path: Path, target: int) -> None:
    with GatewayProcess(tmp_path, allowing(target), settings(4)) as gateway:
        crowd = Crowd(gateway.port, target)
        arriving = asyncio.create_task(crowd.arrive(RATE, 4.0))
        await asyncio.sleep(1.0)
        victim = workers_of(gateway)[0]
        victim.kill()
        await arriving
        await becomes(gateway, "egress_workers", 4)
        accepted, lost, records = await accounted(gateway)
        failed = sum(crowd.outcomes.values()) - crowd.outcomes["echoed"]
        print(f"killed: {crowd.outcomes}, accepted {accepted:g}, lost {lost:g}, records {records}")
        assert accepted == 4 * RATE
        assert failed <= lost, crowd.outcomes
        assert accepted <= records + lost
        assert set(crowd.outcomes) <= {"echoed", "ConnectionResetError", "IncompleteReadError"}
        # Whoever has a record was served to the end, or was cut off and is counted.
        assert gateway.metric("egress_workers_lost_total") == 1
        assert "was ended by SIGKILL" in gateway.wait_for_line(f"pid {victim.pid}")


async def test_a_rolling_restart_costs_no_connection(tmp_path: Path, target: int) -> None:
    (tmp_path / "token").write_text(TOKEN)
    admin = {"bind": "127.0.0.1:0", "token_file": "token"}
    with GatewayProcess(tmp_path, allowing(target), settings(4, admin=admin)) as gateway:
        before = {worker.pid for worker in workers_of(gateway)}
        crowd = Crowd(gateway.port, target)
        arriving = asyncio.create_task(crowd.arrive(RATE, 8.0))
        await asyncio.sleep(0.5)
        request = {"method": "POST", "headers": {"Authorization": f"Bearer {TOKEN}"}}
        assert (await asyncio.to_thread(gateway.admin, "/restart", **request))[0] == 202
        assert (await asyncio.to_thread(gateway.admin, "/restart", **request))[0] == 409
        await arriving
        await until(lambda: any("every worker was replaced" in line for line in gateway.stderr_lines), "the end of it")
        after = {worker.pid for worker in workers_of(gateway)}
        assert len(after) == 4
        assert not before & after
        accepted, lost, records = await accounted(gateway)
        print(f"rolling: {crowd.outcomes}, accepted {accepted:g}, lost {lost:g}, records {records}")
        assert crowd.outcomes == {"echoed": 8 * RATE}
        assert (accepted, lost, records) == (8 * RATE, 0, 8 * RATE)
        assert gateway.metric("egress_workers_lost_total") == 0
        assert await asyncio.to_thread(gateway.admin, "/readyz") == (200, '{"ready":true}')


async def test_workers_that_lose_their_supervisor_let_tunnels_end_and_end(tmp_path: Path, target: int) -> None:
    with GatewayProcess(tmp_path, allowing(target), settings(2, drain={"timeout": "1m"})) as gateway:
        workers = workers_of(gateway)
        async with tunnel(gateway.port, f"127.0.0.1:{target}") as (reader, writer):
            gateway.process.kill()
            await until(lambda: len(alone(gateway)) == 2, "every worker alone")
            await until(lambda: refuses(gateway.port), "a closed port")
            writer.write(b"ping")
            assert await reader.readexactly(4) == b"ping"
        _, alive = await asyncio.to_thread(psutil.wait_procs, workers, 10)
        assert alive == []
        [record] = gateway.records()
        assert (record["ended"], record["bytes_up"]) == ("closed", 4)


def alone(gateway: GatewayProcess) -> list[str]:
    return [line for line in gateway.stderr_lines if line.endswith("the supervisor is gone: draining")]


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False
