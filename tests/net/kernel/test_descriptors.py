"""The lowest free number tells how many descriptors are taken, and is looked at seldom while there are many."""

import errno
import os

import pytest

from gateway.net.kernel.descriptors import KEPT_BACK, LOOK_EVERY, Descriptors, lowest_free
from tests.helpers.descriptors import none_left


class Kernel:
    """Counts how often it is asked."""

    def __init__(self, lowest: int) -> None:
        self.lowest = lowest
        self.looks = 0

    def look(self) -> int:
        self.looks += 1
        return self.lowest


@pytest.mark.parametrize(("limit", "traffic"), [(65_536, 65_536 - KEPT_BACK), (1024, 896), (64, 56)])
def test_the_last_ones_are_kept_back_at_most_an_eighth(limit: int, traffic: int) -> None:
    assert not Descriptors(limit, Kernel(traffic - 1).look).are_short()
    assert Descriptors(limit, Kernel(traffic).look).are_short()


def test_less_than_a_quarter_is_scarce() -> None:
    assert not Descriptors(1000, Kernel(750).look).are_scarce()
    assert Descriptors(1000, Kernel(751).look).are_scarce()


def test_it_looks_seldom_while_there_are_many_and_every_time_from_the_half_on() -> None:
    kernel = Kernel(499)
    descriptors = Descriptors(1000, kernel.look)
    assert not descriptors.are_short()
    kernel.lowest = 999
    assert [descriptors.are_short() for _ in range(LOOK_EVERY + 1)] == [False] * LOOK_EVERY + [True]
    assert kernel.looks == 2
    kernel.lowest = 500
    for looks in range(3, 7):
        assert not descriptors.are_short()
        assert kernel.looks == looks


@pytest.mark.parametrize("limit", [64, 128, 1024, 65_536])
def test_however_small_the_limit_what_is_kept_back_is_not_taken_between_two_looks(limit: int) -> None:
    """Once none is left, libuv closes every connection that waits, and no record says so."""
    kernel = Kernel(limit // 2 - 1)
    descriptors = Descriptors(limit, kernel.look)
    while not descriptors.are_short():
        kernel.lowest += 1
    assert kernel.lowest == limit - descriptors.kept_back


def test_the_kernel_is_asked_for_the_number_that_comes_next() -> None:
    taken = os.dup(0)
    os.close(taken)
    assert lowest_free() == taken == lowest_free()


def test_without_any_it_is_beyond_every_limit() -> None:
    with none_left():
        with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
            os.dup(0)
        assert Descriptors().are_short()
