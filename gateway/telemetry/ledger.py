"""What a process has done, to the last connection and the last line, in numbers that may outlive it.

Of a worker they lie in a page of memory that its supervisor sees as well: what it had accepted and not yet recorded
when it was killed is known afterwards. The turns at the logs are shared by all workers; a lock of `fcntl` is free again
when its holder is killed, and the flag beside it tells that the holder may have left half a line.
"""

import fcntl
import mmap
import os
from collections.abc import Sequence
from typing import Self

from gateway.telemetry.sinks import LOST, WRITTEN, Turn

NUMBER_BYTES = 8

_ACCEPTED, _ENDED, _LINES = range(3)


class Ledger:
    """`numbers` are: connections accepted, connections ended, then lines written and lines lost for each log."""

    __slots__ = ("_numbers", "_turns")

    def __init__(self, numbers: "memoryview[int]", turns: Sequence[Turn]) -> None:
        self._numbers = numbers
        self._turns = turns

    @classmethod
    def alone(cls, logs: int) -> Self:
        """Of a process that shares nothing."""
        return cls(_as_numbers(bytearray(_bytes_for(logs))), [Turn() for _ in range(logs)])

    @classmethod
    def shared(cls, page: int, turns: int, logs: int) -> Self:
        """In the memory behind two descriptors, which stay open: as `create_page` and `create_turns` made them."""
        numbers, flags = mmap.mmap(page, _bytes_for(logs)), memoryview(mmap.mmap(turns, max(logs, 1)))
        return cls(_as_numbers(numbers), [_SharedTurn(turns, flags, log) for log in range(logs)])

    def accept(self) -> None:
        """One more connection came in."""
        self._numbers[_ACCEPTED] += 1

    def end(self) -> None:
        """One of them is over and was given to the recorder."""
        self._numbers[_ENDED] += 1

    def lines(self, log: int) -> "memoryview[int]":
        """Written and lost, for the sink of that log: a part of these numbers, not a copy."""
        return self._numbers[_LINES + 2 * log : _LINES + 2 * log + 2]

    def turn(self, log: int) -> Turn:
        """The turn at that log."""
        return self._turns[log]

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
        return sum(self._numbers[_LINES + WRITTEN :: 2])

    @property
    def lost(self) -> int:
        """Lines, over all logs."""
        return sum(self._numbers[_LINES + LOST :: 2])

    @property
    def owed(self) -> int:
        """Lines that all accepted connections make and that are neither written nor lost yet."""
        return self.accepted * len(self._turns) - self.written - self.lost


def create_page(logs: int) -> int:
    """A descriptor of memory for one process's numbers, all 0."""
    return _memory("egress-ledger", _bytes_for(logs))


def create_turns(logs: int) -> int:
    """A descriptor of memory for the turns of all processes that write the same logs."""
    return _memory("egress-turns", max(logs, 1))


def _bytes_for(logs: int) -> int:
    return NUMBER_BYTES * (_LINES + 2 * logs)


def _as_numbers(memory: "bytearray | mmap.mmap") -> "memoryview[int]":
    return memoryview(memory).cast("Q")


def _memory(name: str, size: int) -> int:
    descriptor = os.memfd_create(name)
    os.truncate(descriptor, size)
    return descriptor


class _SharedTurn(Turn):
    """One byte of the memory: its lock is the turn, its value is the flag."""

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
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 1, self._log)
        return self

    def __exit__(self, *_: object) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, self._log)
