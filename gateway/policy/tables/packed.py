"""A map from byte strings to small integers in two flat buffers, for lists of a million entries.

An entry costs its bytes and about 9 more; a dictionary of `str` costs 150. There is no object for an entry, so that
nothing is walked by the collector, a table is taken over by appending pieces, and it is freed in one call.

`blob` holds the entries by bucket, each as its size (1 byte), its key and its value (4 bytes, big-endian); `starts`
holds where each bucket begins, one more at the end. The bucket is chosen by a keyed digest: whoever writes a list
cannot make all of it fall into one bucket without the key.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import accumulate
from typing import Any, Generic, TypeVar

T = TypeVar("T")

PIECE = 32 * 1024
SLICE = 250
"""Entries of a container that are freed at once."""
LONGEST_KEY = 255
_VALUE = 4


@dataclass(frozen=True, slots=True)
class PackedPiece:
    """Bytes to append to `blob` and to `starts`; small enough to be taken over in well under a millisecond."""

    blob: bytes = b""
    starts: bytes = b""


class PackedTable:
    """Immutable once whole. `secret` keys the digest, 16 bytes or more."""

    __slots__ = ("_blob", "_secret", "_starts")

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._blob = bytearray()
        self._starts = array("I")

    def append(self, piece: PackedPiece) -> None:
        """The next piece, in the order in which `pack` gave them."""
        self._blob += piece.blob
        self._starts.frombytes(piece.starts)

    def get(self, key: bytes) -> int | None:
        """The value of `key`."""
        starts, blob = self._starts, self._blob
        buckets = len(starts) - 1
        if buckets < 1:
            return None
        bucket = _digest(key, self._secret) * buckets >> 64
        at, end, size = starts[bucket], starts[bucket + 1], len(key)
        while at < end:
            entry, at = at, at + 1 + blob[at] + _VALUE
            if blob[entry] == size and blob[entry + 1 : at - _VALUE] == key:
                return int.from_bytes(blob[at - _VALUE : at], "big")
        return None

    def __len__(self) -> int:
        """Bytes held."""
        return len(self._blob) + self._starts.itemsize * len(self._starts)


class Packed(Generic[T]):
    """A packed table whose values stand for those of a list."""

    __slots__ = ("_table", "_values")

    def __init__(self, table: PackedTable, values: list[T]) -> None:
        self._table = table
        self._values = values

    def get(self, key: bytes) -> T | None:
        """What `key` stands for."""
        index = self._table.get(key)
        return None if index is None else self._values[index]

    def take_down(self) -> Iterator[None]:
        """Empty the list of values, a slice before each yield."""
        while self._values:
            del self._values[-SLICE:]
            yield


def take_down(entries: dict[Any, Any]) -> Iterator[None]:
    """Empty a dictionary, `SLICE` entries before each yield."""
    while entries:
        for _ in range(min(SLICE, len(entries))):
            entries.popitem()
        yield


def pack(entries: Callable[[], Iterable[tuple[bytes, int]]], secret: bytes) -> Iterator[PackedPiece]:
    """The pieces of a table of these entries, which are asked for three times; none for no entry. Keys are distinct
    and at most `LONGEST_KEY` bytes. Raises ValueError if all of it would not fit into 4 GiB."""
    digests = array("Q", (_digest(key, secret) for key, _ in entries()))
    buckets = len(digests)
    if not buckets:
        return iter(())
    sizes = array("I", bytes(4 * buckets))
    for digest, (key, _) in zip(digests, entries(), strict=True):
        sizes[digest * buckets >> 64] += 1 + len(key) + _VALUE
    if sum(sizes) >= 1 << 32:
        raise ValueError("the lists are too long")
    starts = array("I", accumulate(sizes, initial=0))
    free = starts[:]
    blob = bytearray(starts[-1])
    for digest, (key, value) in zip(digests, entries(), strict=True):
        bucket = digest * buckets >> 64
        at = free[bucket]
        end = free[bucket] = at + 1 + len(key) + _VALUE
        blob[at:end] = bytes((len(key),)) + key + value.to_bytes(_VALUE, "big")
    return _pieces(bytes(blob), starts.tobytes())


def _digest(key: bytes, secret: bytes) -> int:
    return int.from_bytes(blake2b(key, digest_size=8, key=secret).digest(), "big")


def _pieces(blob: bytes, starts: bytes) -> Iterator[PackedPiece]:
    for at in range(0, len(blob), PIECE):
        yield PackedPiece(blob=blob[at : at + PIECE])
    for at in range(0, len(starts), PIECE):
        yield PackedPiece(starts=starts[at : at + PIECE])
