"""The newest flows of all workers, for watchers.

A reader keeps its own position and takes what it has time for: a slow one misses what left the ring meanwhile, and
learns how much that was. It slows down no other, and the ring does not know its readers.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple

MOST_FLOWS = 10_000
MOST_BYTES = 16 * 1024 * 1024
PIECE = 200  # flows that are read at once


class _Batch(NamedTuple):
    first: int
    came_time: float
    lines: bytes
    size: int


class Piece(NamedTuple):
    """Flows in order, Unix time and line, the first of them number `first`; `missed` ones had left the ring."""

    first: int
    flows: Sequence[tuple[float, bytes]]
    missed: int


class Ring:
    """Written and read by the loop. `epoch` tells its numbers from those of another start."""

    def __init__(
        self, most_flows: int = MOST_FLOWS, most_bytes: int = MOST_BYTES, now: Callable[[], float] = time.time
    ) -> None:
        self.epoch = f"{random.getrandbits(32):08x}"
        self.closed = False
        self._most_flows = most_flows
        self._most_bytes = most_bytes
        self._now = now
        self._batches: deque[_Batch] = deque()
        self._bytes = 0
        self._end = 0
        self._grown: asyncio.Event | None = None

    @property
    def begin(self) -> int:
        """The number of the oldest flow that is still here."""
        return self._batches[0].first if self._batches else self._end

    @property
    def end(self) -> int:
        """The number of the next flow to come."""
        return self._end

    def put(self, lines: bytes) -> None:
        """Whole lines, each a flow; an empty batch is not kept. The oldest leave in the batches in which they came."""
        count = lines.count(b"\n")
        if not count:
            return
        self._batches.append(_Batch(self._end, self._now(), lines, count))
        self._end += count
        self._bytes += len(lines)
        while self._end - self._batches[0].first > self._most_flows or self._bytes > self._most_bytes:
            self._bytes -= len(self._batches.popleft().lines)
            if not self._batches:
                break
        self._wake()

    def read(self, place: int) -> Piece | None:
        """The next flows from number `place` on, `PIECE` at most; None if there are none yet."""
        missed, first = max(0, self.begin - place), max(self.begin, place)
        batches = self._from(first)
        if not batches:
            return None
        flows = [(batch.came_time, line) for batch in batches for line in batch.lines.splitlines()]
        skipped = first - batches[0].first
        return Piece(first, flows[skipped : skipped + PIECE], missed)

    def _from(self, place: int) -> Sequence[_Batch]:
        """As many batches from that number on as make a piece. Readers mostly are near the end: the search begins
        there."""
        found: deque[_Batch] = deque()
        for batch in reversed(self._batches):
            if batch.first + batch.size <= place:
                break
            found.appendleft(batch)
        held, wanted = 0, 0
        for batch in found:
            held += batch.size
            wanted += 1
            if held - (place - found[0].first) >= PIECE:
                break
        return list(islice(found, wanted))

    async def grow(self) -> None:
        """Returns when more has come since, or the ring is closed."""
        if self.closed:
            return
        if self._grown is None:
            self._grown = asyncio.Event()
        await self._grown.wait()

    def close(self) -> None:
        """Nothing more comes; waiting readers return."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        if self._grown is not None:
            self._grown.set()
            self._grown = None
