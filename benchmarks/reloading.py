"""Whether clients notice a reload of a large policy: `python -m benchmarks.reloading`.

The gateway serves tunnels that constantly exchange 64 bytes while it reloads the policy again and again. The results
are the largest gap of a ticker in its loop and the longest round trip, the time from a change of the files until it is
in force, and the peak memory of the gateway and of the process that reads. A watcher on each CPU, which no process can
keep waiting, finds the stalls that were the machine's own (`benchmarks.stalls`); what remains of a gap or a round trip
outside of them is ours. All of it is also measured for a while without any reload.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import mmap
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uvloop

from benchmarks.stalls import Machine, Span, beyond

PAYLOAD = bytes(64)
PACE = 0.02  # seconds between the round trips of a tunnel
GAP = 0.025  # seconds that no client notices
SLOW = 0.005  # seconds from which on a round trip is noted besides the longest
START_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Size:
    """Of the policy and of the load; `rest` is the time in seconds before the reloads, without any."""

    rules: int = 100_000
    lines: int = 1_000_000
    tunnels: int = 50
    reloads: int = 3
    rest: int = 20


@dataclass(frozen=True, slots=True)
class Gaps:
    """Within some time: the ticker's gaps, the long round trips, and the machine's own stalls. `on_cpu` is the longest
    CPU time that the gateway used between two ticks, in seconds."""

    ticker: Sequence[Span]
    on_cpu: float
    slow: Sequence[Span]
    round_trips: int
    stalls: Sequence[Span]

    def __str__(self) -> str:
        return (
            f"ticker's largest gap {_longest(self.ticker):.1f} ms, {self._ours(self.ticker) * 1e3:.1f} ms outside the "
            f"machine's stalls ({self.on_cpu * 1e3:.1f} ms on CPU); longest of {self.round_trips} round trips "
            f"{_longest(self.slow):.1f} ms, {self._ours(self.slow) * 1e3:.1f} ms outside; the machine "
            f"stalled {len(self.stalls)} times, {sum(stall.length for stall in self.stalls):.2f} s in all, "
            f"{_longest(self.stalls):.1f} ms at most"
        )

    @property
    def largest(self) -> float:
        """Of those that a client could notice, in seconds, whatever caused it."""
        return max((span.length for span in (*self.ticker, *self.slow)), default=0.0)

    @property
    def ours(self) -> float:
        """The same, without the machine's own stalls."""
        return max(self._ours(self.ticker), self._ours(self.slow))

    def _ours(self, spans: Sequence[Span]) -> float:
        return max((beyond(span, self.stalls) for span in spans), default=0.0)


def _longest(spans: Sequence[Span]) -> float:
    return max((span.length for span in spans), default=0.0) * 1e3


@dataclass(frozen=True, slots=True)
class Reload:
    """One reload: seconds until it was in force, and peak memory in bytes."""

    generation: int
    to_effect: float
    gaps: Gaps
    gateway_peak: int
    reader_peak: int

    def __str__(self) -> str:
        return (
            f"generation {self.generation}: in force after {self.to_effect:.1f} s; {self.gaps}; peak memory "
            f"{self.gateway_peak >> 20} MiB, reader {self.reader_peak >> 20} MiB"
        )


def write_policy(folder: Path, size: Size, port: int, variant: int = 0) -> None:
    """`rules` allow rules of one host each, and a deny with a list of `lines` names; other names for each variant."""
    with (folder / "feed.new").open("w") as feed:
        for number in range(size.lines):
            feed.write(f"{'.' if number % 2 else ''}bad{number}-{variant}.feed{number % 1000}.test\n")
    with (folder / "policy.new").open("w") as policy:
        policy.write("version: 1\nrules:\n")
        policy.write(f"- {{name: echo, cidrs: [127.0.0.1/32], ports: [{port}], protocol: tcp}}\n")
        policy.write("- {name: feed, hosts_file: feed.txt, action: deny}\n")
        for number in range(size.rules):
            policy.write(f"- name: r{number}\n  hosts: [h{number}-{variant}.team{number % 97}.test]\n")
    (folder / "feed.new").rename(folder / "feed.txt")
    (folder / "policy.new").rename(folder / "policy.yaml")


class Tunnels:
    """Each sends 64 bytes and waits for their echo. Since `begin`, `slow` are the longest round trips and `count` is
    the number of all."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self.begin()

    def begin(self) -> None:
        """Count from here."""
        self.slow: list[Span] = []
        self.count = 0
        self._longest = 0.0
        self._since = time.monotonic()

    async def open(self, number: int, proxy: int, origin: int) -> None:
        """That many, through the proxy's port to the origin's. Raises RuntimeError if one is refused."""
        for _ in range(number):
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy)
            target = f"127.0.0.1:{origin}"
            writer.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in head:
                raise RuntimeError(head.decode())
            self._tasks.append(asyncio.create_task(self._exchange(reader, writer)))

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            sent_at = time.monotonic()
            writer.write(PAYLOAD)
            await reader.readexactly(len(PAYLOAD))
            self._note(Span(sent_at, time.monotonic()))
            await asyncio.sleep(PACE)

    def _note(self, trip: Span) -> None:
        if trip.begin < self._since:
            return  # it had begun before
        self.count += 1
        if trip.length > min(self._longest, SLOW):
            self._longest = max(self._longest, trip.length)
            self.slow.append(trip)

    async def close(self) -> None:
        """Close them all. Raises what ended one prematurely."""
        for task in self._tasks:
            if not task.done():
                task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome


class Ticking:
    """The gateway with a ticker, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._told = folder / "gaps"
        self._told.touch()
        settings = {
            "listeners": [{"name": "proxy", "bind": "127.0.0.1:0"}],
            "admin": {"bind": "127.0.0.1:0"},
            "telemetry": {"access_log": [{"path": "records.jsonl"}]},
            "addresses": {"allow": ["127.0.0.0/8"]},
        }
        (folder / "gateway.yaml").write_text(json.dumps(settings))

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Until it ends, with SIGTERM. Raises RuntimeError if it does not start."""
        log = self._folder / "stderr"
        command = [sys.executable, "-m", "benchmarks.ticking", str(self._told), "run", "-c"]
        with log.open("w") as stderr:
            self._process = subprocess.Popen([*command, str(self._folder / "gateway.yaml")], stderr=stderr)
        try:
            self._find_ports(log)
            yield
        finally:
            self._process.terminate()
            self._process.wait()

    def _find_ports(self, log: Path) -> None:
        deadline = time.monotonic() + START_SECONDS
        while "ready: " not in (text := log.read_text()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the gateway did not start: {text}")
            time.sleep(0.05)
        ready = text[text.index("ready: ") :]
        self.proxy, self.admin = (int(part.split("127.0.0.1:")[1].split(";")[0]) for part in ready.split("; ")[:2])

    async def generation(self) -> int:
        """The one in force. Raises RuntimeError if the last reload failed. Done in the loop, and only two samples are
        looked for: a thread that parses would compete for the interpreter with the measurement of round trips."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.admin)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        told = await reader.read()
        writer.close()
        if not _sample(told, b"egress_policy_reload_success"):
            raise RuntimeError("the reload failed")
        return int(_sample(told, b"egress_policy_generation"))

    def gaps(self) -> tuple[list[Span], float]:
        """The large ones since the last call, and the longest CPU time between two ticks."""
        before = self._told.read_text().count("\n")
        os.kill(self._process.pid, signal.SIGUSR1)
        while (text := self._told.read_text()).count("\n") == before:
            time.sleep(0.005)
        told = json.loads(text.splitlines()[-1])
        return [Span(*gap) for gap in told["gaps"]], told["on_cpu"]

    def peaks(self) -> Iterator[tuple[int, int]]:
        """The peak resident sizes so far of the gateway and of its children, updated at each step."""
        gateway = reader = 0
        process = Path(f"/proc/{self._process.pid}")
        while True:
            gateway = max(gateway, _resident(process))
            for thread in process.glob("task/*/children"):  # whichever of its threads started it
                with contextlib.suppress(OSError):  # the thread has ended
                    reader = max(reader, *(_resident(Path("/proc", child)) for child in thread.read_text().split()), 0)
            yield gateway, reader


def _resident(process: Path) -> int:
    """Bytes; 0 for a process that has ended. Not by psutil, which looks at every process to find the children of one:
    10 ms in which the tunnels would not be answered."""
    try:
        return int((process / "statm").read_text().split()[1]) * mmap.PAGESIZE
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _sample(told: bytes, name: bytes) -> float:
    return float(told.split(b"\n%b " % name, 1)[1].split(b"\n", 1)[0])


async def watch_reloads(folder: Path, size: Size) -> tuple[Gaps, list[Reload]]:
    """Start, open the tunnels, watch them for a while without any reload, then reload `size.reloads` times."""
    origin = await asyncio.start_server(_echo, "127.0.0.1", 0)
    port = origin.sockets[0].getsockname()[1]
    write_policy(folder, size, port)
    gateway, tunnels = Ticking(folder), Tunnels()
    with gateway.serving(), Machine.watched() as machine:
        watch = Watch(gateway, tunnels, machine, size.rest)
        await tunnels.open(size.tunnels, gateway.proxy, port)
        await watch.begin()
        await asyncio.sleep(size.rest)
        resting = await watch.end()
        changes = [partial(write_policy, folder, size, port, variant) for variant in range(1, size.reloads + 1)]
        reloads = [await _reload(gateway, watch, change) for change in changes]
        await tunnels.close()
    origin.close()
    return resting, reloads


@dataclass(frozen=True, slots=True)
class Watch:
    """Everything that could notice a reload."""

    gateway: Ticking
    tunnels: Tunnels
    machine: Machine
    rest: float

    async def begin(self) -> None:
        """Forget what was noticed before."""
        await asyncio.to_thread(self.gateway.gaps)
        await asyncio.to_thread(self.machine.stalls)
        self.tunnels.begin()

    async def end(self) -> Gaps:
        """What was noticed since."""
        ticker, on_cpu = await asyncio.to_thread(self.gateway.gaps)
        slow, count = tuple(self.tunnels.slow), self.tunnels.count
        return Gaps(ticker, on_cpu, slow, count, await asyncio.to_thread(self.machine.stalls))


async def _reload(gateway: Ticking, watch: Watch, write: Callable[[], None]) -> Reload:
    before = await gateway.generation()
    await asyncio.to_thread(write)
    began_at = time.monotonic()
    await watch.begin()
    peaks = gateway.peaks()
    while (generation := await gateway.generation()) == before:
        next(peaks)
        await asyncio.sleep(0.2)
    to_effect = time.monotonic() - began_at
    await asyncio.sleep(min(3, watch.rest))  # the old rules are taken down
    return Reload(generation, to_effect, await watch.end(), *next(peaks))


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.CancelledError):  # the end of the measurement
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


def main() -> int:
    """Exit status 0 if no gap of ours could be noticed, 3 if one could."""
    default = Size()
    parser = argparse.ArgumentParser("python -m benchmarks.reloading", description=(__doc__ or "").partition("\n")[0])
    for name in ("rules", "lines", "tunnels", "reloads", "rest"):
        parser.add_argument(f"--{name}", type=int, default=getattr(default, name))
    size = Size(**vars(parser.parse_args()))
    gc.disable()  # the gateway's pauses are measured, not ours
    with tempfile.TemporaryDirectory() as folder:
        resting, reloads = uvloop.run(watch_reloads(Path(folder), size))
    print(f"no reload for {size.rest} s: {resting}")
    for one in reloads:
        print(one)
    largest, ours = max(one.gaps.largest for one in reloads), max(one.gaps.ours for one in reloads)
    print(
        f"largest gap of all {largest * 1e3:.1f} ms; outside the machine's stalls {ours * 1e3:.1f} ms, of which "
        f"{GAP * 1e3:g} ms are allowed"
    )
    return 0 if ours <= GAP else 3


if __name__ == "__main__":
    sys.exit(main())
