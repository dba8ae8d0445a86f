"""A large dictionary in many small ones: none is ever copied as a whole, and all are freed in slices."""

from gateway.policy.tables.divided import PARTS, SLICE, WHOLE, Divided, Entries, is_full, take_down

MANY = 40_000


def many() -> Entries[str, int]:
    """As a table of hosts grows."""
    entries: Entries[str, int] = {}
    for number in range(MANY):
        if is_full(entries):
            entries = Divided(entries)
        entries[f"h{number}.example.test"] = number
    return entries


def test_a_dictionary_is_divided_once_it_is_full_and_has_every_entry_then() -> None:
    assert not is_full(dict.fromkeys(range(WHOLE - 1)))
    assert is_full(dict.fromkeys(range(WHOLE)))
    entries = many()
    assert isinstance(entries, Divided)
    assert not is_full(entries)
    assert [entries.get(f"h{number}.example.test") for number in range(MANY)] == list(range(MANY))
    assert entries.get(f"h{MANY}.example.test") is None


def test_no_part_is_large() -> None:
    entries = many()
    assert isinstance(entries, Divided)
    assert max(map(len, entries._parts)) < 2 * MANY / PARTS


def test_a_dictionary_is_taken_down_in_slices() -> None:
    entries = dict.fromkeys(range(2 * SLICE + 1))
    assert [len(entries) for _ in take_down(entries)] == [SLICE + 1, 1, 0]


def test_so_is_a_divided_one() -> None:
    entries = many()
    assert isinstance(entries, Divided)
    left = [sum(map(len, entries._parts)) for _ in take_down(entries)]
    assert max(before - after for before, after in zip([MANY, *left], left, strict=False)) <= SLICE
    assert left[-1] == 0
