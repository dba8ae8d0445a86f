"""Destinations that fail: left alone for a while, then tried by one."""

from dataclasses import dataclass, field, replace

import pytest

from gateway.limits import breaker
from gateway.limits.breaker import Breakers
from gateway.model.addresses import Address
from gateway.model.authority import parse_authority
from gateway.model.decision import Permit, Terms
from gateway.model.limits.limit import Breaker
from tests.limits.permits import permit_under

FIRST, SECOND = Address(4, 0xC0000201), Address(4, 0xC0000202)


@dataclass
class Bed:
    failures: int = 3
    now: float = 100.0
    breakers: Breakers = field(init=False)
    permit: Permit = field(init=False)

    def __post_init__(self) -> None:
        self.breakers = Breakers(lambda: self.now)
        self.permit = permit_under(Terms(breaker=Breaker(self.failures, 10.0, 30.0)))

    def admit(self, address: Address = FIRST) -> float:
        return self.breakers.admit(self.permit, address)

    def fail(self, times: int, apart: float = 0.1) -> None:
        for _ in range(times):
            assert self.admit() == 0
            self.breakers.failed(self.permit, FIRST)
            self.now += apart


def test_so_many_failures_within_the_window_open_it_for_that_address_alone() -> None:
    bed = Bed()
    bed.fail(3)
    assert 29 < bed.admit() <= 30
    assert bed.admit(SECOND) == 0


@pytest.mark.parametrize("other", ["api.example.com:8443", "www.example.com:443"])
def test_what_else_is_at_the_address_is_not_left_alone(other: str) -> None:
    """A client that asks for a port where nobody listens must not close the others' way."""
    bed = Bed()
    theirs = parse_authority(other)
    assert theirs is not None
    bed.fail(3)
    assert bed.breakers.admit(replace(bed.permit, authority=theirs), FIRST) == 0


def test_failures_that_lie_further_apart_do_not() -> None:
    bed = Bed()
    bed.fail(6, apart=6.0)
    assert bed.admit() == 0


def test_of_an_open_one_the_time_is_that_of_the_rule_in_force() -> None:
    bed = Bed()
    bed.fail(3)
    bed.permit = permit_under(Terms(breaker=Breaker(3, 10.0, open=1.0)))
    assert 0 < bed.admit() <= 1
    bed.now += 1
    assert bed.admit() == 0


def test_half_open_one_probes_and_its_success_closes() -> None:
    bed = Bed()
    bed.fail(3)
    bed.now += 31
    assert bed.admit() == 0
    assert bed.admit() == breaker.PROBE_SECONDS
    bed.breakers.succeeded(bed.permit, FIRST)
    bed.fail(2)
    assert bed.admit() == 0


def test_a_probe_that_fails_opens_again_and_one_that_was_given_up_is_made_again() -> None:
    bed = Bed()
    bed.fail(3)
    bed.now += 31
    assert bed.admit() == 0
    bed.breakers.given_up(bed.permit, FIRST)
    assert bed.admit() == 0
    bed.breakers.failed(bed.permit, FIRST)
    assert bed.admit() == 30


def test_after_each_probe_that_fails_there_is_another() -> None:
    bed = Bed()
    bed.fail(3)
    for _ in range(3):
        bed.now += 30
        assert bed.admit() == 0
        assert bed.admit() == breaker.PROBE_SECONDS
        bed.breakers.failed(bed.permit, FIRST)
        assert bed.admit() == 30


def test_what_failed_before_a_probe_that_succeeded_counts_no_more() -> None:
    bed = Bed()
    bed.permit = permit_under(Terms(breaker=Breaker(3, window=600.0, open=1.0)))
    bed.fail(3)
    bed.now += 1
    assert bed.admit() == 0
    bed.breakers.succeeded(bed.permit, FIRST)
    bed.fail(2)
    assert bed.admit() == 0
    bed.breakers.failed(bed.permit, FIRST)
    assert bed.admit() == 1


def test_an_answer_that_is_well_ends_the_trial() -> None:
    bed = Bed()
    bed.fail(3)
    bed.now += 31
    assert bed.admit() == 0
    bed.breakers.succeeded(bed.permit, FIRST)
    bed.breakers.answered(bed.permit, FIRST, well=True)
    bed.breakers.answered(bed.permit, FIRST, well=False)
    assert bed.admit() == 0


def test_where_no_rule_asks_for_it_nothing_is_left_alone() -> None:
    bed = Bed(failures=1)
    bed.permit = permit_under(Terms())
    bed.fail(5)
    bed.breakers.answered(bed.permit, FIRST, well=True)
    bed.breakers.given_up(bed.permit, FIRST)
    assert bed.admit() == 0


def test_other_terms_after_a_reload_count_anew() -> None:
    bed = Bed()
    bed.fail(2)
    bed.permit = permit_under(Terms(breaker=Breaker(2, 10.0, 30.0)))
    bed.fail(1)
    assert bed.admit() == 0
    bed.breakers.failed(bed.permit, FIRST)
    assert bed.admit() == 30


def test_answers_count_like_connections() -> None:
    bed = Bed()
    for _ in range(3):
        assert bed.admit() == 0
        bed.breakers.succeeded(bed.permit, FIRST)
        bed.breakers.answered(bed.permit, FIRST, well=False)
    assert bed.admit() == 30


def test_after_a_probe_the_first_answer_decides() -> None:
    bed = Bed()
    for well, wait in ((True, 0), (False, 30)):
        bed.fail(3)
        bed.now += 31
        assert bed.admit() == 0
        bed.breakers.succeeded(bed.permit, FIRST)
        bed.breakers.answered(bed.permit, FIRST, well)
        assert bed.admit() == wait
        bed.breakers.answered(bed.permit, FIRST, well=True)


def test_what_is_remembered_is_bounded() -> None:
    bed = Bed(failures=1)
    for value in range(breaker.REMEMBERED + 1):
        bed.breakers.failed(bed.permit, Address(4, value))
    assert bed.admit(Address(4, 0)) == 0
    assert bed.admit(Address(4, 1)) > 0
