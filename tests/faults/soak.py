"""`make soak`: mixed traffic for ten minutes, and nothing grows.

    python -m tests.faults.soak --seconds 600

Tunnels and requests, in the clear and inspected, of both versions of HTTP, allowed, denied, limited, malformed,
distrusted and broken off, to thousands of names, and reloads (`visits`). Now and then the traffic rests until nothing
is open: then descriptors and tasks must be as many as at the first rest, RSS in its bounds, next to nothing left for
the cyclic collector (which looks seldom, and never at what a reload froze), and standard error without a warning. Exit
status 1 if not.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import psutil

from gateway.exchange.upstream import IDLE_SECONDS
from tests.faults.visits import Visits, destinations
from tests.flows.interception import make_authority
from tests.helpers.gateway import GatewayProcess

CENSUS = Path(__file__).with_name("census")
REST_SECONDS = 60.0
STILL = IDLE_SECONDS + 3.0
"""Seconds for which nothing may be open before it counts as rest: what the pool keeps is closed by then."""
GARBAGE = 0.1
"""Objects in cycles for each connection, at most: the few of what happens now and then, such as a tunnel that broke."""
EXPECTED = "rejected our certificate"
"""Some of the clients are to believe nobody, and a warning is what an operator then wants."""
LOOKS = 3
"""Tasks that our own looks at the metrics may have at any time."""


@dataclass(frozen=True)
class Sample:
    """All processes of the gateway together, at rest. `garbage`: objects left in cycles since the last one."""

    descriptors: int
    tasks: int
    rss: int
    connections: int
    garbage: int = 0


@dataclass
class Soak:
    """`tell` hears of each sample."""

    gateway: GatewayProcess
    visits: Visits
    census: Path
    still: float
    tell: Callable[[Sample], None]
    fewest_children: int = 1000
    samples: list[Sample] = field(default_factory=list)

    async def run(self, seconds: float, rests: int) -> None:
        """So many samples, with the same time of traffic before each."""
        chance = Random(7)
        for number in range(rests):
            await self.visits.until(time.monotonic() + seconds / rests, chance)
            self.samples.append(await asyncio.to_thread(self._at_rest))
            self.gateway.write_policy(self.visits.to.policy(number))
            self.tell(self.samples[-1])
            self.visits.to.forget()

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
        return replace(seen[-1], **fewest, garbage=self._garbage())

    def _garbage(self) -> int:
        counts = [file.with_suffix(".garbage") for file in self.census.iterdir() if not file.suffix]
        alive = [count for count in counts if psutil.pid_exists(int(count.stem))]
        for count in alive:
            count.unlink(missing_ok=True)
            count.with_suffix(".collect").touch()
        deadline = time.monotonic() + REST_SECONDS
        while not all(count.exists() for count in alive):
            assert time.monotonic() < deadline, "a process of the gateway does not answer the census"
            time.sleep(0.1)
        return sum(int(count.read_text()) for count in alive)

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
    found = [line for line in soak.gateway.stderr_lines if _is_warning(line) and EXPECTED not in line]
    if last.descriptors > first.descriptors + kept:
        found.append(f"descriptors: {first.descriptors} at first, {last.descriptors} in the end")
    if last.tasks > first.tasks + LOOKS:
        found.append(f"tasks: {first.tasks} at first, {last.tasks} in the end")
    if last.rss > first.rss * (1 + growth):
        found.append(f"RSS: {first.rss / 2**20:.1f} MiB at a third, {last.rss / 2**20:.1f} in the end")
    if last.garbage > GARBAGE * (last.connections - soak.samples[-2].connections):
        found.append(f"cycles: {last.garbage} objects were left to the collector")
    failed = {
        outcome: count
        for outcome, count in soak.visits.outcomes.items()
        if " " in outcome and "breaks_off" not in outcome
    }
    return [*found, *([f"failed: {failed}"] if failed else [])]


def _is_warning(line: str) -> bool:
    return line.startswith(("WARNING", "ERROR", "CRITICAL")) or "Warning" in line or "Traceback" in line


def soak(
    seconds: float, rests: int, workers: int = 1, still: float = STILL, tell: Callable[[Sample], None] = lambda _: None
) -> Soak:
    """From start to end; the gateway has ended."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "census").mkdir()
        to = stack.enter_context(destinations(folder))
        settings = {
            "workers": workers,
            "resolver": {"servers": [f"127.0.0.1:{to.dns.port}"], "cache": {"min_ttl": "1s"}},
            "telemetry": {"access_log": [{"path": "/dev/null", "format": "json"}]},
            "timeouts": {"head": "5s", "client_hello": "5s"},
            "inspection": make_authority(folder, time.time()),
        }
        environ = {
            "PYTHONPATH": f"{CENSUS}:{os.environ.get('PYTHONPATH', '')}",
            "CENSUS": str(folder / "census"),
            "PYTHONWARNINGS": "always",
        }
        with GatewayProcess(folder, to.policy(0), settings, environ) as gateway:
            visits = Visits(gateway.port, folder / "ca.crt", to)
            soaked = Soak(gateway, visits, folder / "census", still, tell)
            asyncio.run(soaked.run(seconds, rests))
        return soaked


def _print(sample: Sample) -> None:
    counts = f"{sample.connections:>12,} {sample.descriptors:>12} {sample.tasks:>6}"
    print(f"{counts} {sample.rss / 2**20:>9.1f} {sample.garbage:>10}", flush=True)


def main(arguments: Sequence[str]) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak")
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("SECONDS", "600")))
    parser.add_argument("--rests", type=int, default=10)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--growth", type=float, default=0.05)
    asked = parser.parse_args(arguments)
    print(f"{asked.rests} rests of {STILL:g} s or more, each after {asked.seconds / asked.rests:g} s of traffic")
    print(f"{'connections':>12} {'descriptors':>12} {'tasks':>6} {'RSS, MiB':>9} {'in cycles':>10}", flush=True)
    soaked = soak(asked.seconds, asked.rests, asked.workers, tell=_print)
    print(dict(soaked.visits.outcomes))
    found = complaints(soaked, asked.growth)
    print("\n".join(found) or "nothing grew, no warning")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
