"""Numbers that outlive their process, and locks that a killed holder gives back."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.telemetry.ledger import Ledger, create_locks, create_page
from gateway.telemetry.logs.sinks import LOST, TAKEN, WRITTEN, FileSink

ROOT = Path(__file__).parents[2]
HOLDER = """
import sys, time
from gateway.telemetry.ledger import Ledger
page, locks = map(int, sys.argv[1:])
ledger = Ledger.shared(page, locks)
ledger.expect(1)
for _ in range(5):
    ledger.accept()
ledger.end()
ledger.seal(3, 0)
numbers = ledger.of_sink()
numbers[0] += 3
numbers[1] += 2
with ledger.lock(0) as lock:
    lock.torn = True
    print("held", flush=True)
    time.sleep(60)
"""

CROSSWISE = """
import sys, threading, time
from gateway.telemetry.ledger import Ledger
page, locks, held, wanted = map(int, sys.argv[1:])
ledger = Ledger.shared(page, locks)
def take(log):
    with ledger.lock(log):
        print("took", log, flush=True)
with ledger.lock(held):
    print("held", flush=True)
    sys.stdin.readline()
    waiting = threading.Thread(target=take, args=(wanted,))
    waiting.start()
    sys.stdin.readline()
waiting.join()
"""


def test_lines_are_owed_from_the_accept_until_they_are_written_or_lost() -> None:
    ledger = Ledger.alone()
    ledger.expect(2)
    one, other = ledger.of_sink(), ledger.of_sink()
    told = []
    for _ in range(3):
        ledger.accept()
    told.append(ledger.owed)
    ledger.end()
    ledger.end()
    ledger.seal(2, unencoded=2)
    one[TAKEN] += 1
    other[TAKEN] += 1
    told.append(ledger.owed)
    one[WRITTEN] += 1
    other[LOST] += 1
    told.append(ledger.owed)
    assert (ledger.accepted, ledger.open, ledger.written, ledger.lost, told) == (3, 1, 1, 3, [6, 4, 2])


def test_without_a_log_nothing_is_owed() -> None:
    ledger = Ledger.alone()
    ledger.accept()
    assert (ledger.accepted, ledger.owed) == (1, 0)


def test_sinks_that_come_and_go_for_ever_keep_their_sums() -> None:
    ledger = Ledger.alone()
    for _ in range(1000):
        ledger.of_sink()[WRITTEN] += 1
    assert ledger.written == 1000


def test_what_a_killed_process_had_counted_is_known_and_its_turn_is_free() -> None:
    page, locks = create_page(), create_locks()
    ledger = Ledger.shared(page, locks)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(page), str(locks)],
        pass_fds=[page, locks],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with ledger.lock(0) as lock:
            assert lock.torn
    assert (ledger.accepted, ledger.open, ledger.owed) == (5, 4, 2 + 1)


def test_threads_of_two_processes_that_wait_crosswise_are_no_deadlock() -> None:
    """Each process holds one log's lock in one thread and waits for the other's in another thread."""
    page, locks = create_page(), create_locks()
    with _crosswise(page, locks, 0, 1) as one, _crosswise(page, locks, 1, 0) as other:
        assert (_line(one), _line(other)) == ("held\n", "held\n")
        _go_on(one)
        _go_on(other)
        _wait_until_locks_are_waited_for(locks, 2)
        _go_on(one)
        _go_on(other)
        assert (_line(one), _line(other)) == ("took 1\n", "took 0\n")


def test_a_sink_counts_into_the_ledger_and_begins_afresh_after_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(b'{"half')
    page, locks = create_page(), create_locks()
    ledger = Ledger.shared(page, locks)
    ledger.lock(0).torn = True
    sink = FileSink(str(path), lock=ledger.lock(0), numbers=ledger.of_sink())
    sink.put(b"one\ntwo\n", 2)
    sink.close(5)
    assert path.read_bytes() == b'{"half\none\ntwo\n'
    assert (sink.written, ledger.written, ledger.lost) == (2, 2, 0)
    assert not ledger.lock(0).torn


@contextmanager
def _crosswise(page: int, locks: int, held: int, wanted: int) -> "Iterator[subprocess.Popen[str]]":
    process = subprocess.Popen(
        [sys.executable, "-c", CROSSWISE, str(page), str(locks), str(held), str(wanted)],
        pass_fds=[page, locks],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def _go_on(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def _wait_until_locks_are_waited_for(descriptor: int, count: int) -> None:
    """proc(5), `/proc/locks`: `->` leads the line of a lock that is waited for."""
    inode = f":{os.fstat(descriptor).st_ino} "
    deadline = time.monotonic() + 10
    while sum("->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines()) < count:
        assert time.monotonic() < deadline
        time.sleep(0.005)
