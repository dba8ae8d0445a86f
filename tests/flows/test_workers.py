"""Many workers as one gateway: nobody who connects notices that a worker was killed or replaced, and nothing that was
accepted goes uncounted."""

import asyncio
import json
import os
import resource
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path

import psutil
import pytest

from tests.faults.scale import LONG
from tests.helpers.crowd import Crowd, echoing, tunnel
from tests.helpers.gateway import GatewayProcess
from tests.helpers.http_origin import HttpOrigin
from tests.helpers.raw_client import RawClient, status_of
from tests.helpers.responses import read_response

TOKEN = "correct-horse-battery"
MANY, RATE = (4, 500) if LONG else (2, 250)
"""Workers, and connections a second, where a worker is killed or replaced among them."""
SECONDS = 60.0

Policy = Mapping[str, object]


@pytest.fixture
async def target() -> AsyncIterator[int]:
    async with echoing() as port:
        yield port


def allowing(port: int) -> Policy:
    return {"rules": [{"name": "echo", "cidrs": ["127.0.0.1/32"], "ports": [port], "protocol": "tcp"}]}


def settings(workers: int, **others: object) -> dict[str, object]:
    return {"workers": workers, "drain": {"timeout": "5s"}, **others}  # a test's own settings go before


def workers_of(gateway: GatewayProcess) -> list[psutil.Process]:
    """Those that live, the oldest first."""
    alive = []
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(gateway.process.pid).children():
            with suppress(psutil.NoSuchProcess):  # it may end while it is looked at
                if child.status() != psutil.STATUS_ZOMBIE:
                    alive.append(child)
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
    accepted = gateway.metric("egress_connections_accepted_total")

    def written_or_lost() -> bool:
        return len(gateway.records()) + gateway.metric("egress_records_lost_total") >= accepted

    await until(written_or_lost, "the records")  # a connection counts at its end, its line is written a moment later
    return accepted, gateway.metric("egress_records_lost_total"), len(gateway.records())


def _balance(gateway: GatewayProcess) -> float:
    counts = {line.partition(" ")[0]: line.rpartition(" ")[2] for line in gateway.metrics().splitlines()}
    accepted, lost = counts["egress_connections_accepted_total"], counts["egress_connections_lost_total"]
    return float(accepted) - float(lost) - gateway.metric("egress_connections_total")


async def test_a_killed_worker_costs_only_the_connections_that_it_held(tmp_path: Path, target: int) -> None:
    with GatewayProcess(tmp_path, allowing(target), settings(MANY)) as gateway:
        crowd = Crowd(gateway.port, target)
        arriving = asyncio.create_task(crowd.arrive(RATE, 4.0))
        await asyncio.sleep(1.0)
        victim = workers_of(gateway)[0]
        victim.kill()
        await arriving
        await becomes(gateway, "egress_workers", MANY)
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
        assert gateway.wait_for_line("was started anew (pid ")


@pytest.mark.slow
async def test_a_rolling_restart_costs_no_connection(tmp_path: Path, target: int) -> None:
    (tmp_path / "token").write_text(TOKEN)
    admin = {"bind": "127.0.0.1:0", "token_file": "token"}
    with GatewayProcess(tmp_path, allowing(target), settings(MANY, admin=admin)) as gateway:
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
        assert len(after) == MANY
        assert not before & after
        accepted, lost, records = await accounted(gateway)
        print(f"rolling: {crowd.outcomes}, accepted {accepted:g}, lost {lost:g}, records {records}")
        assert crowd.outcomes == {"echoed": 8 * RATE}
        assert (accepted, lost, records) == (8 * RATE, 0, 8 * RATE)
        assert gateway.metric("egress_workers_lost_total") == 0
        assert await asyncio.to_thread(gateway.admin, "/readyz") == (200, '{"ready":true}')


def test_a_drain_closes_what_only_waits_in_a_worker_that_is_being_replaced_as_well(tmp_path: Path) -> None:
    with HttpOrigin() as origin, ExitStack() as stack:
        here = f"127.0.0.1:{origin.port}"
        rule = {"name": "http", "cidrs": ["127.0.0.1/32"], "ports": [origin.port], "protocol": "http"}
        gateway = stack.enter_context(
            GatewayProcess(tmp_path, {"rules": [rule]}, settings(2, drain={"timeout": "90s"}))
        )
        clients = [stack.enter_context(RawClient(gateway.port)) for _ in range(12)]
        for client in clients:
            client.send(f"GET http://{here}/ HTTP/1.1\r\nHost: {here}\r\n\r\n".encode())
            assert status_of(read_response(client)[0]) == 200
        old = workers_of(gateway)
        gateway.process.send_signal(signal.SIGUSR2)
        deadline = time.monotonic() + SECONDS
        while all(_listens(worker) for worker in old):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        gateway.terminate()
        assert gateway.process.wait(SECONDS) == 0


def _listens(process: psutil.Process) -> bool:
    return any(each.status == psutil.CONN_LISTEN for each in process.net_connections())


async def test_workers_that_lose_their_supervisor_let_tunnels_end_and_end(tmp_path: Path, target: int) -> None:
    with GatewayProcess(tmp_path, allowing(target), settings(2, drain={"timeout": "1m"})) as gateway:
        workers = workers_of(gateway)
        async with tunnel(gateway.port, f"127.0.0.1:{target}") as (reader, writer):
            gateway.process.kill()
            await until(lambda: len(alone(gateway)) == 2, "every worker alone")
            await until(lambda: refuses(gateway.port), "a closed port")
            writer.write(b"ping")
            assert await reader.readexactly(4) == b"ping"
        _, alive = await asyncio.to_thread(psutil.wait_procs, workers, SECONDS)
        assert alive == []
        [record] = gateway.records()
        assert (record["ended"], record["bytes_up"]) == ("closed", 4)


async def test_every_worker_judges_by_a_new_generation_before_it_is_told_and_a_later_one_by_the_last_good(
    tmp_path: Path, target: int
) -> None:
    with GatewayProcess(tmp_path, {"rules": []}, settings(2)) as gateway:
        gateway.write_policy(allowing(target))
        await becomes(gateway, "egress_policy_generation", 2)
        await visits(gateway, target, "echoed")
        gateway.write_policy("rules: [")
        await becomes(gateway, "egress_policy_reload_success", 0)
        for worker in workers_of(gateway):
            worker.kill()
        await becomes(gateway, "egress_workers_lost_total", 2)
        await becomes(gateway, "egress_workers", 2)
        await visits(gateway, target, "echoed")
        await accounted(gateway)
        assert {record["generation"] for record in gateway.records()} == {2}


async def visits(gateway: GatewayProcess, target: int, outcome: str) -> None:
    """Enough that every worker gets some; returns when all are over."""
    crowd = Crowd(gateway.port, target)
    await crowd.arrive(1000, 0.05)
    assert crowd.outcomes == {outcome: 50}
    await becomes(gateway, "egress_connections_open", 0)


async def test_a_hang_up_has_every_worker_open_the_log_anew(tmp_path: Path, target: int) -> None:
    with GatewayProcess(tmp_path, allowing(target), settings(2)) as gateway:
        await visits(gateway, target, "echoed")
        await accounted(gateway)
        old = gateway.log_file.rename(tmp_path / "records.jsonl.1")
        gateway.process.send_signal(signal.SIGHUP)
        await becomes(gateway, "egress_policy_generation", 2)
        await visits(gateway, target, "echoed")
        await until(lambda: len(gateway.records()) == 50, "50 records in the new file")
        assert len(old.read_text().splitlines()) == 50
        await becomes(gateway, "egress_records_written_total", 100)  # a line is counted when it is written


async def test_lines_of_many_workers_stay_whole_in_a_pipe(tmp_path: Path, target: int) -> None:
    """A write of more than a page to a pipe that is nearly full is not one write to the kernel."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    lines: list[bytes] = []

    def read_slowly() -> None:
        with pipe.open("rb", buffering=0) as reader:
            rest = b""
            while piece := reader.read(1500):
                *whole, rest = (rest + piece).split(b"\n")
                lines.extend(whole)
                time.sleep(0.001)

    reading = threading.Thread(target=read_slowly)
    reading.start()
    with GatewayProcess(tmp_path, {"rules": []}, settings(4, telemetry={"access_log": [{"path": "pipe"}]})) as gateway:
        crowd = Crowd(gateway.port, target)
        await crowd.arrive(1500, 1.0)
        assert await asyncio.to_thread(gateway.stop) == 0
    await asyncio.to_thread(reading.join)
    ids = [json.loads(line)["connection_id"] for line in lines]
    assert (len(ids), len(set(ids))) == (1500, 1500)


async def test_tunnels_of_all_workers_are_listed_and_each_can_be_closed(tmp_path: Path, target: int) -> None:
    (tmp_path / "token").write_text(TOKEN)
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    admin = {"bind": "127.0.0.1:0", "token_file": "token"}
    with GatewayProcess(tmp_path, allowing(target), settings(2, admin=admin)) as gateway:
        async with AsyncExitStack() as stack:
            held = [await stack.enter_async_context(tunnel(gateway.port, f"127.0.0.1:{target}")) for _ in range(1500)]
            await becomes(gateway, "egress_tunnels_open", len(held))
            status, body = await asyncio.to_thread(gateway.admin, "/tunnels", headers=bearer)
            listed = json.loads(body)["tunnels"]
            assert (status, len({each["connection_id"] for each in listed})) == (200, len(held))
            assert [each["age_seconds"] for each in listed] == sorted((e["age_seconds"] for e in listed), reverse=True)
            for index in (0, -1):
                path = f"/tunnels/{listed[index]['connection_id']}/close"
                assert (await asyncio.to_thread(gateway.admin, path, method="POST", headers=bearer))[0] == 200
                assert (await asyncio.to_thread(gateway.admin, path, method="POST", headers=bearer))[0] == 404
        records = gateway.wait_for_records(2, ended_by="gateway")
        assert {record["connection_id"] for record in records} == {listed[i]["connection_id"] for i in (0, -1)}


async def test_tunnels_that_a_new_policy_forbids_are_closed_in_every_worker(tmp_path: Path, target: int) -> None:
    with GatewayProcess(tmp_path, allowing(target), settings(2, on_reload="close")) as gateway:
        async with AsyncExitStack() as stack:
            for _ in range(20):
                await stack.enter_async_context(tunnel(gateway.port, f"127.0.0.1:{target}"))
            gateway.write_policy({"rules": []})
            records = await asyncio.to_thread(gateway.wait_for_records, 20)
        assert {record["ended_by"] for record in records} == {"gateway"}


@pytest.mark.slow
async def test_workers_that_end_again_and_again_end_the_gateway_with_a_clear_error(tmp_path: Path) -> None:
    with GatewayProcess(tmp_path, {"rules": []}, settings(2)) as gateway:
        deadline = time.monotonic() + 4 * SECONDS
        while gateway.process.poll() is None and time.monotonic() < deadline:
            for worker in workers_of(gateway):
                with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
                    worker.kill()
            await asyncio.sleep(0.05)
        assert gateway.process.poll() == 1
        assert " failed 7 times in a row" in await asyncio.to_thread(gateway.wait_for_line, "times in a row")


async def test_a_single_process_says_that_it_cannot_be_replaced(tmp_path: Path, target: int) -> None:
    with GatewayProcess(tmp_path, allowing(target)) as gateway:
        gateway.process.send_signal(signal.SIGUSR2)
        line = await asyncio.to_thread(gateway.wait_for_line, "not replaced")
        assert line.endswith("a single process cannot replace itself: that needs workers: 2 or more")
        await visits(gateway, target, "echoed")


def end_of(gateway: GatewayProcess, seconds: float) -> tuple[int, float]:
    """Exit status and time of the end, taken at once: the loop is late with thousands of ends to tell its tasks."""
    return gateway.process.wait(seconds), time.monotonic()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
async def test_a_drain_with_thousands_of_tunnels_is_told_at_once_over_in_time_and_recorded(
    tmp_path: Path, target: int, workers: int
) -> None:
    seconds, tunnels = (10.0, 5000) if LONG else (3.0, 2000)
    config = settings(workers, drain={"timeout": f"{seconds:g}s"}, bounds={"tunnels_per_client": tunnels})
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with GatewayProcess(tmp_path, allowing(target), config) as gateway:
        async with AsyncExitStack() as stack:
            opening = (tunnel(gateway.port, f"127.0.0.1:{target}") for _ in range(tunnels))
            held = [await stack.enter_async_context(each) for each in opening]
            busy = [asyncio.create_task(chatter(*each)) for each in held[: tunnels // 2]]
            await becomes(gateway, "egress_connections_open", tunnels)
            asked_at = time.monotonic()
            await until(lambda: gateway.admin("/readyz")[0] == 200, "ready")
            one_answer = time.monotonic() - asked_at  # of which the clients in this process are the larger part
            asked_at = time.monotonic()
            gateway.terminate()
            await until(lambda: gateway.admin("/readyz")[0] == 503, "not ready")
            told = time.monotonic() - asked_at
            for _, writer in held[tunnels // 2 : tunnels * 3 // 4]:
                writer.close()  # what ends by itself in time is no business of the drain
            status, ended_at = await asyncio.to_thread(end_of, gateway, seconds + SECONDS)
            ended = ended_at - asked_at
            assert await asyncio.gather(*busy) == [True] * (tunnels // 2)  # every one of them had an echo by then
        print(f"drain of {tunnels}, {workers} workers: not ready after {told * 1000:.0f} ms, over after {ended:.2f} s")
        assert status == 0
        assert told < 1.0 + 5 * one_answer
        assert 0.6 * seconds <= ended < seconds + (0.1 if LONG else 10.0)
        records = gateway.records()
    assert len(records) == len({record["connection_id"] for record in records}) == tunnels
    reasons = Counter((record.get("reason"), record["ended"], record["ended_by"]) for record in records)
    assert reasons == {("draining", "reset", "gateway"): tunnels * 3 // 4, (None, "closed", "downstream"): tunnels // 4}


async def chatter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Talk until the tunnel is reset; whether anything came back."""
    answered = False
    with suppress(OSError, asyncio.IncompleteReadError):
        while not writer.is_closing():
            writer.write(bytes(64))
            answered = bool(await reader.readexactly(64))
            await asyncio.sleep(0.5)
    return answered


def alone(gateway: GatewayProcess) -> list[str]:
    return [line for line in gateway.stderr_lines if line.endswith("the supervisor is gone: draining")]


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False
