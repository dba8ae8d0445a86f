"""Buckets of all workers of one machine, in memory that they share: an open table of rows, found by digest.

A take locks one byte of the memory's file with `fcntl.lockf`: the kernel frees such a lock when its holder is killed,
and a row that its holder left half written is at worst one draw old. What is held is counted for each process in a
column of its own, so that the share of one that was killed can be given back. `CLOCK_MONOTONIC` is the machine's, so
the instants in the rows mean the same to everybody.

    rows      44 bytes each: the state, the instant from which the row may be used for another bucket, and BLAKE2b
              digests of the limit's name (4 bytes), of name and key (12 bytes), and of name and the client who was the
              first to ask for it (4 bytes); all zero where there is none
    counts    4 bytes each: rows of a limit, by the digest of its name
    shares    4 bytes each: rows of a limit that one client was the first to ask for, by the digest of both
    columns   4 bytes a row, for each process
    secret    keys the digests: clients choose what stands in keys, and could have it fall where another's bucket is

A limit has at most `KEYS` rows, so that one with endless keys does not keep other limits from theirs, and a client has
at most as many of these as are still free. Rows that say nothing any more count until a row near them is needed.
"""

import fcntl
import os
import re
import struct
import time
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import islice
from math import inf
from mmap import mmap
from types import TracebackType
from typing import Self

from gateway.limits.tables.table import KEYS, LISTED, StoreUnavailable, TooManyKeys, has_room
from gateway.model.limits.limit import Counted
from gateway.policy.buckets import FRESH, BucketId, Draw, Now, State, period_start

ROWS = 1 << 18
"""All buckets of all limits together: two and a half times what one limit may have."""

SLOTS = 128
"""Processes that may hold something at the same time, including those that are being replaced."""

WINDOW = 32
"""How many rows, from its first one on, a bucket may be in."""

LOCK_SECONDS = 0.1
"""How long to try. A holder needs the lock for microseconds, unless it was stopped."""

CLAIM_SECONDS = 0.001
"""How long a row stays reserved for a bucket that was read but not written, because another one lacked."""

REMEMBERED = 20_000

COUNTS = 1 << 18
"""Counters for limits, and as many for clients. The few that share one share its bound."""

_ROW = struct.Struct("3d16s4s")
_STATE = struct.Struct("3d")
_DIGEST_AT = _STATE.size
_TOTAL = struct.Struct("d")
_COUNT = struct.Struct("I")
_SECRET = 16
_NOBODY = bytes(16)
_EMPTY = bytes(_ROW.size)
_SHORT_BYTES = 4
_TRY = fcntl.LOCK_EX | fcntl.LOCK_NB
_WHILE_HELD = inf
_HELD = re.compile(rb"[^\0]")

_CONCURRENT = Counted.CONCURRENT
_BYTES = Counted.BYTES


class TableLocked(StoreUnavailable):
    """The process that holds the lock is stopped."""


def create_table(rows: int = ROWS, slots: int = SLOTS) -> int:
    """A descriptor of memory for one table. Pages that were never written take no room."""
    descriptor = os.memfd_create("egress-limits")
    os.truncate(descriptor, _size(rows, slots))
    os.pwrite(descriptor, os.urandom(_SECRET), _size(rows, slots) - _SECRET)
    return descriptor


class SharedTable:
    """Fulfils `Table`. `slot` is this process's own: no two that live may have the same."""

    def __init__(self, descriptor: int, slot: int, rows: int = ROWS, slots: int = SLOTS, keys: int = KEYS) -> None:
        self._descriptor = descriptor
        self._slot = slot
        self._rows = rows
        self._keys = keys
        self._memory = mmap(descriptor, _size(rows, slots))
        self._secret = self._memory[-_SECRET:]
        counts = (rows + WINDOW) * _ROW.size
        self._columns = counts + 2 * COUNTS * _COUNT.size
        self._counts = memoryview(self._memory)[counts : self._columns].cast("I")
        self._column = (rows + WINDOW) * _COUNT.size
        self._mine = self._columns + slot * self._column
        self._known: dict[tuple[str, tuple[str, ...]], tuple[bytes, int]] = {}

    def locked(self) -> Self:
        """See `Table`."""
        return self

    def __enter__(self) -> None:
        """Raises `TableLocked`."""
        give_up_at = 0.0
        while True:
            try:
                fcntl.lockf(self._descriptor, _TRY, 1)
            except OSError:
                now = time.monotonic()
                give_up_at = give_up_at or now + LOCK_SECONDS
                if now > give_up_at:
                    raise TableLocked("the lock of the limits is held for too long") from None
                os.sched_yield()
            else:
                return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1)

    def read(self, draw: Draw, now: Now) -> State:
        """See `Table`."""
        bucket = draw.limit.name, draw.key  # `draw.bucket`, without its call
        known = self._known.get(bucket)
        if known is None:
            known = self._remember(bucket, self._find(self._digest_of(bucket), draw, now))
        first, second, _, digest, _ = _ROW.unpack_from(self._memory, known[1])
        if digest != known[0]:
            known = self._remember(bucket, self._find(known[0], draw, now))
            first, second, _ = _STATE.unpack_from(self._memory, known[1])
        return first, second

    def write(self, draw: Draw, state: State, now: Now) -> None:
        """See `Table`."""
        bucket = draw.limit.name, draw.key
        # A bucket that was read may be forgotten again, for another draw of the same take; but its row is claimed.
        _, row = self._known.get(bucket) or self._find(self._digest_of(bucket), draw, now)
        free_at = state[0]
        if draw.limit.counted is _CONCURRENT:
            free_at = self._hold(row, state[0])
        elif draw.limit.counted is _BYTES:
            free_at = now.monotonic + period_start(draw.limit, now) + draw.limit.period - now.unix
        _STATE.pack_into(self._memory, row, *state, free_at)

    def _hold(self, row: int, total: float) -> float:
        """Let this process's column follow the change of the total; returns when the row may be used again."""
        (before,) = _TOTAL.unpack_from(self._memory, row)
        mine = self._mine + row // _ROW.size * _COUNT.size
        (count,) = _COUNT.unpack_from(self._memory, mine)
        changed = count + int(total - max(before, 0.0))
        _COUNT.pack_into(self._memory, mine, max(changed, 0))
        return _WHILE_HELD if total > 0 else -inf

    def clear(self, slot: int) -> None:
        """Give back what the process of that slot held, which has ended."""
        with self.locked():
            start = self._columns + slot * self._column
            column = self._memory[start : start + self._column]
            for index in sorted({found.start() // _COUNT.size for found in _HELD.finditer(column)}):
                row = index * _ROW.size
                (count,) = _COUNT.unpack_from(column, index * _COUNT.size)
                total, second, _ = _STATE.unpack_from(self._memory, row)
                left = max(total - count, 0.0)
                _STATE.pack_into(self._memory, row, left, second, _WHILE_HELD if left else -inf)
                _COUNT.pack_into(self._memory, start + index * _COUNT.size, 0)

    def listed(self, also: Iterable[BucketId] = ()) -> Iterable[tuple[BucketId, State]]:
        """See `Table`: those that this process used. A row that is just being written may be read half old."""
        for bucket in also:
            if bucket in self._known:
                yield bucket, self._peek(*self._known[bucket]) or FRESH
        for bucket, known in list(islice(reversed(self._known.items()), LISTED)):
            state = self._peek(*known)
            if state is not None:
                yield bucket, state

    def _peek(self, digest: bytes, row: int) -> State | None:
        first, second, _, whose, _ = _ROW.unpack_from(self._memory, row)
        return (first, second) if whose == digest else None

    # Rows.

    def _find(self, digest: bytes, draw: Draw, now: Now) -> tuple[bytes, int]:
        """The digest and its row. One that has none claims one at once, so that no other draw of the same take gets it.
        Raises `TooManyKeys`."""
        start = int.from_bytes(digest[_SHORT_BYTES:]) % self._rows * _ROW.size
        window = self._memory[start : start + WINDOW * _ROW.size]
        at = window.find(digest)
        while at >= 0 and at % _ROW.size != _DIGEST_AT:
            at = window.find(digest, at + 1)
        if at >= 0:
            return digest, start + at - _DIGEST_AT
        return digest, self._claim(start, digest, draw, now)

    def _claim(self, start: int, digest: bytes, draw: Draw, now: Now) -> int:
        client = self._digest(draw.limit.name, draw.client, size=_SHORT_BYTES)
        counted = _counted_at(digest, client)
        if not self._has_room(*counted):
            for each in self._free_rows(start, now):
                self._empty(each)
        row = next(self._free_rows(start, now), None)
        if row is None or not self._has_room(*counted):
            raise TooManyKeys(draw.limit)
        self._empty(row)
        self._count(counted, 1)
        _ROW.pack_into(self._memory, row, *FRESH, now.monotonic + CLAIM_SECONDS, digest, client)
        return row

    def _free_rows(self, start: int, now: Now) -> Iterator[int]:
        """The rows of a window that are empty, or say nothing any more."""
        for row in range(start, start + WINDOW * _ROW.size, _ROW.size):
            _, _, free_at, whose, _ = _ROW.unpack_from(self._memory, row)
            if whose == _NOBODY or free_at <= now.monotonic:
                yield row

    def _empty(self, row: int) -> None:
        *_, whose, client = _ROW.unpack_from(self._memory, row)
        if whose != _NOBODY:
            self._count(_counted_at(whose, client), -1)
            self._memory[row : row + _ROW.size] = _EMPTY

    def _has_room(self, limit: int, share: int) -> bool:
        return has_room(self._counts[limit], self._counts[share], self._keys)

    def _digest_of(self, bucket: BucketId) -> bytes:
        name, key = bucket
        whole = self._digest(name, *key, size=16 - _SHORT_BYTES)
        return blake2b(name.encode(), digest_size=_SHORT_BYTES).digest() + whole

    def _digest(self, *words: str, size: int) -> bytes:
        return blake2b("\0".join(words).encode(), digest_size=size, key=self._secret).digest()

    def _count(self, counted: tuple[int, int], change: int) -> None:
        for at in counted:
            self._counts[at] = max(0, self._counts[at] + change)

    def _remember(self, bucket: BucketId, found: tuple[bytes, int]) -> tuple[bytes, int]:
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[bucket] = found
        return found


def _counted_at(digest: bytes, client: bytes) -> tuple[int, int]:
    """Where the rows of this bucket's limit are counted, and where this client's rows of them."""
    return int.from_bytes(digest[:_SHORT_BYTES]) % COUNTS, COUNTS + int.from_bytes(client) % COUNTS


def _size(rows: int, slots: int) -> int:
    return (rows + WINDOW) * (_ROW.size + slots * _COUNT.size) + 2 * COUNTS * _COUNT.size + _SECRET
