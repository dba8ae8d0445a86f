"""Every connection is recorded here once, at its end.

On the connection's own path there is only counting and one append; sealing and encoding follow in small batches, and
writing happens in the sinks' threads.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.model.record import Draft, ExchangeDraft
from gateway.model.roles import Clock
from gateway.telemetry.counters import Counters
from gateway.telemetry.exchanges import record_of
from gateway.telemetry.formats.fields import Record
from gateway.telemetry.ledger import Ledger
from gateway.telemetry.logs.sinks import Sink

FLUSH_SECONDS = 0.1
BATCH = 64  # connections; about half a millisecond of work at once

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Log:
    """One access log: the format of its lines, and their sink. `is_whole`: its format has a line for every record."""

    encode: Callable[[Record], bytes]
    sink: Sink
    is_whole: bool = True


class Export(Protocol):
    """Exports what has ended to a collector."""

    def offer(self, ended: Sequence[tuple[Draft | ExchangeDraft, float]]) -> None:
        """Drafts that do not change any more, each with the monotonic instant of its end; never blocks or raises."""
        ...

    def close(self, timeout: float) -> None:
        """Export what is queued, for `timeout` seconds at most."""
        ...


def close_logs(logs: Sequence[Log], timeout: float) -> None:
    """Blocks: each may take `timeout` seconds to write what is queued."""
    for log in logs:
        log.sink.close(timeout)


class Recorder:
    """Fulfils `roles.Recorder`. Owns its logs' sinks and the export, if there is one: `close` closes them.

    `ledger` counts lines over all logs, also those that a reload replaced. `flows` is one more log, for observers: its
    lines are not counted.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        counters: Counters,
        logs: Sequence[Log] = (),
        ledger: Ledger | None = None,
        flows: Log | None = None,
        export: Export | None = None,
    ) -> None:
        self._loop = loop
        self._flows = () if flows is None else (flows,)
        self._export = export
        self._ledger = ledger or Ledger.alone()
        self._ledger.expect(len(logs))
        self._monotonic = clock.monotonic
        self._counters = counters
        self._logs = logs
        self._pending: list[tuple[Draft | ExchangeDraft, float]] = []
        self._timer: asyncio.TimerHandle | None = None

    def record(self, draft: Draft) -> None:
        """Count a connection that ends now and queue its line. The draft must not change any more."""
        ended_at = self._monotonic()
        self._counters.count(draft, ended_at)
        self._queue(draft, ended_at)

    def record_exchange(self, draft: ExchangeDraft) -> None:
        """The same for an exchange."""
        ended_at = self._monotonic()
        self._counters.count_exchange(draft, ended_at)
        self._ledger.end_request()
        self._queue(draft, ended_at)

    def _queue(self, draft: Draft | ExchangeDraft, ended_at: float) -> None:
        self._pending.append((draft, ended_at))
        if len(self._pending) >= BATCH:
            self.flush()
        elif self._timer is None:
            self._timer = self._loop.call_later(FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Hand what is pending to the sinks."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        pending, self._pending = self._pending, []
        if self._export is not None:
            self._export.offer(pending)
        outlets = (*self._logs, *self._flows)
        batches = {log.encode: bytearray() for log in outlets}  # logs of one format share their encoding
        encoded = 0
        for draft, ended_at in pending:
            encoded += _encode(draft, ended_at, batches)
        lines = {encode: bytes(batch) for encode, batch in batches.items()}
        for log in outlets:
            batch = lines[log.encode]
            count = encoded if log.is_whole else batch.count(b"\n")
            if count:  # a stuck sink would queue empty batches for ever
                log.sink.put(batch, count)
        self._ledger.seal(len(pending), (len(pending) - encoded) * len(self._logs))

    def reopen(self) -> None:
        """Have every sink open its file anew."""
        for log in self._logs:
            log.sink.reopen()

    def replace(self, logs: Sequence[Log]) -> Sequence[Log]:
        """Write to these logs from now on. Returns the former ones, which the caller closes."""
        self.flush()
        former, self._logs = self._logs, logs
        self._ledger.expect(len(logs))
        return former

    def close(self, timeout: float) -> None:
        """Flush, then close every sink and the export. Blocks: each may take `timeout` seconds."""
        self.flush()
        close_logs(self._logs, timeout)
        if self._export is not None:
            self._export.close(timeout)


def _encode(
    draft: Draft | ExchangeDraft,
    ended_at: float,
    batches: Mapping[Callable[[Record], bytes], bytearray],
) -> bool:
    """Append the record's line to the batch of each format; False, and logged, where a fault of ours prevents it.

    Appending at once frees the line: keeping 64 of them made encoding cost twice as much (allocator).
    """
    try:
        record = record_of(draft, ended_at)
        lines = [(batch, encode(record)) for encode, batch in batches.items()]
    except Exception:  # a fault of ours in one record must not cost the others
        connection = draft if isinstance(draft, Draft) else draft.connection
        _logger.exception("no record of connection %s", connection.connection_id)
        return False
    for batch, line in lines:
        batch.extend(line)
    return True
