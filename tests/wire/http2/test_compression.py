"""Blocks of fields: what is remembered means what it would mean if it were worked out again."""

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.http2 import compression
from gateway.wire.http2.codes import ConnectionFault, ErrorCode
from gateway.wire.http2.compression import Compressor, Decompressor
from tests.helpers.costs import cpu_seconds

NAMES = st.sampled_from(["a", "b", ":path", "cookie", "authorization", "date"])
VALUES = st.sampled_from(["", "1", "/x", "x" * 30, "y" * 1500])
HEADS = st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=5).map(tuple)
INDEXED = st.sampled_from([True, False, None])


def _unlike(decoded: Decompressor, blocks: list[tuple[bytes, tuple[tuple[str, str], ...]]]) -> int:
    return sum(decoded.fields(block) != fields for block, fields in blocks)


def _blocks(heads: list[tuple[tuple[str, str], ...]]) -> list[tuple[bytes, tuple[tuple[str, str], ...]]]:
    encoder = hpack.Encoder()
    said = []
    for number, head in enumerate(heads):
        if number % 7 == 6:
            encoder.header_table_size = 4096 if number % 2 else 200
        said.append((encoder.encode([(*field, field[0] == "authorization") for field in head]), head))
    return said


@given(st.lists(HEADS, max_size=40))
def test_what_is_read_is_what_was_written_however_often(heads: list[tuple[tuple[str, str], ...]]) -> None:
    assert _unlike(Decompressor(), _blocks([*heads, *heads, *heads[::-1]])) == 0


@given(st.lists(HEADS, max_size=40))
def test_what_is_written_is_read_by_another_library(heads: list[tuple[tuple[str, str], ...]]) -> None:
    compressor, decoder = Compressor(), hpack.Decoder()
    for number, head in enumerate([*heads, *heads, *heads[::-1]]):
        if number % 7 == 6:
            compressor.resize(4096 if number % 2 else 200)
        assert tuple((str(n), str(v)) for n, v in decoder.decode(compressor.block(head))) == head


def test_servers_that_put_all_into_the_table_each_time_are_remembered_and_the_table_kept_in_step() -> None:
    """As nginx does: every field a literal that is to be indexed."""
    literal = b"".join(b"\x40\x01" + name + b"\x01" + value for name, value in ((b"a", b"1"), (b"b", b"2")))
    decompressor, reference = Decompressor(), hpack.Decoder()
    for block in (literal, literal, literal, b"\xbe\xbf\xc0", literal, b"\xbe\xbf\xc0\xc1"):
        expected = tuple((str(n), str(v)) for n, v in reference.decode(block))
        assert decompressor.fields(block) == expected


def test_a_table_that_is_emptied_and_grows_again_within_a_block_is_emptied_each_time() -> None:
    empties, says = b"\x20\x3f\xe1\x1f", b"\x40\x01b\x012"
    decompressor, reference = Decompressor(), hpack.Decoder()
    for block in (b"\x40\x01a\x011", b"\xbe", empties + says, b"\x40\x01a\x011", empties + says, b"\xbe"):
        expected = tuple((str(n), str(v)) for n, v in reference.decode(block))
        assert decompressor.fields(block) == expected
    with pytest.raises(hpack.HPACKError):
        reference.decode(b"\xbf")
    with pytest.raises(ConnectionFault):
        decompressor.fields(b"\xbf")


def test_a_memory_that_outlives_a_change_of_the_table_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: nothing is forgotten."""

    def forgetful(self: compression._Memory[object, object], key: object) -> object:
        self._changes = self._table.changes
        return self._known.get(key)

    monkeypatch.setattr(compression._Memory, "get", forgetful)
    heads = [(("a", "1"),), (("a", "1"),), (("b", "2"),), (("a", "1"),), (("b", "2"),), (("b", "2"),)]
    assert _unlike(Decompressor(), _blocks([*heads, *heads])) > 0


@pytest.mark.parametrize("block", [b"\xff\xff\xff\xff\xff\xff", b"\xfe", b"\x40\x05a", b"\x80"])
def test_what_cannot_be_read_ends_the_connection(block: bytes) -> None:
    with pytest.raises(ConnectionFault) as fault:
        Decompressor().fields(block)
    assert fault.value.code is ErrorCode.COMPRESSION_ERROR


@pytest.mark.parametrize("size", [b"\x20", b"\x3f\xe1\x1f", b"\x3f\x80\x80\0"])
def test_a_block_gives_the_table_two_sizes_at_most(size: bytes) -> None:
    assert Decompressor().fields(2 * size + b"\x82") == ((":method", "GET"),)
    for count in (3, 15_000):
        with pytest.raises(ConnectionFault, match="two sizes"):
            Decompressor().fields(count * size + b"\x82")


def test_credentials_are_in_no_table() -> None:
    compressor = Compressor()
    first = compressor.block([("authorization", "Bearer secret")])
    assert compressor.block([("authorization", "Bearer secret")]) == first
    assert first[0] & 0xF0 == 0x10  # never indexed: RFC 7541 section 6.2.3


def test_what_its_sender_wants_in_no_table_is_in_none_of_ours() -> None:
    read = Decompressor().fields(hpack.Encoder().encode([("x-key", "secret", True), ("x-open", "text")]))
    assert read == (("x-key", "secret"), ("x-open", "text"))
    decoder, compressor = hpack.Decoder(), Compressor()
    pairs = list(decoder.decode(compressor.block(read)))
    assert [pair.indexable for pair in pairs] == [False, True]
    assert [name for name, _ in decoder.header_table.dynamic_entries] == [b"x-open"]


def test_a_table_that_was_resized_often_is_told_its_smallest_and_its_last_size() -> None:
    """RFC 7541 section 4.2: no more than two updates before a block, and what the smallest emptied is gone."""
    compressor, decoder = Compressor(), hpack.Decoder()
    head = (("a", "1"),)
    decoder.decode(compressor.block(head))
    for sizes, said in (((4096, 50, 3000, 0, 100, 100), b"\x20\x3f\x45"), ((20, 20), b"\x34"), ((30, 10), b"\x2a")):
        for size in sizes:
            compressor.resize(size)
        block = compressor.block(head)
        assert block[: len(said) + 1] == said + b"\x40"
        assert [(str(name), str(value)) for name, value in decoder.decode(block)] == [*head]


def test_a_long_value_is_written_in_no_time() -> None:
    """`hpack` takes 3 s for the Huffman code of this one, in which nobody else is served."""
    fields = (("x", "\xfe" * 60_000),)
    assert cpu_seconds(lambda: Compressor().block(fields)) < 0.25
    block = Compressor().block(fields)
    assert hpack.Decoder().decode(block, raw=True) == [(b"x", b"\xfe" * 60_000)]


@pytest.mark.parametrize("prefix", [0xFF, 0x3F, 0x7F])
def test_a_number_without_end_is_refused_at_once(prefix: int) -> None:
    """RFC 7541 section 5.1. Worked out to its end, one of 64 KiB takes a second."""

    def refused() -> None:
        with pytest.raises(ConnectionFault) as fault:
            Decompressor().fields(bytes([prefix]) + b"\xff" * 65_000 + b"\1")
        assert fault.value.code is ErrorCode.COMPRESSION_ERROR

    assert cpu_seconds(refused) < 0.25
