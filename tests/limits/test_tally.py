"""What limits did, by name, bounded however many names and buckets there are."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.limits import tally
from gateway.limits.tally import OTHER_LIMITS, Result, Tally
from gateway.model.limits.limit import Counted, Limit
from gateway.policy.buckets import Draw

LIMIT = Limit("a", Counted.CONNECTIONS, 1.0)


def test_each_result_is_counted_by_the_name_of_its_limit() -> None:
    counted, other = Tally(), LIMIT._replace(name="b")
    counted.count_passed([Draw(LIMIT, ()), Draw(other, ()), Draw(LIMIT, ("key",))])
    counted.count((LIMIT, other), Result.WAITED)
    counted.refuse(Draw(LIMIT, ("key",)))
    counted.refuse(Draw(LIMIT, ("key",)))
    counted.refuse(Draw(LIMIT, ("other",)))
    assert dict(counted.counts) == {
        ("a", "passed"): 2,
        ("b", "passed"): 1,
        ("a", "waited"): 1,
        ("b", "waited"): 1,
        ("a", "refused"): 3,
    }
    assert counted.refused == {("a", ("key",)): 2, ("a", ("other",)): 1}


def test_a_limit_is_known_as_it_was_met_last() -> None:
    counted, raised = Tally(), LIMIT._replace(rate=2.0)
    counted.count((LIMIT,), Result.PASSED)
    counted.count_passed([Draw(raised, ())])
    assert counted.limits == {"a": raised}


def test_counts_are_read_in_another_thread_while_new_limits_are_met() -> None:
    draws, usual = [[Draw(LIMIT._replace(name=f"{number}"), ())] for number in range(500)], sys.getswitchinterval()

    def meet(counted: Tally) -> None:
        for draw in draws:
            counted.count_passed(draw)

    sys.setswitchinterval(1e-6)
    try:
        for _ in range(20):
            counted = Tally()
            with ThreadPoolExecutor(1) as another:
                meeting = another.submit(meet, counted)
                while not meeting.done():
                    assert len(counted.counts) <= len(draws)
    finally:
        sys.setswitchinterval(usual)


def test_beyond_so_many_names_the_others_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "NAMES", 2)
    counted = Tally()
    for name in "abcd":
        counted.count_passed([Draw(LIMIT._replace(name=name), ())])
    counted.count((LIMIT._replace(rate=5.0),), Result.PASSED)  # a name that is known stays so
    assert dict(counted.counts) == {("a", "passed"): 2, ("b", "passed"): 1, (OTHER_LIMITS, "passed"): 2}
    assert sorted(counted.limits) == ["a", "b"]


def test_beyond_so_many_buckets_the_one_that_refused_first_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "BUCKETS", 2)
    counted = Tally()
    for key in ("x", "y", "x", "z"):
        counted.refuse(Draw(LIMIT, (key,)))
    assert counted.refused == {("a", ("y",)): 1, ("a", ("z",)): 1}
