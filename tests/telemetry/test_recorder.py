"""From a draft to lines in a log, on a running loop."""

import asyncio
import logging
from dataclasses import replace
from pathlib import Path
from weakref import ref

import pytest

from gateway.model.record import ConnectionRecord, Draft, ExchangeRecord
from gateway.model.roles import Recorder as RecorderRole
from gateway.telemetry.counters import Counters
from gateway.telemetry.formats import squid
from gateway.telemetry.formats.json import encode
from gateway.telemetry.ledger import Ledger
from gateway.telemetry.logs.sinks import FileSink
from gateway.telemetry.recorder import BATCH, Log, Recorder, close_logs
from tests.telemetry.drafts import RULE, StillClock, denied, exchanged, tunnelled
from tests.telemetry.lines import read_line


class ListSink:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.batches: list[bytes] = []
        self.arrived = asyncio.Event()
        self.written = 0
        self.lost = 0
        self.reopened = 0
        self.closed = False

    def put(self, lines: bytes | bytearray, count: int) -> None:
        self.batches.append(bytes(lines))
        self.written += count
        self.arrived.set()

    def reopen(self) -> None:
        self.reopened += 1

    def close(self, timeout: float) -> None:
        self.closed = True

    def records(self) -> list[ConnectionRecord | ExchangeRecord]:
        return [read_line(line) for line in b"".join(self.batches).splitlines()]


def recorder_with(*sinks: ListSink | FileSink, clock: StillClock | None = None) -> Recorder:
    logs = [Log(encode, sink) for sink in sinks]
    return Recorder(asyncio.get_running_loop(), clock or StillClock(), Counters(), logs)


async def test_a_format_without_a_line_for_a_record_counts_none(tmp_path: Path) -> None:
    path = tmp_path / "squid.log"
    sink = FileSink(str(path))
    logs = [Log(squid.encode, sink, is_whole=False)]
    recorder = Recorder(asyncio.get_running_loop(), StillClock(), Counters(), logs)
    recorder.record(replace(tunnelled(), requests=2))
    recorder.record(tunnelled())
    recorder.close(5)
    assert (sink.written, sink.lost, path.read_bytes().count(b"\n")) == (1, 0, 1)


async def test_a_log_of_which_there_is_no_line_is_given_nothing_to_queue() -> None:
    sink = ListSink()
    logs = [Log(squid.encode, sink, is_whole=False)]
    recorder = Recorder(asyncio.get_running_loop(), StillClock(), Counters(), logs)
    recorder.record(replace(tunnelled(), requests=2))
    recorder.flush()
    recorder.flush()
    assert sink.batches == []


async def test_other_logs_take_over_and_what_the_former_ones_wrote_stays_counted(tmp_path: Path) -> None:
    ledger = Ledger.alone()
    paths = tmp_path / "former.log", tmp_path / "new.log"
    former, new = (Log(encode, FileSink(str(path), numbers=ledger.of_sink())) for path in paths)
    recorder = Recorder(asyncio.get_running_loop(), StillClock(), Counters(), [former], ledger)
    recorder.record(tunnelled())
    replaced = recorder.replace([new])
    recorder.record(denied())
    close_logs(replaced, 10)
    recorder.close(10)
    assert [path.read_bytes().count(b"\n") for path in paths] == [1, 1]
    assert (ledger.written, ledger.lost) == (2, 0)


async def test_logs_that_were_replaced_are_not_kept() -> None:
    sink = ListSink()
    recorder = recorder_with(sink)
    recorder.record(tunnelled())
    close_logs(recorder.replace([]), 1)
    assert sink.closed
    left = ref(sink)
    del sink
    assert left() is None


async def test_it_fulfils_its_role() -> None:
    role: RecorderRole = recorder_with()
    role.record(tunnelled())


async def test_a_request_has_a_line_and_is_counted_as_one_that_ended_when_it_was_recorded() -> None:
    sink, counters = ListSink(), Counters()
    recorder = Recorder(asyncio.get_running_loop(), StillClock(1002.5), counters, [Log(encode, sink)])
    recorder.record_exchange(exchanged())
    recorder.flush()
    [record] = sink.records()
    assert (record.get("exchange_id"), record["total_ms"]) == ("c-1-3", 2500.0)
    assert (sum(counters.requests.values()), counters.connections) == (1, {})


async def test_requests_are_owed_like_connections_and_owed_no_longer_than_these(tmp_path: Path) -> None:
    ledger, told = Ledger.alone(), []
    log = Log(encode, FileSink(str(tmp_path / "log"), numbers=ledger.of_sink()))
    recorder = Recorder(asyncio.get_running_loop(), StillClock(), Counters(), [log], ledger)
    ledger.accept()
    for _ in range(3):
        recorder.record_exchange(exchanged())
    told.append(ledger.owed)
    recorder.record(tunnelled())
    recorder.close(5)
    told.append(ledger.owed)
    assert (told, ledger.written, ledger.lost) == ([4, 0], 4, 0)


async def test_what_is_owed_stands_in_the_ledger_that_it_was_given() -> None:
    sink, ledger = ListSink(), Ledger.alone()
    recorder = Recorder(asyncio.get_running_loop(), StillClock(), Counters(), [Log(encode, sink)] * 2, ledger=ledger)
    ledger.accept()
    assert ledger.owed == 2
    recorder.record(tunnelled())
    assert ledger.owed == 2
    recorder.flush()
    assert ledger.owed == 0


async def test_nothing_is_encoded_while_the_connection_waits_and_the_loop_does_it_soon_after() -> None:
    sink = ListSink()
    recorder_with(sink).record(tunnelled())
    assert sink.batches == []
    await asyncio.wait_for(sink.arrived.wait(), timeout=30)
    assert [record.get("rule") for record in sink.records()] == [RULE.name]


async def test_the_end_of_a_connection_is_when_it_was_recorded_not_when_it_was_written() -> None:
    sink, clock = ListSink(), StillClock(1002.5)
    recorder = recorder_with(sink, clock=clock)
    recorder.record(tunnelled())
    clock.now = 5000.0
    recorder.flush()
    assert [record.get("total_ms") for record in sink.records()] == [2500.0]


async def test_a_full_batch_does_not_wait_for_the_timer() -> None:
    sink = ListSink()
    recorder = recorder_with(sink)
    for number in range(2 * BATCH + 1):
        recorder.record(denied(f"c-{number}"))
    assert [batch.count(b"\n") for batch in sink.batches] == [BATCH, BATCH]
    recorder.close(timeout=1)
    assert [record.get("connection_id") for record in sink.records()] == [
        f"c-{number}" for number in range(2 * BATCH + 1)
    ]


async def test_every_log_gets_every_record() -> None:
    sinks = ListSink(), ListSink()
    recorder = recorder_with(*sinks)
    recorder.record(tunnelled())
    recorder.reopen()
    recorder.close(timeout=1)
    assert [len(sink.records()) for sink in sinks] == [1, 1]
    assert [(sink.reopened, sink.closed) for sink in sinks] == [(1, True), (1, True)]
    assert [(sink.written, sink.lost) for sink in sinks] == [(1, 0), (1, 0)]


async def test_logs_that_look_alike_are_encoded_once() -> None:
    encoded: list[str] = []

    def counting(record: ConnectionRecord | ExchangeRecord) -> bytes:
        encoded.append(record["connection_id"])
        return encode(record)

    sinks = ListSink(), ListSink(), ListSink()
    logs = [Log(counting, sinks[0]), Log(encode, sinks[1])]
    flows = Log(counting, sinks[2])
    recorder = Recorder(asyncio.get_running_loop(), StillClock(), Counters(), logs, flows=flows)
    recorder.record(denied("c-1"))
    recorder.close(timeout=1)
    assert encoded == ["c-1"]
    assert sinks[0].batches == sinks[1].batches == sinks[2].batches
    assert [sink.written for sink in sinks] == [1, 1, 1]


async def test_one_record_that_cannot_be_written_is_lost_alone_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    sink, ledger = ListSink(), Ledger.alone()
    recorder = Recorder(asyncio.get_running_loop(), StillClock(), Counters(), [Log(encode, sink)], ledger)
    broken: Draft = denied("c-broken")
    broken.started_time = float("nan")
    for draft in (denied("c-1"), broken, denied("c-2")):
        recorder.record(draft)
    with caplog.at_level(logging.ERROR):
        recorder.flush()
    assert [record.get("connection_id") for record in sink.records()] == ["c-1", "c-2"]
    assert ledger.lost == 1
    assert "no record of connection c-broken" in caplog.text


async def test_every_line_of_a_record_that_cannot_be_written_stands_as_lost_in_the_ledger(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ledger, broken = Ledger.alone(), exchanged()
    broken.started_time = float("nan")
    logs = [Log(encode, ListSink()), Log(encode, ListSink())]
    recorder = Recorder(asyncio.get_running_loop(), StillClock(), Counters(), logs, ledger=ledger)
    ledger.accept()
    recorder.record_exchange(broken)
    recorder.record(tunnelled())
    recorder.flush()
    assert ledger.lost == 2
    assert "no record of connection c-1" in caplog.text
    recorder.replace([Log(encode, ListSink())])
    ledger.accept()
    assert ledger.owed == 1


async def test_lines_in_a_file_are_the_records_of_what_was_counted(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    counters, sink = Counters(), FileSink(str(path))
    recorder = Recorder(asyncio.get_running_loop(), StillClock(), counters, [Log(encode, sink)])
    for number in range(1000):
        recorder.record(tunnelled(f"c-{number}") if number % 3 else denied(f"c-{number}"))
    recorder.close(timeout=10)
    records = [read_line(line) for line in path.read_bytes().splitlines()]
    assert [record.get("connection_id") for record in records] == [f"c-{number}" for number in range(1000)]
    assert sum(counters.connections.values()) == len(records) == sink.written
    assert sink.lost == 0
