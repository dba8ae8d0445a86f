"""VPC flow logs: what is gathered, when it is written, and what silence says."""

import time
from pathlib import Path
from typing import cast

from gateway.telemetry.formats.fields import Record
from gateway.telemetry.formats.vpc import DEFAULT_FIELDS
from gateway.telemetry.logs.sinks import QUEUE_BYTES, TAKEN, FileSink
from gateway.telemetry.logs.windows import FlowWindows
from gateway.telemetry.sealing import seal
from tests.telemetry.drafts import StillClock, tunnelled

TUNNEL = seal(tunnelled(), 1001.5)


class Log:
    """A flow log in a file, with its own time."""

    def __init__(
        self,
        folder: Path,
        interval: int = 60,
        tells_silence: bool = True,
        most_flows: int = 10,
        queue_bytes: int = QUEUE_BYTES,
    ) -> None:
        self.path = folder / "flows.log"
        self.clock = StillClock(1200.0)
        self.numbers = [0, 0, 0]
        self.sink = FileSink(str(self.path), queue_bytes, numbers=self.numbers)
        self.windows = FlowWindows(
            self.sink, self.numbers, ["proxy"], interval, DEFAULT_FIELDS, tells_silence, self.clock.time, most_flows
        )

    def end_window(self, seconds: float = 60.0) -> None:
        self.clock.now += seconds
        self.windows.end_window(self.clock.time())

    def lines(self) -> list[list[str]]:
        self.windows.close(5.0)
        return [line.split() for line in self.path.read_text().splitlines()]


def _from_port(port: int) -> Record:
    return cast("Record", {**TUNNEL, "client_port": port})


def test_one_five_tuple_is_one_record_a_direction_with_all_its_bytes(tmp_path: Path) -> None:
    log = Log(tmp_path)
    for record in (TUNNEL, TUNNEL, _from_port(40001)):
        assert log.windows.gather(record) == b""
    log.end_window()
    flows = [(line[5], line[6], line[9]) for line in log.lines() if line[13] == "OK"]
    assert sorted(flows) == [
        ("40000", "443", "1034"),
        ("40001", "443", "517"),
        ("443", "40000", "8192"),
        ("443", "40001", "4096"),
    ]
    assert (log.sink.written, log.sink.lost, log.numbers[TAKEN]) == (4, 0, 4)


def test_a_window_whose_lines_are_more_than_a_sink_queues_is_not_lost_as_a_whole(tmp_path: Path) -> None:
    """Else who makes many flows would have everybody's left out."""
    log = Log(tmp_path, most_flows=4_000, queue_bytes=150_000)
    for port in range(1024, 3024):
        log.windows.gather(_from_port(port))
    log.end_window()
    assert len(log.lines()) >= 1_000
    assert log.sink.written + log.sink.lost == log.numbers[TAKEN]
    assert log.numbers[TAKEN] - 4_000 in (0, 1)  # the window after says SKIPDATA where lines were lost


def test_a_window_ends_also_when_the_clock_was_set_back(tmp_path: Path) -> None:
    log = Log(tmp_path, interval=1)
    log.windows.gather(TUNNEL)
    log.clock.now -= 86_400.0
    deadline = time.monotonic() + 20
    while log.path.read_text().count("OK") < 2:
        assert time.monotonic() < deadline, "nothing is written until the clock is where it was"
        time.sleep(0.02)


def test_a_window_without_flows_says_so_once(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.end_window()
    log.windows.gather(TUNNEL)
    log.end_window()
    statuses = [(line[2], line[10:]) for line in log.lines()]
    assert statuses[0] == ("proxy", ["1800001200", "1800001260", "-", "NODATA"])
    assert [status[-1] for _, status in statuses] == ["NODATA", "OK", "OK"]


def test_one_of_several_processes_does_not_say_that_there_was_nothing(tmp_path: Path) -> None:
    log = Log(tmp_path, tells_silence=False)
    log.end_window()
    assert log.lines() == []


def test_flows_that_had_to_be_left_out_are_told_of(tmp_path: Path) -> None:
    log = Log(tmp_path, most_flows=2)
    log.windows.gather(TUNNEL)
    log.windows.gather(_from_port(40001))
    log.end_window()
    assert [line[13] for line in log.lines()] == ["OK", "OK", "SKIPDATA"]


def test_lines_that_were_lost_are_told_of_in_the_next_window() -> None:
    numbers = [0, 0, 0]
    sink = FileSink("/dev/null", queue_bytes=1, numbers=numbers)
    windows = FlowWindows(sink, numbers, ["proxy"], 60, DEFAULT_FIELDS, unix_time=StillClock(1200.0).time)
    windows.gather(TUNNEL)
    windows.end_window(1_800_001_260.0)
    assert sink.lost == 2
    assert [line.split()[13] for line in windows._silences(set(), set(), 0, 60)] == [b"SKIPDATA"]
    windows.close(5.0)


def test_a_log_that_closes_writes_its_open_window(tmp_path: Path) -> None:
    log = Log(tmp_path, interval=600)
    log.windows.gather(TUNNEL)
    assert log.numbers[TAKEN] == 2
    assert [line[13] for line in log.lines()] == ["OK", "OK"]
