"""The gateway with a ticker in its loop: `python -m benchmarks.ticking OUTPUT run -c gateway.yaml`.

Every tick comes a millisecond after the last one, unless something blocks the loop. At every SIGUSR1 a line of JSON is
written to OUTPUT: the large gaps since the last signal (begin and end in seconds of CLOCK_MONOTONIC), and the longest
CPU time of this thread between two ticks, since on a busy machine a gap may also be a wait for a CPU.
"""

import asyncio
import json
import signal
import sys
import time
from pathlib import Path

import uvloop

from gateway.cli.main import app

TICK = 0.001
SHORTEST = 0.004  # seconds; a new largest gap is reported in any case
MOST = 10_000  # gaps between two signals


class Ticker:
    """Ticks on `loop` from its start."""

    def __init__(self, loop: asyncio.AbstractEventLoop, output: Path) -> None:
        self._loop = loop
        self._output = output
        self._begin()
        loop.call_soon(self._start)

    def _begin(self) -> None:
        self._largest = self._on_cpu = 0.0
        self._gaps: list[tuple[float, float]] = []
        self._at, self._cpu_at = time.monotonic(), time.thread_time()

    def _start(self) -> None:
        self._loop.add_signal_handler(signal.SIGUSR1, self._report)
        self._begin()
        self._tick()

    def _tick(self) -> None:
        now, cpu = time.monotonic(), time.thread_time()
        gap = now - self._at
        if gap > self._largest or (gap > SHORTEST and len(self._gaps) < MOST):
            self._largest = max(self._largest, gap)
            self._gaps.append((self._at, now))
        self._on_cpu = max(self._on_cpu, cpu - self._cpu_at)
        self._at, self._cpu_at = now, cpu
        self._loop.call_later(TICK, self._tick)

    def _report(self) -> None:
        with self._output.open("a") as output:
            output.write(json.dumps({"gaps": self._gaps, "on_cpu": self._on_cpu}) + "\n")
        self._begin()


def main() -> None:
    """Start the gateway with a ticker in its loop."""
    output, new_event_loop = Path(sys.argv[1]), uvloop.new_event_loop

    def ticking_loop() -> uvloop.Loop:
        loop = new_event_loop()
        Ticker(loop, output)
        return loop

    uvloop.new_event_loop = ticking_loop
    app(sys.argv[2:], prog_name="egress-gateway")


if __name__ == "__main__":
    main()
