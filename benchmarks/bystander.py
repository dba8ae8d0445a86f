"""A process that does nothing but wake up every millisecond: what it misses, the machine kept from everybody.

For each line on standard input it says the largest gap between two ticks since the line before, in seconds.
"""

import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

TICK = 0.001


class Bystander:
    """One that runs beside a measurement."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    @classmethod
    @contextmanager
    def beside(cls) -> "Iterator[Bystander]":
        """Until the block ends."""
        command = [sys.executable, "-m", "benchmarks.bystander"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            yield cls(process)

    def gap(self) -> float:
        """The largest one since this was asked before, in seconds."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("it has no pipes")
        print(file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())


def main() -> None:
    """Tick until standard input ends."""
    largest, last = 0.0, time.monotonic()
    while True:
        asked, _, _ = select.select([sys.stdin], [], [], TICK)
        now = time.monotonic()
        largest, last = max(largest, now - last), now
        if asked:
            if not sys.stdin.readline():
                return
            print(largest, flush=True)
            largest = 0.0


if __name__ == "__main__":
    main()
