"""Every living worker has a slot of its own in the table of limits, and those that come and go cost no memory."""

import os

import pytest

from gateway.app.workers.seats import Seats
from gateway.limits.tables.shared import SLOTS


def test_no_two_that_live_have_the_same_slot() -> None:
    seats = Seats(2)
    old = [seats.take() for _ in range(2)]
    fresh = seats.take()
    seats.leave(old[0])
    assert len({old[1].slot, fresh.slot, seats.take().slot}) == 3


def test_workers_that_replace_each_other_take_no_more_memory_than_those_that_live() -> None:
    """To look through a slot's part of the table takes that much memory, a megabyte."""
    seats, allocated = Seats(1), []
    for _ in range(6):
        old, fresh = seats.take(), seats.take()
        seats.leave(old)
        seats.leave(fresh)
        allocated.append(os.fstat(fresh.table).st_blocks)
    assert allocated[1:] == [allocated[0]] * 5


def test_where_there_is_no_slot_the_error_says_so() -> None:
    seats = Seats(SLOTS - 1)
    for _ in range(SLOTS - 1):
        seats.take()
    with pytest.raises(OSError, match="can share limits") as failed:
        seats.take()
    assert failed.value.strerror == f"no more than {SLOTS - 1} workers can share limits"
