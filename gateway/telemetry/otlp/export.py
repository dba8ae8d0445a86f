"""The OTLP export. It never holds up the loop: finished drafts go into a bounded queue as they are, and a thread of its
own makes spans and logs of them and waits for the collector.

What does not fit into the queue, and what the collector did not accept after the exporter's retries, is dropped and
counted; as soon as the collector answers again the export goes on by itself.
"""

import logging
import os
import random
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.metrics import Exemplar
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan

from gateway.model.record import Draft, ExchangeDraft
from gateway.telemetry.counters import NO_ROOM, REFUSED, SENT, Counters
from gateway.telemetry.exposition.families import Family
from gateway.telemetry.otlp.exporters import Exporters, Exports, open_exporters, resource_of
from gateway.telemetry.otlp.logs import log_of
from gateway.telemetry.otlp.options import ExportOptions, is_disabled
from gateway.telemetry.otlp.points import Span, metrics_of
from gateway.telemetry.otlp.spans import nanoseconds, spans_of
from gateway.telemetry.otlp.tracing import Numbering, Sampling

QUEUE = 2048
BATCH = 256
WARNING_SECONDS = 10.0
SWITCH_SECONDS = 0.0005
"""How long the exporting thread may keep the loop's thread from running; Python's default is ten times as long."""
METRIC_INTERVAL = "OTEL_METRIC_EXPORT_INTERVAL"  # milliseconds

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """In seconds: how often the queue is exported, unless a batch is full earlier; the pause after each batch, so that
    a flood of denials does not take all the CPU; how often metrics are exported."""

    queue: float = 1.0
    batch: float = 0.25
    metrics: float = 60.0


@dataclass(frozen=True, slots=True)
class _Ended:
    """A connection or a request that has ended."""

    draft: Draft | ExchangeDraft
    ended_at: float
    is_traced: bool


class OtlpExport:
    """Fulfils `recorder.Export`. `families` is called in its thread."""

    def __init__(
        self,
        exporters: Exporters,
        resource: Resource,
        sampling: Sampling,
        counters: Counters,
        families: Callable[[], Iterable[Family]],
        pace: Pace | None = None,
        queue: int = QUEUE,
    ) -> None:
        self._exporters = exporters
        self._resource = resource
        self._sampling = sampling
        self._counters = counters
        self._families = families
        self._pace = pace or Pace()
        self._room = queue
        self._numbering = Numbering(random.SystemRandom().getrandbits(64) or 1)
        self._began = time.time_ns()
        self._exemplars: dict[str, Exemplar] = {}
        self._queue: deque[_Ended] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._next_warning_at = float("-inf")
        self._refused: set[str] = set()
        for signal, exporter in exporters._asdict().items():
            for outcome in (SENT, NO_ROOM, REFUSED) if exporter is not None else ():
                counters.deliver(signal, outcome, 0)
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)
        self._thread.start()

    def offer(self, ended: Sequence[tuple[Draft | ExchangeDraft, float]]) -> None:
        """See `recorder.Export`."""
        wanted = [one for draft, ended_at in ended if (one := self._sampled(draft, ended_at)) is not None]
        if not wanted:
            return
        with self._changed:
            room = 0 if self._closing else max(0, self._room - len(self._queue))
            self._queue.extend(wanted[:room])
            if len(self._queue) >= BATCH:
                self._changed.notify()
        for one in wanted[room:]:
            self._count(NO_ROOM, one)

    def _sampled(self, draft: Draft | ExchangeDraft, ended_at: float) -> _Ended | None:
        is_traced = self._exporters.traces is not None and self._sampling.wants(draft)
        if is_traced and isinstance(draft, ExchangeDraft):
            draft.connection.traced = True
        if is_traced or self._exporters.logs is not None:
            return _Ended(draft, ended_at, is_traced)
        return None

    def _count(self, outcome: str, one: _Ended) -> None:
        if one.is_traced:
            self._counters.deliver("traces", outcome)
        if self._exporters.logs is not None:
            self._counters.deliver("logs", outcome)

    def close(self, timeout: float) -> None:
        """See `recorder.Export`. A thread that waits for the collector is left behind; it keeps no process alive."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout)
        for exporter in self._exporters:
            if exporter is not None:
                exporter.shutdown()
        with self._changed:
            left = list(self._queue)
            self._queue.clear()
        for one in left:
            self._count(NO_ROOM, one)
        if left:
            _logger.warning("OTLP: the last %d records were not exported in time", len(left))

    # ------------------------------------------------------------------------------------------------------ the thread

    def _run(self) -> None:
        metrics_at = time.monotonic() + self._pace.metrics
        closing = False
        while not closing:
            closing = self._wait(self._pace.queue, unless=BATCH)
            while batch := self._next_batch():
                self._export_batch(batch)
                if not closing:
                    break
            if closing or time.monotonic() >= metrics_at:
                self._export_metrics()
                metrics_at = time.monotonic() + self._pace.metrics
            self._wait(self._pace.batch)

    def _wait(self, seconds: float, unless: int | None = None) -> bool:
        """For that long, or until `unless` are queued. True: it is time to end."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._closing or (unless is not None and len(self._queue) >= unless), seconds
            )
            return self._closing

    def _next_batch(self) -> Sequence[_Ended]:
        with self._changed:
            return [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]

    def _export_batch(self, batch: Sequence[_Ended]) -> None:
        traced = [one for one in batch if one.is_traced]
        if self._exporters.traces is not None and traced:
            for one in traced:
                self._keep_exemplar(one)
            self._export(
                "traces",
                self._exporters.traces,
                lambda: [span for one in traced for span in self._spans(one)],
                len(traced),
            )
        if self._exporters.logs is not None:
            self._export("logs", self._exporters.logs, lambda: [self._log(one) for one in batch], len(batch))

    def _export_metrics(self) -> None:
        if self._exporters.metrics is not None:
            span = Span(self._began, time.time_ns())
            self._export(
                "metrics",
                self._exporters.metrics,
                lambda: metrics_of(self._families(), span, self._exemplars, self._resource),
                1,
            )

    def _spans(self, one: _Ended) -> Iterator[ReadableSpan]:
        return spans_of(one.draft, one.ended_at, self._numbering.of(one.draft), self._resource)

    def _log(self, one: _Ended) -> ReadableLogRecord:
        numbers = self._numbering.of(one.draft)
        return log_of(one.draft, one.ended_at, numbers, one.is_traced, self._resource)

    def _keep_exemplar(self, one: _Ended) -> None:
        """Of each histogram the newest observation is its example."""
        draft, numbers = one.draft, self._numbering.of(one.draft)
        seconds = one.ended_at - draft.started_at
        name = "egress.connection.duration" if isinstance(draft, Draft) else "egress.request.duration"
        ended = nanoseconds(draft.started_time + seconds)
        self._exemplars[name] = Exemplar({}, seconds, ended, numbers.span, numbers.trace)

    def _export(self, signal: str, exporter: Exports, make: Callable[[], object], count: int) -> None:
        try:
            why = exporter.export(make())
        except Exception:  # a fault of ours costs this batch, not the thread
            _logger.exception("OTLP: %d %s could not be exported", count, signal)
            why = "internal error"
        self._counters.deliver(signal, REFUSED if why else SENT, count)
        if not why and signal in self._refused:
            self._refused.discard(signal)
            _logger.info("OTLP: the collector accepts %s again", signal)
        if why and time.monotonic() >= self._next_warning_at:
            self._next_warning_at = time.monotonic() + WARNING_SECONDS
            self._refused.add(signal)
            _logger.warning("OTLP: the collector does not accept %s, which are dropped and counted: %s", signal, why)


def open_export(
    options: ExportOptions, counters: Counters, families: Callable[[], Iterable[Family]]
) -> OtlpExport | None:
    """As the options and the environment want it; None if that switches OpenTelemetry off. Raises `ConfigError` as
    `open_exporters` does."""
    if is_disabled(os.environ):
        return None
    sys.setswitchinterval(SWITCH_SECONDS)
    resource = resource_of(socket.gethostname(), os.getpid())
    return OtlpExport(open_exporters(options), resource, options.sampling, counters, families, _pace())


def _pace() -> Pace:
    wanted = os.environ.get(METRIC_INTERVAL, "")
    return Pace(metrics=max(1.0, int(wanted) / 1000)) if wanted.isdecimal() and len(wanted) < 10 else Pace()
