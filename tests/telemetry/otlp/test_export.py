"""The queue and the thread, with exporters that do as a test says."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource

from gateway.model.reasons import Reason
from gateway.model.record import Draft
from gateway.telemetry.counters import Counters
from gateway.telemetry.otlp.export import OtlpExport, Pace
from gateway.telemetry.otlp.exporters import Exporters
from gateway.telemetry.otlp.tracing import Sampling
from tests.telemetry.drafts import accepted, asked, denied, exchanged, tunnelled
from tests.telemetry.readings import process_families


class FakeExporter:
    """Takes batches while `open` is set; waits otherwise, until it is shut down."""

    def __init__(self, why: str = "") -> None:
        self.batches: list[Any] = []
        self.why = why
        self.open = threading.Event()
        self.open.set()
        self.is_shut = False

    def export(self, batch: Any, /) -> str:
        self.open.wait(10)
        self.batches.append(batch)
        return self.why

    def shutdown(self) -> None:
        self.is_shut = True
        self.open.set()


@contextmanager
def exporting(
    exporters: Exporters, counters: Counters, sampling: Sampling | None = None, queue: int = 100
) -> Iterator[OtlpExport]:
    sampling = sampling or Sampling(1.0)
    made = OtlpExport(
        exporters, Resource({}), sampling, counters, lambda: process_families(counters), Pace(0.01, 0.0, 0.01), queue
    )
    try:
        yield made
    finally:
        made.close(1.0)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def hexadecimal(count: int) -> list[tuple[Draft, float]]:
    return [(tunnelled(f"{number:016x}"), 1002.0) for number in range(1, count + 1)]


def test_what_is_offered_is_told_and_counted() -> None:
    exporter, counters = FakeExporter(), Counters()
    with exporting(Exporters(traces=exporter), counters) as made:
        made.offer(hexadecimal(3))
        until(lambda: counters.deliveries["traces", "sent"] == 3)
    assert [span.context.span_id for batch in exporter.batches for span in batch if span.name == "CONNECT"] == [1, 2, 3]


def test_what_finds_no_room_is_dropped_counted_and_nobody_waits() -> None:
    exporter, counters = FakeExporter(), Counters()
    exporter.open.clear()
    with exporting(Exporters(traces=exporter), counters, queue=10) as made:
        made.offer(hexadecimal(1))
        until(lambda: not made._queue)  # it is in the exporter's hands
        began = time.monotonic()
        made.offer(hexadecimal(50))
        assert time.monotonic() - began < 5.0  # half of the time that the exporter waits
        assert counters.deliveries["traces", "no_room"] == 40
        exporter.open.set()
        until(lambda: counters.deliveries["traces", "sent"] == 11)


def test_what_the_collector_refuses_is_counted_and_said_seldom(caplog: pytest.LogCaptureFixture) -> None:
    exporter, counters = FakeExporter("timed out"), Counters()
    with caplog.at_level(logging.WARNING), exporting(Exporters(traces=exporter), counters) as made:
        for _ in range(3):
            made.offer(hexadecimal(1))
            before = counters.deliveries["traces", "refused"]
            until(partial(_more_than, before, counters))
    said = "OTLP: the collector does not accept traces, which are dropped and counted: timed out"
    assert [message for message in caplog.messages if "traces" in message] == [said]


def test_a_collector_that_takes_again_what_it_did_not_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    exporter, counters = FakeExporter("timed out"), Counters()
    with caplog.at_level(logging.INFO), exporting(Exporters(traces=exporter), counters) as made:
        made.offer(hexadecimal(1))
        until(lambda: counters.deliveries["traces", "refused"] == 1)
        exporter.why = ""
        for count in (1, 2):
            made.offer(hexadecimal(1))
            until(partial(_has_sent, counters, count))
    assert caplog.messages[1:] == ["OTLP: the collector accepts traces again"]


def _has_sent(counters: Counters, count: int) -> bool:
    return counters.deliveries["traces", "sent"] == count


def _more_than(before: int, counters: Counters) -> bool:
    return counters.deliveries["traces", "refused"] > before


def test_only_what_is_wanted_is_queued_and_the_rest_costs_no_span() -> None:
    exporter, counters = FakeExporter(), Counters()
    failed = tunnelled("f" * 16)
    failed.transfer.reason = Reason.UPSTREAM_RESET
    with exporting(Exporters(traces=exporter), counters, Sampling(0.0)) as made:
        made.offer([(tunnelled("e" * 16), 1002.0), (denied("d" * 16), 1002.0), (failed, 1002.0)])
        until(lambda: counters.deliveries["traces", "sent"] == 2)


def test_a_request_that_is_told_has_its_connection_told() -> None:
    exporter, counters = FakeExporter(), Counters()
    request = exchanged()
    request.connection.connection_id = "0" * 15 + "9"
    connection = request.connection
    request.connection.transfer.ended = None
    with exporting(Exporters(traces=exporter), counters, Sampling(1e-12)) as made:
        made.offer([(request, 1001.0)])
        assert connection.traced
        made.offer([(connection, 1002.0)])
        until(lambda: counters.deliveries["traces", "sent"] == 2)


def test_logs_are_told_of_all_traced_or_not() -> None:
    logs, counters = FakeExporter(), Counters()
    with exporting(Exporters(logs=logs), counters) as made:
        made.offer([(denied("1" * 16), 1002.0), (accepted("2" * 16), 1003.0)])
        until(lambda: counters.deliveries["logs", "sent"] == 2)
    first, second = (record.log_record for batch in logs.batches for record in batch)
    assert (first.body, first.span_id, first.severity_text) == ("no_rule", int("1" * 16, 16), "WARN")
    assert first.attributes is not None
    assert first.attributes["error.type"] == "no_rule"
    assert (second.event_name, second.trace_flags) == ("egress.connection", 0)


def test_metrics_are_told_again_and_again_and_once_more_at_the_end() -> None:
    metrics, counters = FakeExporter(), Counters()
    counters.count(tunnelled(), 1002.0)
    with exporting(Exporters(metrics=metrics), counters):
        until(lambda: len(metrics.batches) >= 2)
    [of_resource] = metrics.batches[-1].resource_metrics
    told = {metric.name: metric.data.data_points for metric in of_resource.scope_metrics[0].metrics}
    assert told["egress.connections"][0].value == 1
    assert told["egress.tunnels.open"][0].value == 3
    assert told["egress.connection.duration"][0].count == 1
    assert told["egress.io"][1].value == 4096
    [of_limit] = told["egress.limit.results"]
    assert (of_limit.value, of_limit.attributes) == (4, {"egress.limit": "r.connections", "egress.result": "passed"})
    assert told["egress.limit.waiting"][0].value == 1
    assert told["egress.dns.names"][0].attributes == {"egress.result": "hit"}
    assert told["egress.records.lost"][0].value == 2
    assert told["egress.policy.generation"][0].value == 7


def test_a_fault_of_ours_costs_its_batch_only(caplog: pytest.LogCaptureFixture) -> None:
    exporter, counters = FakeExporter(), Counters()
    broken = asked("b" * 16)
    broken.transfer = None  # type: ignore[assignment]  # no draft is like that
    with caplog.at_level(logging.ERROR), exporting(Exporters(logs=exporter), counters) as made:
        made.offer([(broken, 1001.0)])
        until(lambda: "could not be exported" in caplog.text)
        made.offer([(denied("1" * 16), 1002.0)])
        until(lambda: counters.deliveries["logs", "sent"] == 1)


def test_the_end_is_bounded_also_while_the_collector_does_not_answer() -> None:
    exporter, counters = FakeExporter(), Counters()
    exporter.open.clear()
    with exporting(Exporters(traces=exporter), counters) as made:
        made.offer(hexadecimal(1))
        until(lambda: not made._queue)
        made.offer(hexadecimal(5))
        began = time.monotonic()
        made.close(0.2)
        assert time.monotonic() - began < 5.0  # likewise
    assert exporter.is_shut
