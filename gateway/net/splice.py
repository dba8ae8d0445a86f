"""Bulk moves inside the kernel: socket -> pipe -> socket with splice(2), no byte is copied into this process.

The pipe is refilled only when it is empty, so `EAGAIN` on the way in always means "nothing there", and a turn of the
loop moves at most one pipe of one direction. It works on duplicates of the sockets' descriptors, since a transport's
own cannot be watched, and takes four descriptors for each direction.
"""

import asyncio
import fcntl
import os
import select
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from gateway.net.kernel.descriptors import Descriptors

PIPE_BYTES = 1024 * 1024
LEAST_PIPE_BYTES = 64 * 1024

_AVAILABLE = hasattr(os, "splice")
_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK if _AVAILABLE else 0


class Carried(Protocol):
    """The direction of a relay whose bytes a splice moves."""

    def count(self, size: int) -> None:
        """The sink's socket took `size` bytes more."""
        ...

    def carried_all(self) -> None:
        """The source ended, and the sink's socket has taken all of it."""
        ...

    def source_failed(self) -> None:
        """The source's connection broke."""
        ...

    def sink_failed(self) -> None:
        """The sink's connection broke."""
        ...


@dataclass(slots=True)
class Splices:
    """What counts as bulk: a direction after `bulk` bytes in reads of `large` bytes or more, and no longer when nothing
    moved for `quiet` seconds. None is spliced while `descriptors` are scarce; `open` are those that are."""

    bulk: int = 256 * 1024
    large: int = 16 * 1024
    quiet: float = 5.0
    pipe: int = PIPE_BYTES
    descriptors: Descriptors = field(default_factory=Descriptors)
    open: int = 0

    def start(self, source: int, sink: int, carried: Carried) -> "Splice | None":
        """Begin to move from socket `source` to socket `sink`, both non-blocking; None if that is not possible now."""
        if not _AVAILABLE or self.descriptors.are_scarce():
            return None
        descriptors: list[int] = []
        try:
            descriptors += _open_pipe(self.pipe)
            descriptors.append(os.dup(source))
            descriptors.append(os.dup(sink))
        except OSError:  # no descriptors are left, or only tiny pipes: user space will do
            _close(descriptors)
            return None
        self.open += 1
        return Splice(self, carried, *descriptors)


class Splice:
    """One direction. `_pending` bytes are in the pipe between the sockets, at most `piece`."""

    __slots__ = (
        "_carried",
        "_errors",
        "_loop",
        "_moved",
        "_pending",
        "_pipe_in",
        "_pipe_out",
        "_rests",
        "_sink",
        "_source",
        "_splices",
        "_waits",
        "piece",
    )

    def __init__(self, splices: Splices, carried: Carried, pipe_out: int, pipe_in: int, source: int, sink: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._splices = splices
        self._carried = carried
        self._pipe_out = pipe_out
        self._pipe_in = pipe_in
        self._source = source
        self._sink = sink
        self._waits = False  # for the sink
        self._rests = False
        self.piece = splices.pipe
        self._errors = select.poll()
        self._errors.register(source, 0)
        self._pending = 0
        self._moved = 1  # since `is_moving` was asked
        self._loop.add_reader(source, self._fill)

    def is_moving(self) -> bool:
        """Whether something moved since this was last asked (it counts as so at first), or waits for the sink."""
        moved, self._moved = self._moved, 0
        return bool(moved or self._pending or self._rests)

    def rest(self) -> None:
        """Take nothing from the source until `go_on`."""
        self._rests = True
        if not self._waits:
            self._unwatch()

    def go_on(self) -> None:
        """Take again."""
        self._rests = False
        if not self._waits:
            self._watch()

    def close(self) -> None:
        """Give everything back; what is pending is dropped. Once only."""
        self._unwatch()
        _close((self._pipe_out, self._pipe_in, self._source, self._sink))
        self._splices.open -= 1

    def _fill(self) -> None:
        try:
            self._pending = os.splice(self._source, self._pipe_in, self.piece, flags=_FLAGS)
        except BlockingIOError:
            return
        except OSError:
            self._carried.source_failed()
            return
        if self._pending:
            self._drain()
        else:
            self._carried.carried_all()

    def _drain(self) -> None:
        try:
            size = os.splice(self._pipe_out, self._sink, self._pending, flags=_FLAGS)
        except BlockingIOError:
            size = 0
        except OSError:
            self._carried.sink_failed()
            return
        self._pending -= size
        self._moved += size
        self._carried.count(size)
        if bool(self._pending) != self._waits or self._errors.poll(0):
            self._watch()

    def _watch(self) -> None:
        """Watch the side that the next step depends on. To be called again when the source broke: uvloop drops the
        watch of a broken socket after one call, while bytes that came before may still be unread."""
        self._unwatch()
        self._waits = bool(self._pending)
        if self._waits:
            self._loop.add_writer(self._sink, self._drain)
        elif not self._rests:
            self._loop.add_reader(self._source, self._fill)

    def _unwatch(self) -> None:
        if self._waits:
            self._loop.remove_writer(self._sink)
        else:
            self._loop.remove_reader(self._source)


def _open_pipe(size: int) -> tuple[int, int]:
    """Raises OSError if there is none that is worth using: the kernel bounds the pipe pages of an unprivileged user
    (pipe(7), pipe-user-pages-soft), first by refusing to enlarge a pipe, then by making them tiny."""
    ends = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _enlarge(ends[0], size)
    except OSError:
        _close(ends)
        raise
    return ends


def _enlarge(pipe: int, size: int) -> None:
    with suppress(PermissionError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, size)
    if fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) < LEAST_PIPE_BYTES:
        raise OSError("the pipe is too small to be worth it")


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
