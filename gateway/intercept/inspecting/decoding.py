"""Undoes content codings for inspectors; what is forwarded stays as it was sent.

Output comes in pieces of at most `PIECE` bytes whatever the input, so that a decompression bomb is noticed while it is
small. What a decoder itself holds is bounded by its format's window: 32 KiB (deflate), 16 MiB (br), 8 MiB (zstd, RFC
9659).
"""

import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import brotli

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PIECE = 64 * 1024
ALLOWANCE = 1024 * 1024
"""Bytes that content may decode to whatever its size: small content may compress very well."""
MAX_CODINGS = 3
MEMBERS, BYTES_OF_MORE = 512, 1024
"""Members or frames of one content, and the bytes that each further one has to hold on average: to begin one costs as
much as to decode some kilobytes, and an empty one takes eight bytes."""

_ZSTD_WINDOW: dict[int, int] = {zstd.DecompressionParameter.window_log_max: 23}
_RAW, _ZLIB, _GZIP = -zlib.MAX_WBITS, zlib.MAX_WBITS, zlib.MAX_WBITS | 16


class UnknownCoding(Exception):
    """The text is its name."""


class Undecodable(Exception):
    """Broken, or a decompression bomb; the text says which."""


class DecodingBounds(NamedTuple):
    """Content decodes to at most `size` bytes and, beyond `ALLOWANCE`, to at most `ratio` times what was sent."""

    size: int
    ratio: int


class _Stage(Protocol):
    """Undoes one coding."""

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What `data` decodes to. Raises one of `_BROKEN`."""
        ...

    @property
    def is_whole(self) -> bool:
        """Whether the content may end here."""
        ...


_BROKEN = (zlib.error, brotli.error, zstd.ZstdError, Undecodable)


class _Members:
    """Counts the members of one coding of one content."""

    def __init__(self) -> None:
        self._count = 1
        self._given = 0

    def gave(self, size: int) -> None:
        """`size` more bytes came out of them."""
        self._given += size

    def another(self) -> None:
        """Raises `Undecodable` for one too many."""
        self._count += 1
        if self._count > MEMBERS + self._given // BYTES_OF_MORE:
            raise Undecodable(f"more than {MEMBERS} members that hold next to nothing")


class _Zlib:
    """`gzip` (RFC 1952), one member after another, and `deflate`, which some send without the zlib format around it
    (RFC 9110 section 8.4.1.2)."""

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._inner = zlib.decompressobj(bits)
        self._has_begun = False
        self._members = _Members()

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """See `_Stage`."""
        if self._bits == _ZLIB and not self._has_begun and data and data[0] & 0x0F != 8:
            self._inner = zlib.decompressobj(_RAW)
        while data:
            if self._inner.eof:
                self._next_member()
            self._has_begun = True
            piece = self._inner.decompress(data, PIECE)
            data = self._inner.unused_data if self._inner.eof else self._inner.unconsumed_tail
            if piece:
                self._members.gave(len(piece))
                yield piece
        while not self._inner.eof and (piece := self._inner.decompress(b"", PIECE)):
            yield piece

    def _next_member(self) -> None:
        if self._bits != _GZIP:
            raise Undecodable("something follows its end")
        self._members.another()
        self._inner = zlib.decompressobj(_GZIP)

    @property
    def is_whole(self) -> bool:
        """See `_Stage`."""
        return self._inner.eof or not self._has_begun


class _Brotli:
    """`br` (RFC 7932)."""

    def __init__(self) -> None:
        self._inner = brotli.Decompressor()
        self._has_begun = False

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """See `_Stage`."""
        self._has_begun = self._has_begun or bool(data)
        if data and self._inner.is_finished():
            raise Undecodable("something follows its end")
        piece = self._inner.process(data, output_buffer_limit=PIECE)
        while piece or not (self._inner.can_accept_more_data() or self._inner.is_finished()):
            yield piece
            piece = self._inner.process(b"", output_buffer_limit=PIECE)

    @property
    def is_whole(self) -> bool:
        """See `_Stage`."""
        return self._inner.is_finished() or not self._has_begun


class _Zstd:
    """`zstd` (RFC 8878), one frame after another."""

    def __init__(self) -> None:
        self._inner = zstd.ZstdDecompressor(options=_ZSTD_WINDOW)
        self._has_begun = False
        self._members = _Members()

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """See `_Stage`."""
        while data or not (self._inner.eof or self._inner.needs_input):
            if self._inner.eof:
                self._members.another()
                self._inner = zstd.ZstdDecompressor(options=_ZSTD_WINDOW)
            self._has_begun = True
            piece = self._inner.decompress(data, PIECE)
            data = self._inner.unused_data if self._inner.eof else b""
            if piece:
                self._members.gave(len(piece))
                yield piece

    @property
    def is_whole(self) -> bool:
        """See `_Stage`."""
        return self._inner.eof or not self._has_begun


_STAGES: dict[str, Callable[[], _Stage]] = {
    "gzip": lambda: _Zlib(_GZIP),
    "x-gzip": lambda: _Zlib(_GZIP),
    "deflate": lambda: _Zlib(_ZLIB),
    "br": _Brotli,
    "zstd": _Zstd,
}


class Decoder:
    """Undoes the codings of one content. Not for use after it raised."""

    def __init__(self, stages: Sequence[_Stage], bounds: DecodingBounds) -> None:
        """`stages` in the order in which they were applied."""
        self._stages = tuple(reversed(stages))
        self._bounds = bounds
        self._taken = 0
        self._given = 0

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What `data` decodes to; drop each piece before taking the next. Raises `Undecodable`."""
        self._taken += len(data)
        try:
            for piece in self._through(self._stages, data):
                self._given += len(piece)
                self._check(self._given)
                yield piece
        except _BROKEN as broken:
            raise Undecodable(str(broken) if isinstance(broken, Undecodable) else "its coding is broken") from broken

    def finish(self) -> None:
        """Nothing follows. Raises `Undecodable` for content that was cut off."""
        if not all(stage.is_whole for stage in self._stages):
            raise Undecodable("its coding breaks off")

    def _through(self, stages: Sequence[_Stage], data: bytes) -> Iterator[bytes]:
        between = stages[1:]
        passed = 0
        for piece in stages[0].pieces(data):
            if not between:
                yield piece
                continue
            passed += len(piece)
            self._check(passed)
            yield from self._through(between, piece)

    def _check(self, size: int) -> None:
        if size > self._bounds.size:
            raise Undecodable(f"it decodes to more than {self._bounds.size} bytes")
        if size > ALLOWANCE and size > self._taken * self._bounds.ratio:
            raise Undecodable(f"it decodes to more than {self._bounds.ratio} times its size")


def open_decoder(codings: Sequence[str], bounds: DecodingBounds) -> Decoder | None:
    """A decoder for these values of Content-Encoding (RFC 9110 section 8.4); None for content without a coding. Raises
    `UnknownCoding`."""
    names = [name for value in codings for each in value.split(",") if (name := each.strip().lower())]
    names = [name for name in names if name != "identity"]
    if not names:
        return None
    if len(names) > MAX_CODINGS:
        raise UnknownCoding(f"more than {MAX_CODINGS} codings")
    unknown = next((name for name in names if name not in _STAGES), None)
    if unknown is not None:
        raise UnknownCoding(unknown)
    return Decoder([_STAGES[name]() for name in names], bounds)
