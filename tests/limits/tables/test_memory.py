"""Buckets in memory: bounded in number, forgotten when they say nothing any more."""

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
        take_from(table, [Draw(RATE, (str(key),))], at(0))
    with pytest.raises(TooManyKeys):
        take_from(table, [Draw(RATE, ("one more",))], at(0.5))
    assert isinstance(take_from(table, [Draw(RATE, ("0",))], at(0.5)), Lacking)  # what is known stays counted
    assert isinstance(take_from(table, [Draw(RATE, ("one more",))], at(1.5)), Taken)
    other = RATE._replace(name="other")
    assert isinstance(take_from(table, [Draw(other, ("a",))], at(1.5)), Taken)


def test_what_moved_already_is_owed() -> None:
    table, bandwidth = MemoryTable(), Limit("b", Counted.BANDWIDTH, rate=1000.0, burst=1000.0)
    state = spend_from(table, Draw(bandwidth, (), 3000.0), at(10))
    assert state == (13.0, 0.0)
    assert isinstance(take_from(table, [Draw(bandwidth, ())], at(11)), Lacking)
