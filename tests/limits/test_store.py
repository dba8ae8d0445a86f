"""A table of this machine as a store: what cannot be asked for a while is neither passed by nor forgotten."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import pytest

from gateway.limits.store import ASK_AGAIN, TableStore
from gateway.limits.tables.memory import MemoryTable
from gateway.limits.tables.table import StoreUnavailable, TooManyKeys
from gateway.model.limits.limit import Counted, Limit
from gateway.policy.buckets import Draw, Lacking, Taken
from tests.net.parts import ManualClock

HELD = Limit("c", Counted.CONCURRENT, rate=1.0)
RATE = Limit("r", Counted.CONNECTIONS, rate=1.0, burst=1.0)
SLOW = Limit("b", Counted.BANDWIDTH, rate=1000.0, burst=1000.0)


class LockedTable(MemoryTable):
    """Whose lock somebody holds who was stopped, while `stuck`."""

    stuck = False

    def locked(self) -> AbstractContextManager[object]:
        if self.stuck:
            raise StoreUnavailable("held for too long")
        return nullcontext()


async def takes(store: TableStore, draws: Sequence[Draw]) -> list[type]:
    return [type(await store.take(draws)) for _ in range(2)]


async def test_what_could_not_be_put_back_is_put_back_with_what_comes_next() -> None:
    table = LockedTable()
    store, held, other = TableStore(table, ManualClock()), [Draw(HELD, ("a",))], [Draw(HELD, ("b",))]
    assert await takes(store, held) == await takes(store, other) == [Taken, Lacking]
    table.stuck = True
    store.put_back(held)
    table.stuck = False
    assert isinstance(await store.take(held), Lacking)
    store.put_back(other)
    assert await takes(store, held) == await takes(store, other) == [Taken, Lacking]


async def test_while_the_lock_is_held_nothing_is_taken_and_nothing_moves() -> None:
    table, clock = LockedTable(), ManualClock()
    store = TableStore(table, clock)
    table.stuck = True
    assert store.take_at_once([Draw(RATE, ())]) is None
    with pytest.raises(StoreUnavailable):
        await store.take([Draw(RATE, ())])
    assert store.spend(Draw(SLOW, (), 1.0)) == ASK_AGAIN
    store.hold_off(Draw(RATE, ()), 60.0)
    table.stuck = False
    assert isinstance(store.take_at_once([Draw(RATE, ())]), Taken)
    assert store.take_at_once([Draw(RATE, ())]) is None


async def test_what_moved_is_owed_and_what_is_held_off_waits() -> None:
    clock = ManualClock()
    store = TableStore(MemoryTable(), clock)
    assert store.spend(Draw(SLOW, (), 999.0)) == 0
    assert store.spend(Draw(SLOW, (), 2000.0)) == pytest.approx(2.0)
    gate = [Draw(SLOW._replace(name="gate", rate=1e6), ())]
    store.hold_off(gate[0], 60.0)
    lacking = await store.take(gate)
    assert isinstance(lacking, Lacking)
    assert lacking.wait == pytest.approx(60.0, abs=0.01)
    store.hold_off(gate[0], 5.0)  # never sooner than was said before
    clock.advance(59.0)
    assert isinstance(await store.take(gate), Lacking)
    clock.advance(1.0)
    assert isinstance(await store.take(gate), Taken)


async def test_a_key_too_many_is_told_to_who_waits_for_an_answer() -> None:
    store = TableStore(MemoryTable(keys=1), ManualClock())
    assert isinstance(await store.take([Draw(RATE, ("a",))]), Taken)
    assert store.take_at_once([Draw(RATE, ("b",))]) is None
    with pytest.raises(TooManyKeys):
        await store.take([Draw(RATE, ("b",))])
    assert [place for place, _ in store.listed()] == [("r", ("a",))]
