"""The machine's own stalls, found by a process on each CPU that does nothing but wake up every millisecond.

It has a real-time priority (`sched(7)`, SCHED_FIFO) if permitted, so that no process of the measurement can keep it
waiting: what it misses was taken by the kernel, or by the host of a virtual machine. For each line on standard input it
prints the stalls since the last one as JSON: `[[begin, end], ...]`, in seconds of CLOCK_MONOTONIC, which all processes
share.
"""

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

TICK = 0.001
SHORTEST = 0.003  # seconds; nobody would notice shorter ones
MOST = 10_000  # stalls between two questions


class Span(NamedTuple):
    """From when to when, in seconds of CLOCK_MONOTONIC."""

    begin: float
    end: float

    @property
    def length(self) -> float:
        """Seconds."""
        return self.end - self.begin


class Machine:
    """One watcher per CPU, for the time of a measurement."""

    def __init__(self, watchers: Sequence["subprocess.Popen[str]"]) -> None:
        self._watchers = watchers

    @classmethod
    @contextlib.contextmanager
    def watched(cls) -> "Iterator[Machine]":
        """Until the block ends."""
        with contextlib.ExitStack() as stack:
            yield cls([stack.enter_context(_watcher(cpu)) for cpu in sorted(os.sched_getaffinity(0))])

    def stalls(self) -> list[Span]:
        """Those of any CPU since the last call, in order of time; overlapping ones are joined."""
        for watcher in self._watchers:
            print(file=watcher.stdin, flush=True)
        told = [json.loads(watcher.stdout.readline()) for watcher in self._watchers if watcher.stdout is not None]
        return united(Span(*span) for spans in told for span in spans)


def united(spans: Iterable[Span]) -> list[Span]:
    """In order of time; those that overlap or touch are joined."""
    found: list[Span] = []
    for span in sorted(spans):
        if found and span.begin <= found[-1].end:
            found[-1] = Span(found[-1].begin, max(found[-1].end, span.end))
        else:
            found.append(span)
    return found


def beyond(span: Span, stalls: Iterable[Span]) -> float:
    """The seconds of `span` outside of all `stalls`, which do not overlap."""
    return span.length - sum(max(0.0, min(span.end, one.end) - max(span.begin, one.begin)) for one in stalls)


@contextlib.contextmanager
def _watcher(cpu: int) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "benchmarks.stalls", str(cpu)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process


def main() -> None:
    """Tick on the CPU of that number until standard input ends."""
    os.sched_setaffinity(0, {int(sys.argv[1])})
    with contextlib.suppress(PermissionError):  # then it may have to wait like any other process
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    stalls: list[Span] = []
    last = time.monotonic()
    while True:
        asked, _, _ = select.select([sys.stdin], [], [], TICK)
        now = time.monotonic()
        if now - last - TICK >= SHORTEST and len(stalls) < MOST:
            stalls.append(Span(last + TICK, now))
        last = now
        if asked:
            if not sys.stdin.readline():
                return
            print(json.dumps(stalls), flush=True)
            stalls.clear()
            last = time.monotonic()


if __name__ == "__main__":
    main()
