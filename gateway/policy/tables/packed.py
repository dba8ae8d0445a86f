"""A map from byte strings to small integers in flat buffers, for lists of a million entries.

An entry takes its bytes and about 9 more; in a dictionary of `str` it takes 150. No entry is an object, so there is
nothing for the collector to walk. Nor is there one large buffer, which would be copied as it grows and freed at once,
each for tens of milliseconds: a table is a list of pieces, taken over and freed one by one.

A piece is a table of its own, chosen by the upper half of a digest. `blob` holds its entries by bucket, each as the
key's size (1 byte), the key and its value (4 bytes, big-endian); `starts` holds where each bucket begins, and where the
last one ends. The lower half chooses the bucket. The digest is keyed, so that whoever writes a list cannot make all of
it fall into one bucket.
"""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate
from typing import Generic, TypeVar

from gateway.policy.tables.divided import SLICE

T = TypeVar("T")

PIECE = 800
"""Entries in a piece, more or less: 24 KiB of names."""
PIECES = 8
"""Pieces that are freed at once."""
_VALUE = 4
_LOWER = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class PackedPiece:
    """Small enough to be taken over in well under a millisecond. `starts` are native 32-bit integers."""

    blob: bytes = b""
    starts: bytes = b""


class PackedTable:
    """To be asked only once it is whole, as the number of pieces decides which one holds what. `secret` keys the
    digest, 16 bytes or more."""

    __slots__ = ("_keyed", "_pieces")

    def __init__(self, secret: bytes) -> None:
        self._keyed = _keyed(secret)
        self._pieces: list[tuple[bytes, array[int]]] = []

    def append(self, piece: PackedPiece) -> None:
        """The next piece, in the order in which `pack` gave them."""
        self._pieces.append((piece.blob, array("I", piece.starts)))

    def get(self, key: bytes) -> int | None:
        """The value of `key`."""
        pieces = self._pieces
        if not pieces:
            return None
        digest = _digest(key, self._keyed)
        blob, starts = pieces[digest * len(pieces) >> 64]
        bucket = (digest & _LOWER) * (len(starts) - 1) >> 32
        if bucket == len(starts) - 1:  # a piece without entries
            return None
        at, end, size = starts[bucket], starts[bucket + 1], len(key)
        while at < end:
            entry, at = at, at + 1 + blob[at] + _VALUE
            if blob[entry] == size and blob[entry + 1 : at - _VALUE] == key:
                return int.from_bytes(blob[at - _VALUE : at], "big")
        return None

    def take_down(self) -> Iterator[None]:
        """Empty it, a few pieces before each yield."""
        while self._pieces:
            del self._pieces[-PIECES:]
            yield

    def __len__(self) -> int:
        """Bytes held."""
        return sum(len(blob) + starts.itemsize * len(starts) for blob, starts in self._pieces)


class Packed(Generic[T]):
    """A packed table whose values are indices of a list."""

    __slots__ = ("_table", "_values")

    def __init__(self, table: PackedTable, values: list[T]) -> None:
        self._table = table
        self._values = values

    def get(self, key: bytes) -> T | None:
        """What `key` stands for."""
        index = self._table.get(key)
        return None if index is None else self._values[index]

    def take_down(self) -> Iterator[None]:
        """Empty it and the list of values, a slice before each yield."""
        yield from self._table.take_down()
        while self._values:
            del self._values[-SLICE:]
            yield


def pack(count: int, entries: Iterable[tuple[bytes, int]], secret: bytes) -> Iterator[PackedPiece]:
    """The pieces of a table of these `count` entries; none for no entries. Keys are distinct and have at most
    255 bytes."""
    pieces = [bytearray() for _ in range(-(-count // PIECE))]
    digests = [array("I") for _ in pieces]
    keyed = _keyed(secret)
    for key, value in entries:
        digest = _digest(key, keyed)
        number = digest * len(pieces) >> 64
        pieces[number] += b"%c%b%b" % (len(key), key, value.to_bytes(_VALUE, "big"))
        digests[number].append(digest & _LOWER)
    return map(_by_bucket, pieces, digests)


def _by_bucket(entries: bytearray, digests: Iterable[int]) -> PackedPiece:
    """The piece with these entries, which follow one another, and the lower halves of their digests."""
    digests = tuple(digests)
    buckets = [b""] * len(digests)
    at = 0
    for digest in digests:
        bucket = digest * len(buckets) >> 32
        entry, at = at, at + 1 + entries[at] + _VALUE
        buckets[bucket] += entries[entry:at]
    starts = array("I", accumulate(map(len, buckets), initial=0))
    return PackedPiece(b"".join(buckets), starts.tobytes())


def _keyed(secret: bytes) -> blake2b:
    """A keyed digest, to be copied: copying takes half as long as making one."""
    return blake2b(digest_size=8, key=secret)


def _digest(key: bytes, keyed: blake2b) -> int:
    digest = keyed.copy()
    digest.update(key)
    return int.from_bytes(digest.digest(), "big")
