"""Header blocks (RFC 7541) by `hpack`, which is correct but slow: a block that left the table unchanged means the same
for as long as nothing else changes the table, and is not decoded again.
"""

import re
from collections.abc import Sequence
from typing import Generic, TypeVar

from hpack import Decoder, Encoder, HeaderTuple, HPACKError, OversizedHeaderListError
from hpack.table import HeaderTable

from gateway.wire.http.messages import Fields
from gateway.wire.http2.codes import ConnectionFault, ErrorCode
from gateway.wire.http2.heads import Unindexed
from gateway.wire.http2.settings import HEADER_LIST

K = TypeVar("K")
V = TypeVar("V")

_REMEMBERED = 16
_LONGEST = 1024  # bytes of a block that is remembered
_SHORT_COOKIE = 20
HARD_BOUND = 2 * HEADER_LIST
"""Bytes of fields where decoding stops, and with it the connection. Between the two bounds only the stream ends."""
_SIZE_UPDATE = rb"(?:[\x20-\x3e]|\x3f[\x80-\xff]*+[\0-\x7f])"
_TOO_MANY_SIZES = re.compile(rb"%b{3}" % _SIZE_UPDATE)
"""At the start of a block: RFC 7541 section 4.2 has two. A block of nothing else takes 0.15 s."""


class _Table(HeaderTable):
    """Keeps account of what a block does to it. `changes` counts what changes the meaning of indices; `added` are the
    entries that were added since the list was last emptied. `is_leant_on`: what was read depends on earlier entries.
    `resizes` counts how often it was given a size, which may have emptied it."""

    def __init__(self) -> None:
        super().__init__()
        self.changes = 0
        self.resizes = 0
        self.added: list[tuple[bytes, bytes]] = []
        self.is_leant_on = False

    def add(self, name: bytes, value: bytes) -> None:
        """See `HeaderTable`."""
        self.changes += 1
        self.added.append((name, value))
        super().add(name, value)

    @property
    def maxsize(self) -> int:
        """See `HeaderTable`."""
        return self._maxsize

    @maxsize.setter
    def maxsize(self, size: int) -> None:
        self.resizes += 1
        HeaderTable.maxsize.fset(self, size)  # type: ignore[attr-defined]  # mypy does not know a property's `fset`

    def get_by_index(self, index: int) -> tuple[bytes, bytes]:
        """See `HeaderTable`."""
        if index > HeaderTable.STATIC_TABLE_LENGTH:
            self.is_leant_on = True
        return super().get_by_index(index)


class _Memory(Generic[K, V]):
    """What keys meant since the table last changed."""

    def __init__(self, table: _Table) -> None:
        self._table = table
        self._changes = 0
        self._known: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        """None: not known, or no longer."""
        if self._changes != self._table.changes:
            self.forget()
            self._changes = self._table.changes
        return self._known.get(key)

    def keep(self, key: K, value: V) -> None:
        """Remember it, unless to find it out has changed the table."""
        if self._changes == self._table.changes:
            _put(self._known, key, value)

    def forget(self) -> None:
        """Forget all of it."""
        self._known.clear()


class Decompressor:
    """Decodes what one peer sends. `bound` is as `HARD_BOUND`."""

    def __init__(self, bound: int = HARD_BOUND) -> None:
        self._bound = bound
        self._decoder = Decoder(bound)
        self._table = self._decoder.header_table = _Table()
        self._memory: _Memory[bytes, Fields] = _Memory(self._table)
        self._whole: dict[bytes, tuple[Fields, tuple[tuple[bytes, bytes], ...]]] = {}

    def fields(self, block: bytes) -> Fields:
        """Names and values as Latin-1, not yet judged. Raises `ConnectionFault`."""
        known = self._memory.get(block)
        if known is not None:
            return known
        whole = self._whole.get(block)
        if whole is None:
            return self._work_out(block)
        self._table.added = []
        for name, value in whole[1]:  # some servers send the whole head literally each time, and add it to the table
            self._table.add(name, value)
        return whole[0]

    def _work_out(self, block: bytes) -> Fields:
        table, resizes = self._table, self._table.resizes
        table.added, table.is_leant_on = [], False
        if _TOO_MANY_SIZES.match(block):
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, "a block that gives the table more than two sizes")
        try:
            pairs = self._decoder.decode(block, raw=True)
        except OversizedHeaderListError as error:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"more than {self._bound} bytes of fields") from error
        except HPACKError as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, "a block of fields that cannot be read") from error
        fields = tuple([_read(pair) for pair in pairs])
        if table.resizes != resizes:
            self._memory.forget()
        elif len(block) <= _LONGEST:
            self._memory.keep(block, fields)
            if table.added and not table.is_leant_on:
                _put(self._whole, block, (fields, tuple(table.added)))
        return fields


class Compressor:
    """Encodes what one peer is sent."""

    def __init__(self) -> None:
        self._encoder = Encoder()
        table = self._encoder.header_table = _Table()
        self._memory: _Memory[Fields, bytes] = _Memory(table)

    def resize(self, size: int) -> None:
        """The peer keeps a table of `size` bytes; the next block tells it that we comply. Of several sizes that tells
        the smallest and the last (RFC 7541 section 4.2)."""
        encoder = self._encoder
        if size == encoder.header_table_size:  # being told twice makes `hpack` forget that it was told once
            return
        encoder.header_table_size = size
        sizes = encoder.table_size_changes
        sizes[:] = sorted({min(sizes), sizes[-1]})
        self._memory.forget()

    def block(self, fields: Sequence[tuple[str, str]]) -> bytes:
        """The block of these fields. What could be guessed bit by bit is in no table (RFC 7541 section 7.1). Without
        Huffman codes, as `hpack` takes the square of a value's length for them: three seconds for 60 KB."""
        key = tuple(fields)
        known = self._memory.get(key)
        if known is not None:
            return known
        block = self._encoder.encode(
            [(name.encode("latin-1"), value.encode("latin-1"), _is_sensitive(name, value)) for name, value in key],
            huffman=False,
        )
        if len(block) <= _LONGEST:
            self._memory.keep(key, block)
        return block


def _put(known: dict[K, V], key: K, value: V) -> None:
    if len(known) >= _REMEMBERED:
        known.clear()
    known[key] = value


def _read(pair: HeaderTuple) -> tuple[str, str]:
    name, value = bytes(pair[0]).decode("latin-1"), bytes(pair[1]).decode("latin-1")
    return (name, value) if pair.indexable else (name, Unindexed(value))


def _is_sensitive(name: str, value: str) -> bool:
    if isinstance(value, Unindexed):
        return True
    return name in ("authorization", "proxy-authorization") or (name == "cookie" and len(value) < _SHORT_COOKIE)
