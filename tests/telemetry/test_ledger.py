"""Numbers that outlive their process, and turns that a killed holder gives back."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from gateway.telemetry.ledger import Ledger, create_page, create_turns
from gateway.telemetry.sinks import FileSink

ROOT = Path(__file__).parents[2]
HOLDER = """
import sys, time
from gateway.telemetry.ledger import Ledger
page, turns = map(int, sys.argv[1:])
ledger = Ledger.shared(page, turns, 1)
for _ in range(5):
    ledger.accept()
ledger.end()
ledger.lines(0)[0] += 3
with ledger.turn(0) as turn:
    turn.torn = True
    print("held", flush=True)
    time.sleep(60)
"""


def test_connections_and_lines_are_counted_apart() -> None:
    ledger = Ledger.alone(2)
    for _ in range(3):
        ledger.accept()
    ledger.end()
    ledger.lines(0)[0] += 2
    ledger.lines(1)[0] += 1
    ledger.lines(1)[1] += 1
    assert (ledger.accepted, ledger.open, ledger.written, ledger.lost, ledger.owed) == (3, 2, 3, 1, 2)


def test_without_a_log_nothing_is_owed() -> None:
    ledger = Ledger.alone(0)
    ledger.accept()
    assert (ledger.accepted, ledger.owed) == (1, 0)


def test_what_a_killed_process_had_counted_is_known_and_its_turn_is_free() -> None:
    page, turns = create_page(1), create_turns(1)
    ledger = Ledger.shared(page, turns, 1)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(page), str(turns)],
        pass_fds=[page, turns],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with ledger.turn(0) as turn:
            assert turn.torn
    assert (ledger.accepted, ledger.open, ledger.owed) == (5, 4, 2)


def test_a_sink_counts_into_the_ledger_and_begins_afresh_after_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(b'{"half')
    page, turns = create_page(1), create_turns(1)
    ledger = Ledger.shared(page, turns, 1)
    ledger.turn(0).torn = True
    sink = FileSink(str(path), turn=ledger.turn(0), numbers=ledger.lines(0))
    sink.put(b"one\ntwo\n", 2)
    sink.close(5)
    assert path.read_bytes() == b'{"half\none\ntwo\n'
    assert (sink.written, ledger.written, ledger.lost) == (2, 2, 0)
    assert not ledger.turn(0).torn
