"""Hundreds of slow clients of every kind at once (a thousand of each in `make faults`), beside one that works."""

import asyncio
import contextlib
import resource
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import quantiles

import pytest

from tests.faults.scale import LONG
from tests.helpers.client_hello import build_client_hello
from tests.helpers.crowd import echoing, tunnel
from tests.helpers.dns_server import DnsServer
from tests.helpers.gateway import GatewayProcess

EACH = 1000 if LONG else 60
TIMEOUT = 8.0 if LONG else 2.0
COME_WITHIN = 10.0 if LONG else 1.0
"""Seconds. It is about clients that are slow and many, not about how many can come in a second."""
LATE = 30.0 if LONG else 15.0
"""Seconds that the last may be late, on a machine with two cores that also plays the clients."""
SLOWEST = 5.0
"""Seconds that an ordinary tunnel may take longer than `DIRECT` times what it takes without the gateway just then: this
process plays all the others, and is what one waits for most on a busy machine."""
DIRECT = 3
HELLO = build_client_hello("tls.test")

KINDS: dict[str, tuple[bytes, bytes]] = {
    "silence": (b"", b""),
    "half a head": (b"CONNECT a.test:443 HTTP/1.1\r\nHo", b""),
    "a head, dripping": (b"CONNECT a.test:443 HTTP/1.1\r\n", b"X: y\r\n" * 100),
    "a silent tunnel": (b"TUNNEL", b""),
    "half a hello": (b"TUNNEL", HELLO[:99]),
    "a request without its content": (b"POST", b""),
    "a request, its content dripping": (b"POST", b"x" * 3),
    "stays after its refusal": (b"CONNECT denied.test:443 HTTP/1.1\r\nHost: x\r\n\r\n", b""),
}
"""What is sent at once, and what byte by byte after it; then nothing."""


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_slow_clients_of_every_kind_are_cut_off_and_cost_an_ordinary_one_little(tmp_path: Path) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    async with echoing() as target, AsyncExitStack() as stack:
        dns = stack.enter_context(DnsServer())
        dns.answer("tls.test", "127.0.0.1")
        patient = {"idle": "60s"}  # the echo is in this process, too
        policy = {
            "rules": [
                {"name": "tls", "hosts": ["tls.test"], "ports": [target], "protocol": "tls"},
                {"name": "web", "cidrs": ["127.0.0.2/32"], "ports": [target], "protocol": "http"},
                {"name": "echo", "cidrs": ["127.0.0.1/32"], "ports": [target], "protocol": "tcp", "timeouts": patient},
            ]
        }
        settings = {
            "timeouts": {"head": f"{TIMEOUT:g}s", "client_hello": f"{TIMEOUT:g}s", "idle": f"{2 * TIMEOUT:g}s"},
            "resolver": {"servers": [f"127.0.0.1:{dns.port}"]},
            "bounds": {"tunnels_per_client": len(KINDS) * EACH + 100},
        }
        with GatewayProcess(tmp_path, policy, settings) as gateway:
            ended: Counter[str] = Counter()
            began = time.monotonic()
            slow = [
                asyncio.create_task(_dawdle(gateway.port, target, kind, COME_WITHIN * number / EACH, ended))
                for kind in KINDS
                for number in range(EACH)
            ]
            took, direct = await _works(gateway.port, target, slow)
            await asyncio.gather(*slow)
            lasted = time.monotonic() - began
            p99, p99_direct = quantiles(took, n=100)[98], quantiles(direct, n=100)[98]
            ordinary = f"{len(took)} ordinary, p99 {p99 * 1000:.0f} ms, without the gateway {p99_direct * 1000:.0f} ms"
            print(f"{len(slow)} slow clients, over after {lasted:.1f} s; {ordinary}")
            assert ended == dict.fromkeys(KINDS, EACH)
            assert lasted < COME_WITHIN + 2 * TIMEOUT + LATE + DIRECT * p99_direct
            assert p99 < SLOWEST + DIRECT * p99_direct
            await _until_nothing_is_open(gateway)


async def _dawdle(port: int, target: int, kind: str, delay: float, ended: Counter[str]) -> None:
    """From its first byte until it is cut off."""
    await asyncio.sleep(delay)
    start, rest = KINDS[kind]
    if start == b"TUNNEL":
        start = f"CONNECT tls.test:{target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    elif start == b"POST":
        start = f"POST http://127.0.0.2:{target}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n".encode()
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(start)
        dripping = asyncio.create_task(_drip(writer, rest))
        with contextlib.suppress(OSError):
            while await reader.read(65536):
                pass
        dripping.cancel()
        writer.close()
    ended[kind] += 1


async def _drip(writer: asyncio.StreamWriter, rest: bytes) -> None:
    with contextlib.suppress(OSError):
        for byte in rest:
            writer.write(bytes((byte,)))
            await asyncio.sleep(0.3)


async def _works(port: int, target: int, meanwhile: list[asyncio.Task[None]]) -> tuple[list[float], list[float]]:
    """Seconds of each new tunnel with its round trip, for as long as the others go on; and of each without a proxy."""
    took: list[float] = []
    direct: list[float] = []
    while len(took) < 20 or not all(task.done() for task in meanwhile):
        began = time.monotonic()
        async with tunnel(port, f"127.0.0.1:{target}") as connection:
            await _echoed(*connection)
        took.append(time.monotonic() - began)
        began = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", target)
        await _echoed(reader, writer)
        writer.close()
        direct.append(time.monotonic() - began)
        await asyncio.sleep(0.01)
    return took, direct


async def _echoed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"ping")
    assert await reader.readexactly(4) == b"ping"


async def _until_nothing_is_open(gateway: GatewayProcess) -> None:
    deadline = time.monotonic() + 15.0
    while await asyncio.to_thread(gateway.metric, "egress_connections_open"):
        assert time.monotonic() < deadline, "something stays open"
        await asyncio.sleep(0.1)
