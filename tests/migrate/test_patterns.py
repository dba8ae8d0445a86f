"""The algebra of host patterns, compared with the names that they cover."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.migrate.patterns import in_common, is_covered, is_public_suffix, least, meaning, name_at, spelled
from gateway.policy.rules import ANY_HOST, HostPattern, Reach
from gateway.settings.hosts import parse_host_entry
from gateway.settings.source.yaml import parse_yaml

NAMES = ["test", "a.test", "b.a.test", "c.b.a.test", "b.test", "atest"]
PATTERNS = st.sampled_from(
    [ANY_HOST, *(HostPattern(name, reach) for name, reach in product(NAMES, Reach) if reach is not Reach.ANY)]
)


def covers(pattern: HostPattern, name: str) -> bool:
    match pattern.reach:
        case Reach.ANY:
            return True
        case Reach.EXACT:
            return name == pattern.name
    below = name.endswith(f".{pattern.name}")
    return below and (pattern.reach is Reach.BELOW or name.count(".") == pattern.name.count(".") + 1)


def names(patterns: tuple[HostPattern, ...]) -> set[str]:
    every = [*NAMES, *(f"x.{name}" for name in NAMES), *(f"y.x.{name}" for name in NAMES)]
    return {name for name in every if any(covers(pattern, name) for pattern in patterns)}


LISTS = st.lists(PATTERNS, max_size=4).map(tuple)


@given(LISTS, LISTS)
def test_what_two_lists_have_in_common(some: tuple[HostPattern, ...], others: tuple[HostPattern, ...]) -> None:
    assert names(in_common(some, others)) == names(some) & names(others)


@given(LISTS)
def test_a_list_says_the_same_without_what_it_covers_anyway(some: tuple[HostPattern, ...]) -> None:
    shortest = least(some)
    assert names(shortest) == names(some)
    assert not any(is_covered(each, frozenset(shortest) - {each}) for each in shortest)


@given(PATTERNS)
def test_a_pattern_is_spelled_as_files_have_it(pattern: HostPattern) -> None:
    import yaml

    assert parse_host_entry(yaml.safe_load(f"[{spelled(pattern)}]")[0]).patterns == (pattern,)


@pytest.mark.parametrize("name", ["-", "-1", "true", "null", "1e5", "1.5e3", "0o17", "1password.example", "-a", "e5"])
def test_a_name_that_looks_like_something_else_is_read_as_text(name: str) -> None:
    pattern = name_at(name, Reach.EXACT)
    assert pattern is not None
    assert parse_yaml(f"hosts:\n  - {spelled(pattern)}\n", "policy.yaml").data == {"hosts": [name]}


def test_meanings_say_what_is_easily_missed() -> None:
    below, child = HostPattern("x.test", Reach.BELOW), HostPattern("x.test", Reach.CHILD)
    assert meaning([below]) == "every name below x.test at any depth, not x.test itself"
    assert meaning([child]) == "one label below x.test, not a.b.x.test, not x.test itself"
    assert meaning([HostPattern("x.test", Reach.EXACT), below]) == "x.test itself, every name below x.test at any depth"
    assert meaning([ANY_HOST]) == "every name, no address"


def test_only_names_become_patterns() -> None:
    assert name_at("Example.TEST.", Reach.EXACT) == HostPattern("example.test", Reach.EXACT)
    assert [name_at(text, Reach.EXACT) for text in ("", "a b", "1.2.3.4", "*", "a..b")] == [None] * 5


def test_suffixes_of_many_owners_are_known() -> None:
    assert is_public_suffix(HostPattern("co.uk", Reach.BELOW))
    assert is_public_suffix(HostPattern("github.io", Reach.CHILD))
    assert not is_public_suffix(HostPattern("example.com", Reach.BELOW))
    assert not is_public_suffix(HostPattern("com", Reach.EXACT))
