"""A packed table answers as a dictionary would, and is carried in small pieces."""

from collections.abc import Callable

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gateway.policy.tables import packed
from gateway.policy.tables.packed import PIECE, PIECES, PackedTable, pack

SECRET = b"0123456789abcdef"
Entries = dict[bytes, int]

keys = st.binary(min_size=1, max_size=40)


def table_of(entries: Entries, secret: bytes = SECRET) -> PackedTable:
    table = PackedTable(secret)
    for piece in pack(len(entries), entries.items(), secret):
        table.append(piece)
    return table


def check_against_dictionary(build: Callable[[Entries], PackedTable], phases: tuple[Phase, ...] = tuple(Phase)) -> None:
    @settings(phases=phases)
    @given(st.dictionaries(keys, st.integers(0, 2**32 - 1), max_size=60), st.lists(keys, max_size=20))
    def agrees(entries: Entries, others: list[bytes]) -> None:
        table = build(entries)
        for key in (*entries, *others):
            assert table.get(key) == entries.get(key)

    agrees()


def test_what_was_packed_is_found_and_nothing_else() -> None:
    check_against_dictionary(table_of)


def test_the_property_notices_a_table_that_takes_the_first_of_a_bucket_for_what_was_asked() -> None:
    class Careless(PackedTable):
        def get(self, key: bytes) -> int | None:
            if not self._pieces:
                return None
            digest = packed._digest(key, self._keyed)
            blob, starts = self._pieces[digest * len(self._pieces) >> 64]
            bucket = (digest & 0xFFFFFFFF) * (len(starts) - 1) >> 32
            if len(starts) == 1 or starts[bucket] == starts[bucket + 1]:
                return None
            end = starts[bucket] + 1 + blob[starts[bucket]] + 4
            return int.from_bytes(blob[end - 4 : end], "big")

    def careless(entries: Entries) -> PackedTable:
        table = Careless(SECRET)
        for piece in pack(len(entries), entries.items(), SECRET):
            table.append(piece)
        return table

    with pytest.raises(AssertionError):
        check_against_dictionary(careless, (Phase.generate,))


def test_keys_that_fall_into_one_bucket_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "_digest", lambda *_: 0)
    entries = {b"x" * size: size for size in range(1, 256)}
    table = table_of(entries)
    assert {key: table.get(key) for key in entries} == entries
    assert table.get(b"y") is None


def test_an_empty_table_holds_nothing() -> None:
    assert list(pack(0, (), SECRET)) == []
    assert table_of({}).get(b"x") is None


def test_an_entry_costs_nine_bytes_and_itself() -> None:
    entries = {f"h{number}.example.test".encode(): number for number in range(20_000)}
    pieces = list(pack(len(entries), entries.items(), SECRET))
    assert len(table_of(entries)) == sum(len(key) + 9 for key in entries) + 4 * len(pieces)


@pytest.mark.parametrize("length", [8, 255])
def test_pieces_are_small_whatever_is_in_them(length: int) -> None:
    entries = {f"{number:0{length}}".encode(): number for number in range(20_000)}
    table = table_of(entries)
    assert all(table.get(key) == value for key, value in entries.items())
    assert max(len(piece.starts) // 4 for piece in pack(len(entries), entries.items(), SECRET)) <= 2 * PIECE


def test_a_table_is_taken_down_in_slices() -> None:
    entries = {f"h{number}.example.test".encode(): number for number in range(20_000)}
    table = table_of(entries)
    pieces = len(list(pack(len(entries), entries.items(), SECRET)))
    assert len(list(table.take_down())) == -(-pieces // PIECES)
    assert len(table) == 0


def test_other_secrets_make_other_tables() -> None:
    entries = {f"h{number}".encode(): number for number in range(1000)}
    assert list(pack(len(entries), entries.items(), SECRET)) != list(pack(len(entries), entries.items(), bytes(16)))
