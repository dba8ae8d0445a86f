"""Where lines go. A sink never makes its caller wait: batches that find no room are dropped and counted as lost.

Each sink has one thread of its own, the only place where a write may block (a stuck FIFO must not hold up another log).
"""

import errno
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, Self

from gateway.model.errors import ConfigError
from gateway.telemetry.logs.rotation import Rotation

STDOUT = "-"
QUEUE_BYTES = 8 * 1024 * 1024
WARNING_SECONDS = 10.0
LOSES, STAYS = "records are lost", "the old file stays in use"
COMPRESSION_SECONDS = 5.0  # at the end, by the thread
FILE_MODE = 0o640
TAKEN, WRITTEN, LOST = range(3)

_STDOUT_DESCRIPTOR = 1
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY

_logger = logging.getLogger(__name__)


class Sink(Protocol):
    """Takes batches of whole lines."""

    def put(self, lines: bytes | bytearray, count: int) -> None:
        """Queue a batch of `count` lines, which the sink owns from now on; never blocks, never raises."""
        ...

    def reopen(self) -> None:
        """Open the file again (it was rotated)."""
        ...

    def close(self, timeout: float) -> None:
        """Write what is queued, for `timeout` seconds at most; what is left then is lost."""
        ...


class LogLock:
    """The right to write to a path, taken for one write at a time. The only process that writes need not wait, as here.
    `torn` says that the last write ended inside a line."""

    torn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class FileSink:
    """A file, a FIFO, a device, or standard output (`-`), in append mode.

    The constructor opens the path, creating the file, or raises `ConfigError`; only a FIFO that nobody reads yet is
    opened later by the thread, and with `opens_later` whatever cannot be opened now. `queue_bytes` bounds the queue,
    including the batch being written.

    `lock` is taken for every write; `numbers` are the lines taken, and of those the written and the lost ones. Both may
    be shared with other processes. `rotation` rotates the file when it is time.
    """

    def __init__(
        self,
        path: str,
        queue_bytes: int = QUEUE_BYTES,
        monotonic: Callable[[], float] = time.monotonic,
        lock: LogLock | None = None,
        numbers: "list[int] | memoryview[int] | None" = None,
        rotation: Rotation | None = None,
        opens_later: bool = False,
    ) -> None:
        self._lock = lock or LogLock()
        self._rotation = rotation
        self._numbers = [0, 0, 0] if numbers is None else numbers
        self._path = path
        self._queue_bytes = queue_bytes
        self._monotonic = monotonic
        # Its lock guards the counts and what follows; no file is touched under it.
        self._changed = threading.Condition()
        self._queue: deque[tuple[bytes | bytearray, int]] = deque()
        self._queued_bytes = 0
        self._reopen = False
        self._closing = False
        self._next_warning_at: dict[str, float] = {}
        self._is_losing = self._has_warned = False
        self._descriptor = _try_open(path, opens_later)  # from here on: the thread's alone
        self._thread = threading.Thread(target=self._run, name=f"sink {path}", daemon=True)
        self._thread.start()

    @property
    def written(self) -> int:
        """Lines."""
        return self._numbers[WRITTEN]

    @property
    def lost(self) -> int:
        """Lines."""
        return self._numbers[LOST]

    def put(self, lines: bytes | bytearray, count: int) -> None:
        """See `Sink`."""
        with self._changed:
            self._numbers[TAKEN] += count
            room = not self._closing and self._queued_bytes + len(lines) <= self._queue_bytes
            if room:
                self._queue.append((lines, count))
                self._queued_bytes += len(lines)
                self._changed.notify()
            else:
                self._numbers[LOST] += count
                self._is_losing = True
        if not room:
            self._warn("it is too slow")

    def reopen(self) -> None:
        """See `Sink`. What is still queued goes to the new file; standard output stays as it is."""
        with self._changed:
            self._reopen = self._path != STDOUT
            self._changed.notify()

    def close(self, timeout: float) -> None:
        """See `Sink`. A thread that is stuck in a write is left behind; it keeps no process alive."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout)
        with self._changed:
            left = sum(count for _, count in self._queue)
            self._queue.clear()
            self._numbers[LOST] += left
        if left:
            _logger.warning("access log %s: the last %d records were not written in time", self._path, left)

    def _run(self) -> None:
        while self._wait_for_work():
            self._open_if_needed()
            self._write_next()
        if self._rotation is not None:
            self._rotation.wait(COMPRESSION_SECONDS)
        self._close_file()

    def _wait_for_work(self) -> bool:
        """False: closing, and nothing is left to write."""
        with self._changed:
            while not (self._queue or self._reopen or self._closing):
                self._changed.wait()
            return bool(self._queue) or self._reopen

    def _open_if_needed(self) -> None:
        """If the file cannot be opened again, the old one stays in use."""
        with self._changed:
            reopen, self._reopen = self._reopen, False
        if reopen or self._descriptor is None:
            self._open()

    def _open(self) -> None:
        try:
            descriptor = os.open(self._path, _FLAGS, FILE_MODE)
        except OSError as error:
            self._warn(f"it cannot be opened: {error.strerror}", LOSES if self._descriptor is None else STAYS)
            return
        self._close_file()
        self._descriptor, self._lock.torn = descriptor, False

    def _close_file(self) -> None:
        if self._descriptor is not None and self._path != STDOUT:
            os.close(self._descriptor)

    def _write_next(self) -> None:
        """The batch stays queued until it is written: if `close` gives up on it meanwhile, it counts as lost."""
        with self._changed:
            if not self._queue:
                return
            lines, count = self._queue[0]
        written = self._write(lines, count)
        with self._changed:
            if self._queue:
                self._queue.popleft()
                self._queued_bytes -= len(lines)
                self._numbers[WRITTEN] += written
                self._numbers[LOST] += count - written
            self._is_losing = self._is_losing or written < count
            is_well_again = self._is_losing and self._has_warned and written == count and not self._queue
            if is_well_again:
                self._is_losing = self._has_warned = False
        if is_well_again:
            _logger.info("access log %s: it is written again; %d records were lost so far", self._path, self.lost)

    def _write(self, lines: bytes | bytearray, count: int) -> int:
        """How many whole lines of these `count` were written."""
        if self._descriptor is None:
            return 0
        with self._lock as lock:
            if self._rotation is not None:
                self._rotate(self._rotation, self._descriptor, len(lines))
            done = self._write_all(self._descriptor, lines, lock)
        return count if done == len(lines) else lines.count(b"\n", 0, done)

    def _rotate(self, rotation: Rotation, descriptor: int, coming: int) -> None:
        """If the file cannot be rotated, it is written to all the same."""
        try:
            if rotation.wants_reopening(descriptor, coming):
                self._open()
        except OSError as error:
            self._warn(f"it cannot be rotated: {error.strerror}", STAYS)

    def _write_all(self, descriptor: int, lines: bytes | bytearray, lock: LogLock) -> int:
        """How many bytes were written. After a write that failed inside a line the next one starts on a new line."""
        done = 0
        was_torn, lock.torn = lock.torn, True  # the flag that stays if this process is killed meanwhile
        try:
            if was_torn:
                os.write(descriptor, b"\n")
                was_torn = False
            while done < len(lines):
                done += os.write(descriptor, memoryview(lines)[done:])
        except OSError as error:
            self._warn(f"it cannot be written: {error.strerror}")
        lock.torn = not lines.endswith(b"\n", 0, done) if done else was_torn
        return done

    def _warn(self, problem: str, consequence: str = LOSES) -> None:
        """At most once in `WARNING_SECONDS` of each consequence; from any thread."""
        now = self._monotonic()
        with self._changed:
            if now < self._next_warning_at.get(consequence, now):
                return
            self._next_warning_at[consequence] = now + WARNING_SECONDS
            self._has_warned = self._has_warned or consequence == LOSES
        _logger.warning("access log %s: %s; %s", self._path, problem, consequence)


def check_writable(path: str) -> None:
    """Raises `ConfigError` as the sink of that path would. A FIFO is not opened: its reader would take the closing for
    the end of the log."""
    if path == STDOUT or (Path(path).is_fifo() and os.access(path, os.W_OK)):
        return
    descriptor = _try_open(path)
    if descriptor is not None:
        os.close(descriptor)


def _try_open(path: str, opens_later: bool = False) -> int | None:
    """The open file; None for a FIFO without a reader, for which a plain open would wait. See `FileSink`."""
    if path == STDOUT:
        return _STDOUT_DESCRIPTOR
    try:
        descriptor = os.open(path, _FLAGS | os.O_NONBLOCK, FILE_MODE)
    except OSError as error:
        if opens_later or (error.errno == errno.ENXIO and Path(path).is_fifo()):
            return None
        raise ConfigError(path, f"cannot be opened for writing: {error.strerror} (telemetry.access_log)") from error
    os.set_blocking(descriptor, True)
    return descriptor
