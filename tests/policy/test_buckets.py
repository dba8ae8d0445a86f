"""The arithmetic of limits against a sliding log that remembers everything: never above the bound, never refused
below the rate, all or nothing."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model.limits.limit import Counted, Limit
from gateway.policy.buckets import FRESH, LATE, Draw, Lacking, Now, State, Taken, after, is_fresh, left, take, wait_for

RATE = Limit("r", Counted.CONNECTIONS, rate=10.0, burst=3.0)
CONCURRENT = Limit("c", Counted.CONCURRENT, rate=2.0)
DAY = Limit("d", Counted.BYTES, rate=1000.0, period=86400.0)


def at(seconds: float) -> Now:
    return Now(seconds, 1_800_000_000.0 + seconds)


def drawn(limit: Limit, amount: float = 1.0) -> Draw:
    return Draw(limit, (), amount)


def test_a_burst_is_there_at_once_and_then_one_at_a_time() -> None:
    state = FRESH
    for _ in range(3):
        assert wait_for(drawn(RATE), state, at(5.0)) == 0
        state = after(drawn(RATE), state, at(5.0))
    assert wait_for(drawn(RATE), state, at(5.0)) == pytest.approx(0.1)
    assert wait_for(drawn(RATE), state, at(5.1)) == 0


def test_what_was_not_used_is_not_saved_beyond_the_burst() -> None:
    state = after(drawn(RATE), FRESH, at(0.0))
    assert left(RATE, state, at(0.0)) == pytest.approx(2.0)
    assert left(RATE, state, at(1000.0)) == 3.0
    assert is_fresh(RATE, state, at(0.1))
    assert not is_fresh(RATE, state, at(0.05))


def test_an_amount_larger_than_the_burst_never_fits_at_once() -> None:
    """Bandwidth is spent after the fact: the bucket goes below nothing, and the next draw waits that out."""
    pace = RATE._replace(counted=Counted.BANDWIDTH)
    assert wait_for(drawn(pace, 4.0), FRESH, at(0.0)) == pytest.approx(0.1)
    assert wait_for(drawn(pace), after(drawn(pace, 13.0), FRESH, at(0.0)), at(0.0)) == pytest.approx(1.1)


def test_a_rate_that_was_raised_holds_at_once() -> None:
    """Whoever raises a limit that is spent does not wait until it would have been full again."""
    spent, narrow = FRESH, RATE._replace(rate=10 / 3600, burst=10.0)
    for _ in range(10):
        spent = after(drawn(narrow), spent, at(0.0))
    assert wait_for(drawn(narrow), spent, at(1.0)) == pytest.approx(359.0)
    assert wait_for(drawn(RATE), spent, at(1.0)) == 0
    assert wait_for(drawn(RATE), after(drawn(RATE), spent, at(1.0)), at(1.0)) == pytest.approx(0.1)


def test_what_a_limit_in_report_mode_let_pass_is_not_made_good_once_it_refuses() -> None:
    shadow, state = RATE._replace(report=True), FRESH
    for number in range(6000):
        state = after(drawn(shadow), state, at(number / 100))
    assert wait_for(drawn(RATE), state, at(60.0)) <= LATE + 0.1


def test_concurrent_counts_what_is_held_and_time_does_not_help() -> None:
    state = FRESH
    for _ in range(2):
        assert wait_for(drawn(CONCURRENT), state, at(0.0)) == 0
        state = after(drawn(CONCURRENT), state, at(0.0))
    assert wait_for(drawn(CONCURRENT), state, at(1e9)) == inf
    state = after(drawn(CONCURRENT, -1.0), state, at(0.0))
    assert wait_for(drawn(CONCURRENT), state, at(0.0)) == 0
    assert not is_fresh(CONCURRENT, state, at(0.0))
    assert not is_fresh(CONCURRENT, state, at(1e9))
    assert is_fresh(CONCURRENT, after(drawn(CONCURRENT, -1.0), state, at(0.0)), at(0.0))


def test_a_budget_is_spent_until_nothing_is_left_and_starts_anew_with_the_utc_day() -> None:
    noon = Now(0.0, 20_000 * 86400.0 + 43_200.0)
    state = after(drawn(DAY, 999.0), FRESH, noon)
    assert left(DAY, state, noon) == 1.0
    assert wait_for(drawn(DAY, 0.0), state, noon) == 0
    state = after(drawn(DAY, 500.0), state, noon)
    assert (left(DAY, state, noon), wait_for(drawn(DAY, 0.0), state, noon)) == (0.0, 43_200.0)
    assert not is_fresh(DAY, state, noon._replace(monotonic=1e12))
    midnight = Now(0.0, 20_001 * 86400.0)
    assert (left(DAY, state, midnight), wait_for(drawn(DAY, 0.0), state, midnight)) == (1000.0, 0)
    assert is_fresh(DAY, state, midnight)
    assert after(drawn(DAY, 7.0), state, midnight) == (midnight.unix, 7.0)


def test_a_clock_that_is_set_back_over_midnight_gives_a_budget_once_more_at_most() -> None:
    midnight = Now(0.0, 20_000 * 86_400.0)
    before, after_it, passed, state = midnight._replace(unix=midnight.unix - 1), midnight, 0, FRESH
    for now in (after_it, before) * 5:
        while not wait_for(drawn(DAY, 0.0), state, now):
            state, passed = after(drawn(DAY, 1000.0), state, now), passed + 1
    assert passed == 1
    assert left(DAY, state, before) == 0.0
    assert not is_fresh(DAY, after(drawn(DAY), FRESH, after_it), before)


def test_a_clock_that_was_far_ahead_takes_no_budget_for_all_the_time_until_then() -> None:
    noon = Now(0.0, 20_000 * 86400.0 + 43_200.0)
    ahead = after(drawn(DAY, 1000.0), FRESH, noon._replace(unix=noon.unix + 400 * 86400.0))
    assert (wait_for(drawn(DAY, 0.0), ahead, noon), left(DAY, ahead, noon)) == (0.0, 1000.0)
    assert is_fresh(DAY, ahead, noon)


def test_a_budget_that_is_spent_to_the_last_byte_is_spent() -> None:
    noon = Now(0.0, 20_000 * 86400.0 + 43_200.0)
    assert wait_for(drawn(DAY, 0.0), after(drawn(DAY, 1000.0), FRESH, noon), noon) == 43_200.0


def test_of_what_may_be_held_is_left_what_nobody_holds() -> None:
    assert left(CONCURRENT, FRESH, at(0.0)) == 2.0
    assert left(CONCURRENT, (1.0, 0.0), at(1e9)) == 1.0
    assert left(CONCURRENT, (3.0, 0.0), at(0.0)) == 0.0


def test_if_one_lacks_nothing_is_taken_and_the_longest_wait_is_named() -> None:
    slow = RATE._replace(name="slow", rate=1.0, burst=1.0)
    spent = after(drawn(slow), FRESH, at(0.0))
    emptied = after(drawn(RATE, 3.0), FRESH, at(0.0))
    lacking = take([drawn(RATE), drawn(slow), drawn(CONCURRENT)], [emptied, spent, FRESH], at(0.0))
    turned = take([drawn(slow), drawn(RATE)], [spent, emptied], at(0.0))
    assert isinstance(lacking, Lacking)
    assert isinstance(turned, Lacking)
    assert lacking.limit is turned.limit is slow
    assert lacking.wait == pytest.approx(1.0)
    taken = take([drawn(RATE), drawn(slow), drawn(CONCURRENT)], [emptied, spent, FRESH], at(1.0))
    assert isinstance(taken, Taken)
    assert [state[0] for state in taken.states] == pytest.approx([1.1, 2.0, 1.0])


def test_a_limit_in_report_mode_never_refuses_and_objects_to_what_it_would_refuse_and_nothing_else() -> None:
    """Ten times as many as there may be, for ten seconds: as many objections as a limit would have refused."""
    shadow = RATE._replace(burst=1.0, report=True)
    state, shadow_state, refused, objected = FRESH, FRESH, 0, 0
    for number in range(1100):
        now = at(min(number / 100, 10.0) if number < 1000 else number - 990.0)
        outcome = take([drawn(shadow._replace(report=False))], [state], now)
        refused += isinstance(outcome, Lacking)
        state = outcome.states[0] if isinstance(outcome, Taken) else state
        taken = take([drawn(shadow)], [shadow_state], now)
        assert isinstance(taken, Taken)
        objected += taken.over == (shadow,)
        (shadow_state,) = taken.states
    assert refused > 800
    assert objected == refused


def test_what_is_held_under_report_mode_is_counted_beyond_the_limit_because_it_is_given_back() -> None:
    shadow = CONCURRENT._replace(report=True)
    taken = take([drawn(shadow)], [(2.0, 0.0)], at(0.0))
    assert isinstance(taken, Taken)
    assert (taken.states, taken.over) == ([(3.0, 0.0)], (shadow,))


def test_bandwidth_that_is_only_reported_is_no_debt_for_hours() -> None:
    """Ten times the rate for a minute: what would have waited has moved, and nobody has to make it good."""
    shadow = RATE._replace(counted=Counted.BANDWIDTH, report=True)
    state = FRESH
    for number in range(600):
        state = after(drawn(shadow, 10.0), state, at(number / 10))
        assert wait_for(drawn(shadow), state, at(number / 10)) > 0
    assert wait_for(drawn(shadow), state, at(60.0)) <= LATE + 2.0


# ------------------------------------------------------------------------------------ against a log of everything

Wait = Callable[[Draw, State, Now], float]

arrivals = st.lists(st.floats(0.0, 3.0, allow_nan=False), min_size=1, max_size=150).map(
    lambda gaps: [sum(gaps[: index + 1]) for index in range(len(gaps))]
)
limits = st.builds(
    lambda rate, burst: Limit("x", Counted.REQUESTS, rate, float(burst)),
    rate=st.sampled_from([0.01, 0.7, 1.0, 3.0, 25.0, 1000.0]),
    burst=st.integers(1, 12),
)


def admitted(times: list[float], limit: Limit, wait: Wait) -> list[float]:
    state, passed = FRESH, []
    for time in times:
        if wait(drawn(limit), state, at(time)) == 0:
            state = after(drawn(limit), state, at(time))
            passed.append(time)
    return passed


def check_bound(passed: list[float], limit: Limit) -> None:
    """Every window that begins and ends with one that passed: at most rate x W + burst."""
    for first, begin in enumerate(passed):
        for last in range(first, len(passed)):
            count, width = last - first + 1, passed[last] - begin
            assert count <= limit.rate * width + limit.burst + 1e-6, (limit, begin, passed[last], count)


def check_fairness(times: list[float], passed: list[float], limit: Limit) -> None:
    """One that was refused would have broken the bound of some window that ends with it: the naive sliding log."""
    index = 0
    for time in times:
        if index < len(passed) and passed[index] == time:
            index += 1
            continue
        before = passed[: bisect_right(passed, time)]
        tight = any(
            len(before) - first + 1 > limit.rate * (time - begin) + limit.burst - 1e-6
            for first, begin in enumerate(before)
        )
        assert tight, (limit, time, before)


def check(times: list[float], passed: list[float], limit: Limit) -> None:
    check_bound(passed, limit)
    check_fairness(times, passed, limit)


@settings(max_examples=150)
@given(times=arrivals, limit=limits)
def test_never_above_the_bound_and_never_refused_below_the_rate(times: list[float], limit: Limit) -> None:
    check(times, admitted(times, limit, wait_for), limit)


def forgets_to_wait(draw: Draw, state: State, now: Now) -> float:
    """The planted fault: a burst too much."""
    return wait_for(draw._replace(amount=0.0), state, now)


def waits_too_long(draw: Draw, state: State, now: Now) -> float:
    """The other one: a burst too few."""
    return wait_for(draw._replace(amount=2.0), state, now)


@pytest.mark.parametrize("fault", [forgets_to_wait, waits_too_long])
def test_planted_faults_of_the_arithmetic_are_caught(fault: Wait) -> None:
    limit = Limit("x", Counted.REQUESTS, 1.0, 2.0)
    times = [0.0, 0.1, 0.2, 0.3, 1.4, 1.5, 5.0]
    passed = admitted(times, limit, fault)
    with pytest.raises(AssertionError):
        check(times, passed, limit)


@settings(max_examples=100)
@given(
    times=arrivals,
    pair=st.tuples(limits, limits),
    held=st.integers(1, 5),
)
def test_what_is_taken_together_is_taken_of_all_or_of_none(
    times: list[float], pair: tuple[Limit, Limit], held: int
) -> None:
    """Each bucket alone keeps its bound, whatever the others refuse."""
    concurrent = CONCURRENT._replace(rate=float(held))
    draws = [drawn(pair[0]), drawn(pair[1]), drawn(concurrent)]
    states: Sequence[State] = (FRESH, FRESH, FRESH)
    passed = []
    for time in times:
        outcome = take(draws, states, at(time))
        if isinstance(outcome, Taken):
            passed.append(time)
            states = outcome.states
        else:
            assert outcome.wait > 0
    assert len(passed) <= held
    for limit in pair:
        check_bound(passed, limit)
