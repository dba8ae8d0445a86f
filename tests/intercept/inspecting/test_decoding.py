"""Content codings are undone piece by piece, and bombs are met while they are small."""

import gzip
import os
import sys
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.intercept.inspecting.decoding import (
    ALLOWANCE,
    BYTES_OF_MORE,
    MEMBERS,
    PIECE,
    Decoder,
    DecodingBounds,
    Undecodable,
    UnknownCoding,
    open_decoder,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BOUNDS = DecodingBounds(8 * ALLOWANCE, 100)


def raw_deflate(data: bytes) -> bytes:
    """Without its wrapping, as some send it."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def two_members(data: bytes) -> bytes:
    half = len(data) // 2
    return gzip.compress(data[:half]) + gzip.compress(data[half:])


def two_frames(data: bytes) -> bytes:
    half = len(data) // 2
    return zstd.compress(data[:half]) + zstd.compress(data[half:])


ENCODERS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("x-gzip", two_members),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("br", brotli.compress),
    ("zstd", zstd.compress),
    ("zstd", two_frames),
]


def decoder(*codings: str, bounds: DecodingBounds = BOUNDS) -> Decoder:
    opened = open_decoder(codings, bounds)
    assert opened is not None
    return opened


def decode(codings: str, data: bytes, size: int, bounds: DecodingBounds = BOUNDS) -> bytes:
    """Fed in pieces of that size."""
    opened = decoder(codings, bounds=bounds)
    out = b"".join(piece for at in range(0, len(data), size) for piece in opened.pieces(data[at : at + size]))
    opened.finish()
    return out


@pytest.mark.parametrize(("coding", "encode"), ENCODERS)
@given(data=st.binary(max_size=2000), size=st.integers(1, 500))
@settings(max_examples=25, deadline=None)
def test_what_was_encoded_is_decoded_however_it_is_cut(
    coding: str, encode: Callable[[bytes], bytes], data: bytes, size: int
) -> None:
    assert decode(coding, encode(data), size) == data


def test_codings_on_top_of_each_other_are_undone_in_turn() -> None:
    data = os.urandom(50_000)
    assert decode("gzip, br", brotli.compress(gzip.compress(data)), 777) == data


@pytest.mark.parametrize("value", ["", "identity", " , identity"])
def test_content_without_a_coding_needs_no_decoder(value: str) -> None:
    assert open_decoder([value], BOUNDS) is None


@pytest.mark.parametrize("values", [["lzma"], ["gzip, compress"], ["gzip, gzip, gzip, gzip"], ["gzip", "aes128gcm"]])
def test_a_coding_that_is_not_known_is_said_to_be(values: list[str]) -> None:
    with pytest.raises(UnknownCoding):
        open_decoder(values, BOUNDS)


BOMBS = {
    "gzip": gzip.compress(bytes(16 << 20)),
    "deflate": zlib.compress(bytes(16 << 20)),
    "br": brotli.compress(bytes(16 << 20), quality=5),
    "zstd": zstd.compress(bytes(16 << 20)),
}


@pytest.mark.parametrize("coding", sorted(BOMBS))
def test_a_bomb_is_met_while_it_is_small(coding: str) -> None:
    sizes: list[int] = []
    opened = decoder(coding)
    tracemalloc.start()
    try:
        with pytest.raises(Undecodable, match="100 times"):
            sizes.extend(len(piece) for piece in opened.pieces(BOMBS[coding]))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert max(sizes) <= 2 * PIECE
    assert sum(sizes) <= max(ALLOWANCE, 100 * len(BOMBS[coding])) + PIECE
    assert peak < 2 << 20


def test_a_bomb_inside_a_bomb_is_met_between_them() -> None:
    inner = gzip.compress(gzip.compress(bytes(64 << 20)))
    with pytest.raises(Undecodable):
        decode("gzip, gzip", inner, 65536)


EMPTY = {"gzip": gzip.compress(b""), "zstd": zstd.compress(b""), "zstd skippable": b"\x50\x2a\x4d\x18" + bytes(4)}


@pytest.mark.parametrize("kind", EMPTY)
def test_members_that_hold_nothing_are_refused_before_they_cost_much(kind: str) -> None:
    """Each costs as much as kilobytes of content, and is of a few bytes."""
    coding = kind.partition(" ")[0]
    data = EMPTY[kind] * (65536 // len(EMPTY[kind]))
    assert list(decoder(coding).pieces(EMPTY[kind] * (MEMBERS // 2))) == []
    with pytest.raises(Undecodable, match="members that hold next to nothing"):
        list(decoder(coding).pieces(data))


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_members_inside_of_a_small_content_are_counted_as_well(coding: str) -> None:
    small = zstd.compress(EMPTY[coding] * 100_000)
    assert len(small) < 4096
    with pytest.raises(Undecodable, match="members that hold next to nothing"):
        list(decoder(coding, "zstd").pieces(small))


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
def test_as_many_members_as_there_is_content_for_are_decoded(pack: Callable[[bytes], bytes]) -> None:
    coding = "gzip" if pack is gzip.compress else "zstd"
    line = os.urandom(2 * BYTES_OF_MORE)
    packed = pack(line) * (2 * MEMBERS)
    assert sum(map(len, decoder(coding).pieces(packed))) == 2 * MEMBERS * len(line)


def test_more_than_may_be_decoded_at_all_is_refused() -> None:
    with pytest.raises(Undecodable, match="more than 100000 bytes"):
        decode("gzip", gzip.compress(os.urandom(100_001)), 4096, DecodingBounds(100_000, 100))


@pytest.mark.parametrize(("coding", "encode"), ENCODERS)
def test_content_that_breaks_off_is_not_whole(coding: str, encode: Callable[[bytes], bytes]) -> None:
    with pytest.raises(Undecodable, match="breaks off"):
        decode(coding, encode(os.urandom(5000))[:-5], 1000)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_content_that_is_none_is_broken(coding: str) -> None:
    with pytest.raises(Undecodable):
        decode(coding, b"\xff\xfe no such thing" * 50, 1000)


@pytest.mark.parametrize(("coding", "encode"), [("deflate", zlib.compress), ("br", brotli.compress)])
def test_what_follows_an_end_is_refused(coding: str, encode: Callable[[bytes], bytes]) -> None:
    with pytest.raises(Undecodable):
        decode(coding, encode(b"some") + b"thing hidden behind", 10_000)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_no_content_at_all_is_whole(coding: str) -> None:
    decoder(coding).finish()
