"""Buckets in memory: bounded in number, forgotten when they say nothing any more."""

import tracemalloc
from itertools import count

import pytest

from gateway.limits.tables.memory import MemoryTable
from gateway.limits.tables.table import TooManyKeys, put_back, spend_from, take_from
from gateway.model.limits.limit import Counted, Limit
from gateway.policy.buckets import Draw, Lacking, Now, Taken

RATE = Limit("r", Counted.CONNECTIONS, rate=1.0, burst=1.0)
HELD = Limit("c", Counted.CONCURRENT, rate=1.0)


def at(seconds: float) -> Now:
    return Now(seconds, 1e9 + seconds)


def test_each_key_has_a_bucket_of_its_own() -> None:
    table = MemoryTable()
    assert isinstance(take_from(table, [Draw(RATE, ("a",))], at(0)), Taken)
    assert isinstance(take_from(table, [Draw(RATE, ("b",))], at(0)), Taken)
    assert isinstance(take_from(table, [Draw(RATE, ("a",))], at(0.5)), Lacking)


def test_if_one_lacks_the_others_are_as_they_were() -> None:
    table = MemoryTable()
    take_from(table, [Draw(HELD, ())], at(0))
    assert take_from(table, [Draw(RATE, ()), Draw(HELD, ())], at(0)) == Lacking(Draw(HELD, ()), float("inf"))
    put_back(table, [Draw(HELD, ()), Draw(RATE, ())])
    assert isinstance(take_from(table, [Draw(RATE, ()), Draw(HELD, ())], at(0)), Taken)


def test_beyond_the_bound_new_keys_are_refused_until_old_ones_say_nothing_any_more() -> None:
    table = MemoryTable(keys=100)
    for key in range(100):
        take_from(table, [Draw(RATE, (str(key),), client=str(key))], at(0))
    with pytest.raises(TooManyKeys):
        take_from(table, [Draw(RATE, ("one more",))], at(0.5))
    assert isinstance(take_from(table, [Draw(RATE, ("0",))], at(0.5)), Lacking)  # what is known stays counted
    assert isinstance(take_from(table, [Draw(RATE, ("one more",))], at(1.5)), Taken)
    other = RATE._replace(name="other")
    assert isinstance(take_from(table, [Draw(other, ("a",))], at(1.5)), Taken)


def test_keys_that_are_held_most_of_the_time_take_no_more_room_each_time_they_come_again() -> None:
    table, draws = MemoryTable(), [Draw(HELD, (str(key),), client=str(key)) for key in range(50)]

    def memory_after(rounds: int) -> int:
        for _ in range(rounds):
            for draw in draws:
                put_back(table, [draw])
                assert isinstance(take_from(table, [draw], at(0)), Taken)
        return tracemalloc.get_traced_memory()[0]

    for draw in draws:
        take_from(table, [draw], at(0))
    tracemalloc.start()
    try:
        before = memory_after(10)
        assert memory_after(400) < before + 10_000
    finally:
        tracemalloc.stop()


def test_who_invents_keys_meets_a_bound_of_their_own_and_leaves_the_others_room() -> None:
    table = MemoryTable(keys=100)
    assert [keys_of(table, who, at(0)) for who in ("evil", "worse")] == [50, 25]
    assert all(isinstance(take_from(table, [Draw(RATE, (f"{who}.test",), client=who)], at(0)), Taken) for who in "abc")
    assert isinstance(
        take_from(table, [Draw(RATE, ("evil 0",), client="evil")], at(0.5)), Lacking
    )  # nothing is forgiven
    assert isinstance(take_from(table, [Draw(RATE, ("evil 0",), client="a")], at(0.5)), Lacking)
    assert keys_of(table, "evil", at(2)) >= 50  # those of before say nothing any more


def keys_of(table: MemoryTable, client: str, now: Now) -> int:
    """How many new keys the client may have."""
    for number in count():
        try:
            take_from(table, [Draw(RATE, (f"{client} {number}" + " later" * (now != at(0)),), client=client)], now)
        except TooManyKeys:
            return number
    raise AssertionError


def test_what_is_given_back_counts_for_its_client_no_more() -> None:
    table = MemoryTable(keys=4)
    take_from(table, [Draw(HELD, ("kept",), client="c")], at(0))
    for number in range(100):
        draws = [Draw(HELD, (str(number % 5),), client="c")]
        assert isinstance(take_from(table, draws, at(0)), Taken)
        put_back(table, draws)
    assert [bucket for bucket, _ in table.listed()] == [(HELD.name, ("kept",))]


def test_what_moved_already_is_owed() -> None:
    table, bandwidth = MemoryTable(), Limit("b", Counted.BANDWIDTH, rate=1000.0, burst=1000.0)
    state = spend_from(table, Draw(bandwidth, (), 3000.0), at(10))
    assert state == (13.0, 0.0)
    assert isinstance(take_from(table, [Draw(bandwidth, ())], at(11)), Lacking)
