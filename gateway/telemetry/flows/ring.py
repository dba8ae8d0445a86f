"""The newest flows of all workers, for watchers.

A reader keeps its own position and reads at its own pace: a slow one misses what has left the ring meanwhile, and is
told how much that was. It slows down nobody else, and the ring does not know its readers. All but the newest flows are
kept compressed: to a tenth, for 1.3 us a flow.
"""

import asyncio
import random
import sys
import time
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain, islice
from typing import NamedTuple

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MOST_FLOWS = 10_000
MOST_BYTES = 16 * 1024 * 1024  # unpacked, as readers hold them
PACKED_AT_ONCE = 64 * 1024  # bytes
PIECE = 200  # flows that are read at once


class _Batch(NamedTuple):
    """Flows from number `first` on, and the Unix time at which each came; `size` is that of the unpacked lines."""

    first: int
    came: "array[float]"  # not subscriptable before Python 3.12
    lines: bytes
    size: int
    is_packed: bool = False

    @property
    def end(self) -> int:
        """The number of the one after."""
        return self.first + len(self.came)

    def flows(self) -> Sequence[tuple[float, bytes]]:
        """Unix time and line of each."""
        lines = zstd.decompress(self.lines) if self.is_packed else self.lines
        return list(zip(self.came, lines.split(b"\n"), strict=False))  # nothing follows the last end of line


class Piece(NamedTuple):
    """Flows in order, Unix time and line; the first has the number `first`, and `missed` ones had left the ring."""

    first: int
    flows: Sequence[tuple[float, bytes]]
    missed: int


class Ring:
    """Written and read in the loop's thread. `epoch` tells its numbers from those of another start."""

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
        self._loose_bytes = 0  # of those that are not packed yet
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

    def put(self, lines: bytes, count: int | None = None) -> None:
        """Add whole lines, each a flow, of which there are `count`; an unfinished last line is dropped. The oldest
        flows leave in the batches in which they came or were packed."""
        if count is None:
            count = lines.count(b"\n")  # byte after byte: dear for one who knows
        if not count:
            return
        whole = lines if lines.endswith(b"\n") else lines[: lines.rfind(b"\n") + 1]
        self._batches.append(_Batch(self._end, array("d", (self._now(),)) * count, whole, len(whole)))
        self._end += count
        self._bytes += len(whole)
        self._loose_bytes += len(whole)
        if self._loose_bytes >= PACKED_AT_ONCE:
            self._pack()
        while self._batches and (
            self._end - self._batches[0].first > self._most_flows or self._bytes > self._most_bytes
        ):
            self._drop_oldest()
        self._wake()

    def _pack(self) -> None:
        """All loose batches into one."""
        loose: deque[_Batch] = deque()
        while self._batches and not self._batches[-1].is_packed:
            loose.appendleft(self._batches.pop())
        came = array("d")
        for batch in loose:
            came += batch.came
        lines = b"".join(batch.lines for batch in loose)
        self._batches.append(_Batch(loose[0].first, came, zstd.compress(lines, level=1), len(lines), is_packed=True))
        self._loose_bytes = 0

    def _drop_oldest(self) -> None:
        oldest = self._batches.popleft()
        self._bytes -= oldest.size
        if not oldest.is_packed:
            self._loose_bytes -= oldest.size

    def read(self, place: int) -> Piece | None:
        """The next flows from number `place` on, `PIECE` at most; None if there are none yet."""
        missed, first = max(0, self.begin - place), max(self.begin, place)
        batches = self._from(first)
        if not batches:
            return None
        flows = list(chain.from_iterable(batch.flows() for batch in batches))
        skipped = first - batches[0].first
        return Piece(first, flows[skipped : skipped + PIECE], missed)

    def _from(self, place: int) -> Sequence[_Batch]:
        """As many batches from that number on as make a piece. The search begins at the end, where most readers are."""
        found: deque[_Batch] = deque()
        for batch in reversed(self._batches):
            if batch.end <= place:
                break
            found.appendleft(batch)
        wanted = 0
        for batch in found:
            wanted += 1
            if batch.end - place >= PIECE:
                break
        return list(islice(found, wanted))

    async def grow(self) -> None:
        """Wait until more comes, or the ring is closed."""
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
