"""`make soak`: mixed traffic for ten minutes, and nothing grows.

    python -m tests.faults.soak --seconds 600

Tunnels and requests, allowed, denied, malformed and broken off, thousands of names, a reload every few seconds. Now and
then the traffic rests until nothing is open: then descriptors and tasks must be as many as at the first rest, RSS in
its bounds, and standard error without a warning. Exit status 1 if not.
"""

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import psutil

from gateway.exchange.upstream import IDLE_SECONDS
from tests.helpers.client_hello import build_client_hello
from tests.helpers.dns_server import DnsServer
from tests.helpers.gateway import GatewayProcess
from tests.helpers.origins import Origin, echo, http

CENSUS = Path(__file__).with_name("census")
AT_ONCE = 24
NAMES, WEB_NAMES = 3000, 4
REST_SECONDS = 60.0
STILL = IDLE_SECONDS + 3.0
"""Seconds for which nothing may be open before it counts as rest: what the pool keeps is closed by then."""
LOOKS = 3
"""Tasks that our own looks at the metrics may have at any time."""
CHATTER = bytes(range(256)) * 64


@dataclass(frozen=True)
class Sample:
    """All processes of the gateway together, at rest."""

    descriptors: int
    tasks: int
    rss: int
    connections: int


@dataclass
class Soak:
    """`outcomes` counts how each kind of visit ended; `tell` hears of each sample."""

    gateway: GatewayProcess
    web: Origin
    tcp: Origin
    dns: DnsServer
    census: Path
    still: float
    tell: Callable[[Sample], None]
    fewest_children: int = 1000
    outcomes: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)

    async def run(self, seconds: float, rests: int) -> None:
        """So many samples, with the same time of traffic before each."""
        chance = Random(7)
        for number in range(rests):
            until = time.monotonic() + seconds / rests
            await asyncio.gather(*[self._visit_until(until, Random(chance.random())) for _ in range(AT_ONCE)])
            self.gateway.write_policy(policy(self.web.port, self.tcp.port, number))
            self.samples.append(await asyncio.to_thread(self._at_rest))
            self.tell(self.samples[-1])
            self.dns.queries.clear()
            for origin in (self.web, self.tcp):
                origin.forget()

    async def _visit_until(self, until: float, chance: Random) -> None:
        kinds = (
            self._tunnel,
            self._tunnel,
            self._requests,
            self._requests,
            self._denied,
            self._malformed,
            self._breaks_off,
        )
        while time.monotonic() < until:
            kind = chance.choice(kinds)
            try:
                async with asyncio.timeout(30):
                    await kind(chance)
            except (OSError, asyncio.IncompleteReadError) as error:
                self.outcomes[f"{kind.__name__} {type(error).__name__}"] += 1
            else:
                self.outcomes[kind.__name__] += 1

    async def _tunnel(self, chance: Random) -> None:
        host = f"n{chance.randrange(NAMES)}.soak.test"
        async with self._connected() as (reader, writer):
            writer.write(_connect(f"{host}:{self.tcp.port}"))
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
            hello = build_client_hello(host, seed=chance.randrange(1000))
            for data in (hello, CHATTER[: chance.randrange(1, len(CHATTER))]):
                writer.write(data)
                assert await reader.readexactly(len(data)) == data

    async def _requests(self, chance: Random) -> None:
        async with self._connected() as (reader, writer):
            for _ in range(chance.randrange(1, 8)):
                host = f"n{chance.randrange(WEB_NAMES)}.soak.test:{self.web.port}"
                writer.write(f"GET http://{host}/x?{chance.random()} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                assert b" 200 " in head.partition(b"\r\n")[0], head
                await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))

    async def _denied(self, chance: Random) -> None:
        async with self._connected() as (reader, writer):
            writer.write(_connect(f"d{chance.randrange(10**6)}.forbidden.test:443"))
            assert b" 403 " in await reader.readuntil(b"\r\n\r\n")

    async def _malformed(self, chance: Random) -> None:
        async with self._connected() as (reader, writer):
            writer.write(bytes((chance.randrange(128, 256),)) + chance.randbytes(200))
            assert b" 400 " in await reader.readuntil(b"\r\n\r\n")

    async def _breaks_off(self, chance: Random) -> None:
        async with self._connected() as (_, writer):
            asked = _connect(f"n{chance.randrange(NAMES)}.soak.test:{self.tcp.port}") + build_client_hello(
                "n1.soak.test"
            )
            writer.write(asked[: chance.randrange(len(asked))])
            if chance.random() < 0.5:
                await asyncio.sleep(chance.random() * 0.05)
            writer.transport.abort()

    @contextlib.asynccontextmanager
    async def _connected(self):  # type: ignore[no-untyped-def] # of asyncio's own two
        reader, writer = await asyncio.open_connection("127.0.0.1", self.gateway.port)
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _at_rest(self) -> Sample:
        """When nothing was open for a while: of descriptors and tasks the fewest that were seen then, since each look
        at the metrics is a connection itself."""
        deadline = time.monotonic() + REST_SECONDS
        seen: list[Sample] = []
        since = time.monotonic()
        while time.monotonic() - since < self.still:
            assert time.monotonic() < deadline, f"no rest: {self.gateway.metric('egress_connections_open'):g} open"
            if self.gateway.metric("egress_connections_open") > 0 or self._is_reading():
                since, seen = time.monotonic(), []
            else:
                seen.append(self._sample())
            time.sleep(0.3)
        fewest = {key: min(getattr(sample, key) for sample in seen[-10:]) for key in ("descriptors", "tasks")}
        return replace(seen[-1], **fewest)

    def _is_reading(self) -> bool:
        """Whether there are more processes than there were once: one that reads a policy does not last."""
        count = len(psutil.Process(self.gateway.process.pid).children(recursive=True))
        self.fewest_children = min(self.fewest_children, count)
        return count > self.fewest_children

    def _sample(self) -> Sample:
        accepted = int(self.gateway.metric("egress_connections_total"))
        root = psutil.Process(self.gateway.process.pid)
        processes = [root, *root.children(recursive=True)]
        files = [self.census / str(process.pid) for process in processes]
        return Sample(
            descriptors=sum(process.num_fds() for process in processes),
            tasks=sum(int(file.read_text()) for file in files if file.exists()),
            rss=sum(process.memory_info().rss for process in processes),
            connections=accepted,
        )


def complaints(soak: Soak, growth: float, kept: int = 0) -> Sequence[str]:
    """What is wrong, by the figures. `growth`: by how much RSS may rise from a third of the way to the last rest, when
    caches are full; `kept`: how many connections the pool may have more."""
    first, last = soak.samples[len(soak.samples) // 3], soak.samples[-1]
    found = [line for line in soak.gateway.stderr_lines if _is_warning(line)]
    if last.descriptors > first.descriptors + kept:
        found.append(f"descriptors: {first.descriptors} at first, {last.descriptors} in the end")
    if last.tasks > first.tasks + LOOKS:
        found.append(f"tasks: {first.tasks} at first, {last.tasks} in the end")
    if last.rss > first.rss * (1 + growth):
        found.append(f"RSS: {first.rss / 2**20:.1f} MiB at a third, {last.rss / 2**20:.1f} in the end")
    failed = {
        outcome: count for outcome, count in soak.outcomes.items() if " " in outcome and "breaks_off" not in outcome
    }
    return [*found, *([f"failed: {failed}"] if failed else [])]


def _is_warning(line: str) -> bool:
    return line.startswith(("WARNING", "ERROR", "CRITICAL")) or "Warning" in line or "Traceback" in line


def policy(web: int, tcp: int, number: int) -> Mapping[str, object]:
    """The same each time but for a name, so that a reload has something to take."""
    return {
        "rules": [
            {"name": f"web{number}", "hosts": ["*.soak.test"], "ports": [web], "protocol": "http"},
            {"name": "tcp", "hosts": ["*.soak.test"], "ports": [tcp], "protocol": "tls", "sni": "rule"},
        ]
    }


def soak(
    seconds: float, rests: int, workers: int = 1, still: float = STILL, tell: Callable[[Sample], None] = lambda _: None
) -> Soak:
    """From start to end; the gateway has ended."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "census").mkdir()
        dns = stack.enter_context(DnsServer())
        web, tcp = stack.enter_context(Origin(http())), stack.enter_context(Origin(echo))
        for number in range(NAMES):
            dns.answer(f"n{number}.soak.test", "127.0.0.1", ttl=5)
        settings = {
            "workers": workers,
            "resolver": {"servers": [f"127.0.0.1:{dns.port}"], "cache": {"min_ttl": "1s"}},
            "telemetry": {"access_log": [{"path": "/dev/null", "format": "json"}]},
            "timeouts": {"head": "5s", "client_hello": "5s"},
        }
        environ = {
            "PYTHONPATH": f"{CENSUS}:{os.environ.get('PYTHONPATH', '')}",
            "CENSUS": str(folder / "census"),
            "PYTHONWARNINGS": "always",
        }
        with GatewayProcess(folder, policy(web.port, tcp.port, 0), settings, environ) as gateway:
            soaked = Soak(gateway, web, tcp, dns, folder / "census", still, tell)
            asyncio.run(soaked.run(seconds, rests))
        return soaked


def _connect(authority: str) -> bytes:
    return f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode()


def _print(sample: Sample) -> None:
    line = f"{sample.connections:>12,} {sample.descriptors:>12} {sample.tasks:>6} {sample.rss / 2**20:>9.1f}"
    print(line, flush=True)


def main(arguments: Sequence[str]) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak")
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("SECONDS", "600")))
    parser.add_argument("--rests", type=int, default=10)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--growth", type=float, default=0.05)
    asked = parser.parse_args(arguments)
    print(f"{asked.rests} rests of {STILL:g} s or more, each after {asked.seconds / asked.rests:g} s of traffic")
    print(f"{'connections':>12} {'descriptors':>12} {'tasks':>6} {'RSS, MiB':>9}", flush=True)
    soaked = soak(asked.seconds, asked.rests, asked.workers, tell=_print)
    print(dict(soaked.outcomes))
    found = complaints(soaked, asked.growth)
    print("\n".join(found) or "nothing grew, no warning")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
