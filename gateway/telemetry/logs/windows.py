"""A VPC flow log: flows are gathered, and written when their window ends.

A connection counts in the window in which it ended, with all that it moved; `start` and `end` are its own. Each process
has windows of its own. A window without flows writes `NODATA`, unless several processes write the log, as none of them
knows about the others. Where flows had to be left out, or earlier lines were lost, it writes `SKIPDATA`.
"""

import threading
import time
from collections.abc import Callable, Sequence
from itertools import chain, islice

from gateway.telemetry.formats.fields import Record
from gateway.telemetry.formats.vpc import DEFAULT_FIELDS, Flow, FlowKey, encode_flow, encode_silence, flows_of
from gateway.telemetry.logs.sinks import TAKEN, FileSink

MOST_FLOWS = 50_000  # of one window: about 20 MB
LINES_AT_ONCE = 500  # a sink takes a batch whole or not at all, and a whole window may exceed its queue


class FlowWindows:
    """Fulfils `Sink`, with `gather` in the place of its log's encoder.

    `interval` is 60 or 600 s; windows begin at whole multiples of it in Unix time. Owns `sink`, and counts in its
    `numbers` the lines that are still to come.
    """

    def __init__(
        self,
        sink: FileSink,
        numbers: "list[int] | memoryview[int]",
        listeners: Sequence[str],
        interval: int = 60,
        fields: Sequence[str] = DEFAULT_FIELDS,
        tells_silence: bool = True,
        unix_time: Callable[[], float] = time.time,
        most_flows: int = MOST_FLOWS,
    ) -> None:
        self._sink = sink
        self._numbers = numbers
        self._listeners = listeners
        self._interval = interval
        self._fields = tuple(fields)
        self._tells_silence = tells_silence
        self._time = unix_time
        self._most_flows = most_flows
        self._lock = threading.Lock()  # guards what follows, and the number of lines taken
        self._flows: dict[FlowKey, Flow] = {}
        self._skipped: set[str] = set()
        self._lost_before = sink.lost
        self._closed = threading.Event()
        self._start = self._window_at(unix_time())
        self._thread = threading.Thread(target=self._run, name="flow windows", daemon=True)
        self._thread.start()

    def gather(self, record: Record) -> bytes:
        """Add a record's flows to the open window. No line is written yet."""
        with self._lock:
            for key, flow in flows_of(record):
                known = self._flows.get(key)
                if known is not None:
                    known.add(flow)
                elif len(self._flows) < self._most_flows:
                    self._flows[key] = flow
                    self._numbers[TAKEN] += 1
                else:
                    self._skipped.add(key.listener)
        return b""

    def put(self, lines: bytes | bytearray, count: int) -> None:
        """See `Sink`. Does nothing: lines are made at the end of a window."""

    def reopen(self) -> None:
        """See `Sink`."""
        self._sink.reopen()

    def close(self, timeout: float) -> None:
        """See `Sink`. The open window ends early."""
        self._closed.set()
        self._thread.join(timeout)
        self.end_window(self._time())
        self._sink.close(timeout)

    def end_window(self, now: float) -> None:
        """Write the open window and begin the next one. `now` is Unix time in seconds."""
        with self._lock:
            flows, self._flows = self._flows, {}
            skipped, self._skipped = self._skipped, set()
            start, self._start = self._start, self._window_at(now)
        end = max(start, min(int(now), start + self._interval))
        silences = self._silences({key.listener for key in flows}, skipped, start, end)
        coming = len(flows)
        lines = chain((encode_flow(key, flow, self._fields) for key, flow in flows.items()), silences)
        while batch := list(islice(lines, LINES_AT_ONCE)):  # encoded without the lock: it takes long
            with self._lock:
                self._numbers[TAKEN] -= min(coming, len(batch))  # the sink counts them from here on
                self._sink.put(b"".join(batch), len(batch))
            coming = max(0, coming - len(batch))

    def _silences(self, spoke: set[str], skipped: set[str], start: int, end: int) -> Sequence[bytes]:
        lost, self._lost_before = self._sink.lost > self._lost_before, self._sink.lost
        lines = []
        for listener in self._listeners:
            if lost or listener in skipped:
                lines.append(encode_silence(listener, start, end, "SKIPDATA", self._fields))
            elif self._tells_silence and listener not in spoke and end > start:
                lines.append(encode_silence(listener, start, end, "NODATA", self._fields))
        return lines

    def _window_at(self, now: float) -> int:
        return int(now) // self._interval * self._interval

    def _run(self) -> None:
        while not self._closed.wait(min(max(0.05, self._start + self._interval - self._time()), self._interval)):
            if not self._start <= self._time() < self._start + self._interval:  # the clock may also be set back
                self.end_window(self._time())
