"""The index of host patterns against a matcher written from the contract's sentences."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.rules import HostPattern, Reach
from gateway.policy.tables import divided
from gateway.policy.tables.hosts import HostTable
from tests.policy.builders import patterns

LABELS = st.sampled_from(["a", "b", "xn--a", "_c", "com"])
NAMES = st.lists(LABELS, min_size=1, max_size=5).map(".".join)
PATTERNS = st.one_of(
    st.builds(HostPattern, NAMES, st.sampled_from([Reach.EXACT, Reach.BELOW, Reach.CHILD])),
    st.just(HostPattern("", Reach.ANY)),
)


def naive_covers(pattern: HostPattern, name: str) -> bool:
    labels, suffix = name.split("."), pattern.name.split(".")
    above = len(labels) - len(suffix)
    match pattern.reach:
        case Reach.EXACT:
            return labels == suffix
        case Reach.BELOW:
            return above > 0 and labels[above:] == suffix
        case Reach.CHILD:
            return above == 1 and labels[above:] == suffix
        case Reach.ANY:
            return True


def naive_rank(pattern: HostPattern) -> tuple[int, int, int]:
    """Exact first, then the deeper suffix, at the same suffix one label first, `*` last."""
    exact = 0 if pattern.reach is Reach.EXACT else 1
    depth = 0 if pattern.reach is Reach.ANY else len(pattern.name.split("."))
    return exact, -depth, 0 if pattern.reach is Reach.CHILD else 1


def naive_find(given_patterns: set[HostPattern], name: str) -> list[HostPattern]:
    return sorted((pattern for pattern in given_patterns if naive_covers(pattern, name)), key=naive_rank)


class CoversItself(HostTable[HostPattern]):
    """The planted fault: `*.s` also covers s."""

    def find(self, name: str) -> list[HostPattern]:
        found = super().find(name)
        apex = self._below.get(name)
        return found if apex is None else [*found, apex]


def check_against_naive(table_type: type[HostTable[HostPattern]]) -> None:
    @given(st.sets(PATTERNS, max_size=12), NAMES)
    def agrees(given_patterns: set[HostPattern], name: str) -> None:
        table = table_type({pattern: pattern for pattern in given_patterns})
        assert table.find(name) == naive_find(given_patterns, name)
        assert table.covers(name) == any(naive_covers(pattern, name) for pattern in given_patterns)
        assert table.find_exact(name) == [pattern for pattern in given_patterns if pattern == _exactly(name)]

    agrees()


def _exactly(name: str) -> HostPattern:
    return HostPattern(name, Reach.EXACT)


def test_the_index_finds_what_a_naive_matcher_finds_in_the_same_order() -> None:
    check_against_naive(HostTable[HostPattern])


def test_a_table_that_was_divided_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(divided, "WHOLE", 1)
    check_against_naive(HostTable[HostPattern])


def test_the_property_notices_a_suffix_that_covers_its_own_apex() -> None:
    with pytest.raises(AssertionError):
        check_against_naive(CoversItself)


@pytest.mark.parametrize(
    ("pattern", "name", "covered"),
    [
        ("example.com", "example.com", True),
        ("example.com", "www.example.com", False),
        ("*.example.com", "example.com", False),
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "a.b.c.example.com", True),
        ("*.example.com", "evilexample.com", False),
        ("*.example.com", "example.com.evil.test", False),
        ("1.example.com", "a.example.com", True),
        ("1.example.com", "a.b.example.com", False),
        ("1.example.com", "example.com", False),
        (".example.com", "example.com", True),
        (".example.com", "a.b.example.com", True),
        (".example.com", "badexample.com", False),
        ("*", "anything.at.all", True),
        ("*", "single", True),
    ],
)
def test_a_pattern_covers_whole_labels_only(pattern: str, name: str, covered: bool) -> None:
    assert HostTable(dict.fromkeys(patterns(pattern), True)).covers(name) is covered


def test_the_longest_possible_name_is_looked_up_label_by_label() -> None:
    name = "a." * 126 + "a"
    assert HostTable(dict.fromkeys(patterns("*.a.a *.b"), True)).find(name) == [True]
