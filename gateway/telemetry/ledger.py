"""What a process has counted, to the last connection and the last line, in numbers that can outlive it.

A worker's are in a page of memory that its supervisor sees as well: what it had accepted but not yet recorded when it
was killed is known afterwards. The locks of the logs are shared by all workers; the kernel frees the lock of a holder
that is killed, and the flag beside it says that the holder may have left half a line.
"""

import fcntl
import mmap
import os
import struct
from typing import Self

from gateway.telemetry.logs.sinks import LOST, TAKEN, WRITTEN, LogLock

PAGE_BYTES = 4096
LOCKS_BYTES = 256

_NUMBER_BYTES = 8
_OF_A_SINK = 3
_ACCEPTED, _ENDED, _REQUESTS, _SEALED, _UNENCODED, _LOGS, _SINKS = range(7)
_FLOCK = struct.Struct("hhqqi4x")  # l_type, l_whence, l_start, l_len, l_pid
_MOST_SINKS = (PAGE_BYTES // _NUMBER_BYTES - _SINKS) // _OF_A_SINK


class Ledger:
    """The numbers of one process, written by it alone, each by one thread."""

    __slots__ = ("_descriptor", "_flags", "_locks", "_numbers", "_opened")

    def __init__(self, page: "bytearray | mmap.mmap", locks: int | None = None) -> None:
        """`locks` is the descriptor of the memory that processes share, None for one that writes its logs alone."""
        self._numbers = memoryview(page).cast("Q")
        self._locks = locks
        self._descriptor: int | None = None
        self._flags = None if locks is None else memoryview(mmap.mmap(locks, LOCKS_BYTES))
        self._opened = 0

    @classmethod
    def alone(cls) -> Self:
        """For a process that shares nothing."""
        return cls(bytearray(PAGE_BYTES))

    @classmethod
    def shared(cls, page: int, locks: int) -> Self:
        """In the memory behind two descriptors, of which `locks` stays open."""
        return cls(mmap.mmap(page, PAGE_BYTES), locks)

    # ----------------------------------------------------------------------------------------------------- its process

    def accept(self) -> None:
        """One more connection came in."""
        self._numbers[_ACCEPTED] += 1

    def end(self) -> None:
        """One of them is over and was given to the recorder."""
        self._numbers[_ENDED] += 1

    def end_request(self) -> None:
        """One request on them is over and was given to the recorder."""
        self._numbers[_REQUESTS] += 1

    def seal(self, records: int, unencoded: int) -> None:
        """The lines of so many connections and requests went to the sinks, except `unencoded` lines, which are lost."""
        self._numbers[_UNENCODED] += unencoded
        self._numbers[_SEALED] += records

    def expect(self, logs: int) -> None:
        """From now on each connection and each request makes `logs` lines."""
        self._numbers[_LOGS] = logs

    def of_sink(self) -> "memoryview[int]":
        """The numbers of one more sink, a part of the page. They may have been those of a sink that was closed long
        ago; its counts stay in the sums."""
        first = _SINKS + _OF_A_SINK * (self._opened % _MOST_SINKS)
        self._opened += 1
        return self._numbers[first : first + _OF_A_SINK]

    def lock(self, log: int) -> LogLock:
        """The lock of a log, by its index in the settings."""
        if self._locks is None or self._flags is None:
            return LogLock()
        if self._descriptor is None:
            self._descriptor = _open_for_itself(self._locks)
        return _SharedLock(self._descriptor, self._flags, log % LOCKS_BYTES)

    # --------------------------------------------------------------------------------------------------------- readers

    @property
    def is_alone(self) -> bool:
        """Whether no other process writes the same logs."""
        return self._locks is None

    @property
    def accepted(self) -> int:
        """Connections that came in."""
        return self._numbers[_ACCEPTED]

    @property
    def open(self) -> int:
        """Connections that came in and have not ended."""
        return self._numbers[_ACCEPTED] - self._numbers[_ENDED]

    @property
    def written(self) -> int:
        """Lines, over all logs."""
        return self._of_sinks(WRITTEN)

    @property
    def lost(self) -> int:
        """Lines, over all logs."""
        return self._of_sinks(LOST) + self._numbers[_UNENCODED]

    @property
    def owed(self) -> int:
        """Lines that are neither written nor lost yet: queued ones, and those of connections, and of requests that have
        ended, that were not sealed."""
        unsealed = self._numbers[_ACCEPTED] + self._numbers[_REQUESTS] - self._numbers[_SEALED]
        queued = self._of_sinks(TAKEN) - self._of_sinks(WRITTEN) - self._of_sinks(LOST)
        return unsealed * self._numbers[_LOGS] + queued

    def _of_sinks(self, which: int) -> int:
        return sum(self._numbers[_SINKS + which :: _OF_A_SINK])


def create_page() -> int:
    """A descriptor of zeroed memory for one process's numbers."""
    return _memory("egress-ledger", PAGE_BYTES)


def create_locks() -> int:
    """A descriptor of memory for the locks of all processes that write the same logs."""
    return _memory("egress-locks", LOCKS_BYTES)


def _memory(name: str, size: int) -> int:
    descriptor = os.memfd_create(name)
    os.truncate(descriptor, size)
    return descriptor


def _open_for_itself(descriptor: int) -> int:
    """The same file once more, as an open file description of this process's own: it owns the locks."""
    return os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR | os.O_CLOEXEC)


class _SharedLock(LogLock):
    """One byte of the memory: a lock on it, and its value is the flag.

    The lock belongs to an open file description, not to the process: each log has a thread of its own, and two workers
    whose threads wait crosswise look like a deadlock to process locks (`lockf`), which then fail.
    """

    def __init__(self, descriptor: int, flags: "memoryview[int]", log: int) -> None:
        self._descriptor = descriptor
        self._flags = flags
        self._log = log

    @property
    def torn(self) -> bool:
        return bool(self._flags[self._log])

    @torn.setter
    def torn(self, value: bool) -> None:
        self._flags[self._log] = value

    def __enter__(self) -> Self:
        self._set(fcntl.F_WRLCK)
        return self

    def __exit__(self, *_: object) -> None:
        self._set(fcntl.F_UNLCK)

    def _set(self, kind: int) -> None:
        """Waits until the byte is free; fcntl(2), `F_OFD_SETLKW`: the process id in the structure has to be 0."""
        fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLKW, _FLOCK.pack(kind, os.SEEK_SET, self._log, 1, 0))
