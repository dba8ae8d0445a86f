"""Where a secret may go, against the names that patterns cover."""

import pytest

from gateway.model.addresses import Address
from gateway.model.names import HostName
from gateway.policy.requests.credentials import SecretScope
from gateway.policy.rules import HostPattern, Reach

E, B, C, ANY = Reach.EXACT, Reach.BELOW, Reach.CHILD, HostPattern("", Reach.ANY)


@pytest.mark.parametrize(
    ("outer", "inner", "contains"),
    [
        (("a.test", E), ("a.test", E), True),
        (("a.test", E), ("b.test", E), False),
        (("a.test", E), ("x.a.test", E), False),
        (("a.test", E), ("x.a.test", C), False),
        (("a.test", E), ("a.test", B), False),
        (("a.test", E), ("a.test", C), False),
        (("a.test", B), ("a.test", E), False),
        (("a.test", B), ("x.y.a.test", E), True),
        (("a.test", B), ("xa.test", E), False),
        (("a.test", B), ("a.test", B), True),
        (("a.test", B), ("a.test", C), True),
        (("a.test", B), ("x.a.test", B), True),
        (("a.test", B), ("b.test", C), False),
        (("a.test", B), ("b.test", B), False),
        (("a.test", B), ("test", B), False),
        (("a.test", C), ("x.a.test", E), True),
        (("a.test", C), ("x.y.a.test", E), False),
        (("a.test", C), ("a.test", E), False),
        (("a.test", C), ("b.test", E), False),
        (("a.test", C), ("printer", E), False),
        (("a.test", C), ("x.a.test", B), False),
        (("a.test", C), ("a.test", B), False),
        (("a.test", C), ("x.a.test", C), False),
        (("a.test", C), ("a.test", C), True),
    ],
)
def test_a_pattern_goes_where_all_that_it_covers_may_go(
    outer: tuple[str, Reach], inner: tuple[str, Reach], contains: bool
) -> None:
    scope = SecretScope((HostPattern("elsewhere.test", E), HostPattern(*outer)))
    assert scope.covers_all_of(HostPattern(*inner)) is contains
    if inner[1] is E:
        assert scope.covers(HostName(inner[0])) is contains


def test_only_a_star_covers_a_star_and_no_name_covers_an_address() -> None:
    assert SecretScope((ANY,)).covers_all_of(ANY)
    assert SecretScope((ANY,)).covers_all_of(HostPattern("a.test", B))
    assert SecretScope((ANY,)).covers(HostName("a.test"))
    assert not SecretScope((HostPattern("", E), HostPattern("", C))).covers_all_of(ANY)
    assert not SecretScope((HostPattern("test", B),)).covers_all_of(ANY)
    assert not SecretScope((ANY,)).covers(Address(4, 1))


def test_groups_are_asked_only_where_some_are_named() -> None:
    scope = SecretScope((ANY,), frozenset({"a", "b"}))
    assert scope.is_for(["x", "b"])
    assert not scope.is_for(["x"])
    assert not scope.is_for([])
    assert SecretScope((ANY,)).is_for([])
