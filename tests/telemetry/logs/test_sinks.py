"""A log that is slow, full, rotated or gone costs nobody anything but its own lines, and these are counted."""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.model.errors import ConfigError
from gateway.telemetry.logs.sinks import STAYS, WARNING_SECONDS, FileSink
from tests.telemetry.drafts import StillClock

PATIENCE = 60.0
LINE = b"x" * 999 + b"\n"


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


@pytest.fixture
def reader(fifo: Path) -> Iterator[int]:
    """Somebody has the FIFO open and does not read."""
    descriptor = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    yield descriptor
    os.close(descriptor)


def until(sink: FileSink, count: int) -> None:
    """Wait for the sink's thread to have dealt with `count` lines."""
    give_up_at = time.monotonic() + PATIENCE
    while sink.written + sink.lost < count:
        assert time.monotonic() < give_up_at, f"{sink.written} written, {sink.lost} lost of {count}"
        time.sleep(0.001)


def drain(descriptor: int, size: int) -> bytes:
    os.set_blocking(descriptor, True)
    read = b""
    while len(read) < size and (data := os.read(descriptor, size - len(read))):
        read += data
    return read


def test_lines_are_appended_and_the_file_is_not_for_everybody(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    for line in (b"one\n", b"two\n"):
        sink = FileSink(str(path))
        sink.put(line, 1)
        sink.close(PATIENCE)
    assert path.read_bytes() == b"one\ntwo\n"
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_path_that_cannot_be_opened_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory"):
        FileSink(str(tmp_path / "missing" / "access.log"))


def test_a_fifo_that_nobody_reads_makes_nobody_wait_and_every_lost_line_is_counted(fifo: Path, reader: int) -> None:
    sink = FileSink(str(fifo), queue_bytes=100 * len(LINE))
    started = time.monotonic()
    for _ in range(1000):
        sink.put(LINE, 1)
    assert time.monotonic() - started < 1.0
    taken = 1000 - sink.lost
    assert 100 <= taken < 1000
    assert drain(reader, taken * len(LINE)) == LINE * taken
    sink.close(PATIENCE)
    assert (sink.written, sink.lost) == (taken, 1000 - taken)


def test_closing_gives_up_on_a_stuck_log_and_counts_what_it_held(fifo: Path, reader: int) -> None:
    sink = FileSink(str(fifo))
    for _ in range(10):
        sink.put(LINE * 100, 100)
    started = time.monotonic()
    sink.close(timeout=0.05)
    assert time.monotonic() - started < 1.0
    assert sink.written + sink.lost == 1000
    lost = sink.lost
    assert lost > 0
    released = threading.Thread(target=drain, args=(reader, 1000 * len(LINE)))
    released.start()  # the stuck write ends; what was given up stays lost
    sink._thread.join(PATIENCE)
    released.join(PATIENCE)
    assert (sink.written + sink.lost, sink.lost) == (1000, lost)


def test_a_fifo_without_reader_is_opened_when_one_comes(fifo: Path) -> None:
    sink = FileSink(str(fifo))
    sink.put(b"one\n", 1)
    with fifo.open("rb") as reading:
        assert reading.readline() == b"one\n"
        sink.close(PATIENCE)
    assert (sink.written, sink.lost) == (1, 0)


def test_a_reader_that_goes_away_costs_lines_until_the_next_one(fifo: Path, reader: int) -> None:
    sink = FileSink(str(fifo))
    sink.put(b"one\n", 1)
    until(sink, 1)
    with fifo.open("rb", buffering=0) as second:
        os.dup2(second.fileno(), reader)  # the first reader is gone, the second holds the FIFO twice
        assert second.read(4) == b"one\n"
        keeper = os.dup(reader)
    os.close(keeper)
    os.dup2(os.open(os.devnull, os.O_RDONLY), reader)
    sink.put(b"two\n", 1)
    until(sink, 2)
    again = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    sink.put(b"three\n", 1)
    until(sink, 3)
    sink.close(PATIENCE)
    assert os.read(again, 100) == b"three\n"
    os.close(again)
    assert (sink.written, sink.lost) == (2, 1)


def test_a_full_disk_loses_every_line_warns_seldom_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    clock = StillClock()
    sink = FileSink("/dev/full", monotonic=clock.monotonic)
    with caplog.at_level(logging.WARNING):
        for number in range(100):
            sink.put(LINE * 3, 3)
            until(sink, 3 * (number + 1))
        assert len(caplog.records) == 1
        assert "No space left on device" in caplog.text
        clock.now += WARNING_SECONDS
        sink.put(LINE, 1)
        sink.close(PATIENCE)
    assert len(caplog.records) == 2
    assert (sink.written, sink.lost) == (0, 301)


def test_a_log_that_can_be_written_again_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "access.log"
    path.symlink_to("/dev/full")
    with caplog.at_level(logging.INFO):
        sink = FileSink(str(path))
        for _ in range(2):
            sink.put(LINE * 3, 3)
        until(sink, 6)
        path.unlink()
        sink.reopen()
        for _ in range(2):
            sink.put(LINE, 1)
        sink.close(PATIENCE)
    [_, again] = caplog.messages
    assert again == f"access log {path}: it is written again; 6 records were lost so far"


def test_a_rotated_file_is_left_alone_and_a_new_one_begun(tmp_path: Path) -> None:
    path, rotated = tmp_path / "access.log", tmp_path / "access.log.1"
    sink = FileSink(str(path))
    sink.put(b"one\n", 1)
    until(sink, 1)
    path.rename(rotated)
    sink.reopen()
    sink.put(b"two\n", 1)
    sink.close(PATIENCE)
    assert (rotated.read_bytes(), path.read_bytes()) == (b"one\n", b"two\n")


def test_a_file_that_cannot_be_opened_anew_goes_on_as_it_was(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    sink = FileSink(str(directory / "access.log"))
    directory.rename(tmp_path / "moved")
    sink.reopen()
    sink.put(b"one\n", 1)
    sink.close(PATIENCE)
    assert (tmp_path / "moved" / "access.log").read_bytes() == b"one\n"
    [told] = caplog.messages
    assert told == f"access log {directory}/access.log: it cannot be opened: No such file or directory; {STAYS}"


def test_what_comes_after_closing_is_lost(tmp_path: Path) -> None:
    sink = FileSink(str(tmp_path / "access.log"))
    sink.close(PATIENCE)
    sink.put(b"late\n", 1)
    assert (sink.written, sink.lost) == (0, 1)


_CUT_SHORT = """
import resource, sys
from gateway.telemetry.logs.sinks import FileSink
sink = FileSink(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))  # as if the disk were full after 10 bytes
sink.put(b"one\\ntwo\\nthree\\nfour\\n", 4)
while sink.written + sink.lost < 4: pass
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
sink.put(b"five\\n", 1)
sink.close(10)
print(sink.written, sink.lost)
"""


def test_a_line_that_a_full_disk_tore_does_not_spoil_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    program = [sys.executable, "-c", _CUT_SHORT, str(path)]
    ended = subprocess.run(program, capture_output=True, timeout=60, check=True)
    assert path.read_bytes() == b"one\ntwo\nth\nfive\n"
    assert ended.stdout.split() == [b"3", b"2"]


_STANDARD_OUTPUT = """
import sys
from gateway.telemetry.logs.sinks import FileSink
sink = FileSink("-")
sys.stdin.readline()
sink.put(b"one\\n", 1)
sink.reopen()
sink.close(10)
print(sink.written, sink.lost, file=sys.stderr)
"""


@pytest.mark.parametrize(("is_read", "counts"), [(True, [b"1", b"0"]), (False, [b"0", b"1"])])
def test_standard_output_may_break_without_harm(is_read: bool, counts: list[bytes]) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", _STANDARD_OUTPUT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with program:
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stderr is not None
        if not is_read:
            program.stdout.close()
        program.stdin.write(b"go\n")
        program.stdin.close()
        if is_read:
            assert program.stdout.read() == b"one\n"
        assert program.stderr.read().split()[-2:] == counts
    assert program.returncode == 0
