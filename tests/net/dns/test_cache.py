from collections import Counter
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.names import HostName
from gateway.model.reasons import Reason
from gateway.net.dns.answers import Answer, Found, Missing
from gateway.net.dns.cache import FAILURE_SECONDS, LONGEST_NEGATIVE_SECONDS, NameCache, Resolution
from tests.net.parts import addresses, name

SIZE, MIN_TTL, MAX_TTL = 4, 2.0, 600.0
X = name("x.test")


def test_what_is_kept_comes_back_until_its_ttl_is_over() -> None:
    cache = NameCache(SIZE, MIN_TTL, MAX_TTL)
    cache.keep(X, Found(addresses("203.0.113.1"), 60), now=0.0)

    assert cache.get(X, 59.9) == Resolution(addresses("203.0.113.1"))
    assert cache.get(X, 60.0) is None
    assert len(cache) == 0


def test_the_least_recently_used_name_goes_first() -> None:
    cache = NameCache(2, MIN_TTL, MAX_TTL)
    for label in ("a", "b"):
        cache.keep(name(label), Found(addresses("203.0.113.1"), 60), now=0.0)
    cache.get(name("a"), 1.0)
    cache.keep(name("c"), Found(addresses("203.0.113.1"), 60), now=1.0)

    assert [cache.get(name(label), 2.0) is not None for label in "abc"] == [True, False, True]


def test_ipv6_comes_first_and_each_address_of_a_family_leads_in_its_turn() -> None:
    four, six = addresses("203.0.113.1", "203.0.113.2", "203.0.113.3"), addresses("2001:db8::1", "2001:db8::2")
    cache = NameCache(SIZE, MIN_TTL, MAX_TTL)
    first = cache.keep(X, Found(four + six, 60), now=0.0)

    assert first == Resolution(six + four)
    given_out = [cache.get(X, 1.0) for _ in range(6)]
    orders = [known.addresses for known in given_out if isinstance(known, Resolution)]
    assert all({address.version for address in order[:2]} == {6} and set(order) == {*four, *six} for order in orders)
    assert Counter(order[0] for order in orders) == dict.fromkeys(six, 3)
    assert Counter(order[2] for order in orders) == dict.fromkeys(four, 2)


ANSWERS: st.SearchStrategy[Answer] = st.builds(
    Found, st.just(addresses("203.0.113.1")), st.floats(0, 2.0**31)
) | st.builds(
    Missing, st.sampled_from([r for r in Reason if r.startswith("dns_")]), st.just(""), st.none(), st.floats(0, 2.0**31)
)
STEPS = st.lists(st.tuples(st.sampled_from("abcd").map(HostName), st.none() | ANSWERS, st.floats(0, 1000)), max_size=30)


def bounds(answer: Answer) -> tuple[float, float]:
    """The shortest and the longest time for which such an answer may be remembered."""
    if isinstance(answer, Missing):
        return (FAILURE_SECONDS, FAILURE_SECONDS) if answer.is_failure else (MIN_TTL, LONGEST_NEGATIVE_SECONDS)
    return MIN_TTL, MAX_TTL


def holds_its_bounds(cache: NameCache, steps: list[Any]) -> None:
    """Whatever is kept and asked for in whatever order: a name is known exactly until its TTL, brought within the
    bounds of its kind of answer, has passed."""
    now = 0.0
    kept: dict[HostName, tuple[Answer, float]] = {}
    for label, answer, pause in steps:
        now += pause
        known = cache.get(label, now)
        if label in kept:
            last, since = kept[label]
            shortest, longest = bounds(last)
            assert (known is not None) == (now < since + max(shortest, min(last.ttl, longest)))
        else:
            assert known is None
        if answer is not None:
            cache.keep(label, answer, now)
            kept[label] = (answer, now)


@given(STEPS)
def test_whatever_ttl_a_server_says_the_bounds_hold(steps: list[Any]) -> None:
    holds_its_bounds(NameCache(SIZE, MIN_TTL, MAX_TTL), steps)


class BelievesEveryTtl(NameCache):
    """The planted fault."""

    def lifetime(self, answer: Answer) -> float:
        return answer.ttl


def test_the_property_catches_a_cache_that_believes_every_ttl() -> None:
    @hypothesis.settings(report_multiple_bugs=False)
    @given(STEPS)
    def broken(steps: list[Any]) -> None:
        holds_its_bounds(BelievesEveryTtl(SIZE, MIN_TTL, MAX_TTL), steps)

    with pytest.raises(AssertionError):
        broken()


def test_stale_addresses_serve_for_their_time_and_no_longer() -> None:
    cache = NameCache(size=10, min_ttl=1, max_ttl=100, serve_stale=50)
    cache.keep(HostName("x.test"), Found(addresses("203.0.113.1"), 10), 0.0)

    assert cache.stale(HostName("x.test"), 9.9) is None, "it is still fresh"
    assert cache.get(HostName("x.test"), 10.0) is None
    assert cache.stale(HostName("x.test"), 59.9) == Resolution(addresses("203.0.113.1"))
    assert cache.stale(HostName("x.test"), 60.0) is None
    assert cache.get(HostName("x.test"), 60.0) is None
    assert len(cache) == 0


def test_a_failure_does_not_prolong_what_is_stale_beyond_its_time() -> None:
    cache = NameCache(size=10, min_ttl=1, max_ttl=100, serve_stale=50)
    cache.keep(HostName("x.test"), Found(addresses("203.0.113.1"), 10), 0.0)
    failure = Missing(Reason.DNS_TIMEOUT, "")

    assert cache.keep(HostName("x.test"), failure, 45.0) == Resolution(addresses("203.0.113.1"))
    assert cache.get(HostName("x.test"), 59.9) == Resolution(addresses("203.0.113.1"))
    assert cache.get(HostName("x.test"), 60.0) is None
    assert cache.keep(HostName("x.test"), failure, 60.0) == failure


def test_what_did_not_exist_is_never_served_stale() -> None:
    cache = NameCache(size=10, min_ttl=1, max_ttl=100, serve_stale=50)
    cache.keep(HostName("x.test"), Missing(Reason.DNS_NAME_NOT_FOUND, "", "NXDOMAIN", 10), 0.0)
    assert cache.stale(HostName("x.test"), 10.0) is None
