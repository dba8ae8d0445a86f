"""What is read about real processes."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from benchmarks.measure import cpu_seconds, proportional_bytes, resident_bytes
from benchmarks.proxies.counting import counted_in

MEGABYTES = 64

# Each says one line at a time and waits to be told to go on.
BUSY_CHILD = """
import subprocess, sys
print(flush=True); input()
subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < 0.5: pass"], check=True)
print(flush=True); input()
"""
GROWING = f"""
print(flush=True); input()
held = b"x" * ({MEGABYTES} << 20)
print(flush=True); input()
"""
PARENT = """
import subprocess, sys
subprocess.run([sys.executable, "-c", sys.argv[1]], check=True)
"""


class Talk:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.pid, self._process = process.pid, process

    def wait(self) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "\n"

    def go_on(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()


@contextmanager
def talking(*arguments: str) -> Iterator[Talk]:
    command = [sys.executable, "-c", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        talk = Talk(process)
        talk.wait()
        yield talk
        talk.go_on()


def test_cpu_of_a_child_that_ended_is_counted() -> None:
    with talking(BUSY_CHILD) as talk:
        before = cpu_seconds(talk.pid)
        talk.go_on()
        talk.wait()
        assert cpu_seconds(talk.pid) - before >= 0.48


@pytest.mark.parametrize("measure", [proportional_bytes, resident_bytes])
def test_memory_of_a_child_is_counted(measure: Callable[[int], int]) -> None:
    with talking(PARENT, GROWING) as talk:
        before = measure(talk.pid)
        talk.go_on()
        talk.wait()
        assert (measure(talk.pid) - before) >> 20 in range(MEGABYTES - 1, MEGABYTES + 3)


def test_connections_are_summed_over_all_labels() -> None:
    metrics = """\
# TYPE egress_connections_total counter
egress_connections_total{rule="policy.yaml#a b",decision="allow",reason=""} 40.0
egress_connections_total{rule="",decision="deny",reason="no_rule"} 2.0
egress_connections_created{rule=""} 1.7e+09
egress_connections_open 7.0
"""
    assert counted_in(metrics) == 42
