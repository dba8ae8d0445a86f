"""What building an index makes of rules: ports, protocols, shared destinations, conflicts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.decision import Terms
from gateway.model.inspection.terms import Inspection
from gateway.model.intent import Protocol
from gateway.policy.candidates import port_bounds
from gateway.policy.rules import ANY_PORT, Mode, PortRange, Rule
from gateway.settings.compile.conflicts import Conflict, find_conflicts
from tests.policy.builders import SNI_ANY, ask, build, deny, permitted, rule


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)).map(sorted), max_size=5))
def test_port_bounds_hold_exactly_the_ports_of_all_ranges(ranges: list[list[int]]) -> None:
    bounds = port_bounds([PortRange(first, last) for first, last in ranges])
    inside = {port for first, end in zip(bounds[::2], bounds[1::2], strict=True) for port in range(first, end)}
    assert inside == {port for first, last in ranges for port in range(first, last + 1)}
    assert list(bounds) == sorted(set(bounds))


def test_any_port_reaches_from_the_first_to_the_last() -> None:
    assert port_bounds(ANY_PORT) == (1, 65536)


@pytest.mark.parametrize(("port", "usual"), [(443, Protocol.TLS), (80, Protocol.HTTP), (8443, Protocol.AUTO)])
def test_the_protocol_goes_by_the_port_asked_unless_the_rule_states_it(port: int, usual: Protocol) -> None:
    rules = build(rule("plain", "a.test", ports=None), rule("stated", "b.test", ports=None, protocol=Protocol.TCP))
    assert permitted(ask(rules, f"a.test:{port}")).terms.protocol is usual
    assert permitted(ask(rules, f"b.test:{port}")).terms.protocol is Protocol.TCP


def test_rules_with_the_same_terms_share_them() -> None:
    rules = build(rule("a", "a.test"), rule("b", "b.test"))
    assert permitted(ask(rules, "a.test:443")).terms is permitted(ask(rules, "b.test:443")).terms


def test_a_generation_is_carried_by_every_verdict() -> None:
    rules = build(rule("a", "a.test"))
    assert rules.generation == ask(rules, "a.test:443").generation == ask(rules, "b.test:443").generation == 7


def conflicts(*rules: Rule) -> list[tuple[str, str, bool]]:
    return [_short(conflict) for conflict in find_conflicts(build(*rules).policy)]


def _short(conflict: Conflict) -> tuple[str, str, bool]:
    first, second = sorted(ref.name.removeprefix("policy.yaml#") for ref in (conflict.first, conflict.second))
    return first, second, conflict.fatal


def test_the_same_destination_clients_and_port_twice_is_fatal() -> None:
    assert conflicts(rule("a", "x.test"), rule("b", "x.test y.test")) == [("a", "b", True)]
    assert conflicts(rule("a", cidrs="10.0.0.0/8"), rule("b", cidrs="10.0.0.0/8")) == [("a", "b", True)]
    assert conflicts(rule("a", "x.test", clients="g h"), rule("b", "x.test", clients="h g")) == [("a", "b", True)]
    assert conflicts(rule("a", "x.test", ports=((80, 90),)), rule("b", "x.test", ports=(1, 90))) == [("a", "b", True)]


def test_the_two_entries_of_a_leading_dot_conflict_one_by_one() -> None:
    assert conflicts(rule("a", ".x.test"), rule("b", "*.x.test")) == [("a", "b", True)]
    assert conflicts(rule("a", ".x.test"), rule("b", "x.test")) == [("a", "b", True)]


@pytest.mark.parametrize(
    "other",
    [
        rule("b", "*.x.test"),
        rule("b", "1.x.test"),
        rule("b", "x.test", ports=(80,)),
        rule("b", "x.test", ports=((1, 442), (444, 65535))),
        rule("b", "x.test", clients="g"),
        rule("b", "x.test", namespace="team"),
        deny("b", "x.test"),
    ],
    ids=["below", "child", "port", "around", "clients", "tier", "deny"],
)
def test_what_differs_in_destination_port_clients_tier_or_action_does_not_conflict(other: Rule) -> None:
    assert conflicts(rule("a", "x.test"), other) == []


def test_teams_do_not_conflict_with_each_other() -> None:
    assert conflicts(rule("a", "x.test", namespace="one"), rule("b", "x.test", namespace="two")) == []
    assert conflicts(rule("a", "x.test", namespace="one"), rule("b", "x.test", namespace="one")) == [("a", "b", True)]


def test_other_groups_with_other_settings_deserve_a_warning() -> None:
    first = rule("a", "x.test", clients="g")
    assert conflicts(first, rule("b", "x.test", clients="h")) == []
    assert conflicts(first, rule("b", "x.test", clients="h", terms=SNI_ANY)) == [("a", "b", False)]
    assert conflicts(first, rule("b", "x.test", clients="h", mode=Mode.REPORT)) == [("a", "b", False)]
    assert conflicts(first, rule("b", "x.test", clients="h", protocol=Protocol.TCP)) == [("a", "b", False)]
    assert conflicts(first, rule("b", "x.test", clients="h", terms=SNI_ANY, ports=(80,))) == []


def test_a_rule_does_not_conflict_with_itself() -> None:
    assert conflicts(rule("a", ".x.test x.test", ports=((80, 90), 85, (86, 100)))) == []


SPANS = st.tuples(st.integers(1, 12), st.integers(1, 12)).map(lambda span: (min(span), max(span)))
TERMS = st.sampled_from([Terms(), SNI_ANY, Terms(inspection=Inspection())])
RULES = st.lists(
    st.tuples(st.sampled_from(["x.test", "y.test", "x.test y.test"]), SPANS, st.sampled_from(["", "g", "h"]), TERMS),
    max_size=7,
)


def _clash(first: Rule, second: Rule) -> bool:
    ports = [set(range(one.ports[0].first, one.ports[0].last + 1)) for one in (first, second)]
    same_clients = set(first.clients) == set(second.clients)
    return bool(set(first.hosts) & set(second.hosts) and ports[0] & ports[1] and same_clients)


@given(RULES)
def test_exactly_the_rules_that_conflict_with_some_rule_stand_in_a_fatal_conflict(
    drawn: list[tuple[str, tuple[int, int], str, Terms]],
) -> None:
    made = [
        rule(f"r{index}", hosts, ports=(span,), clients=clients, terms=terms)
        for index, (hosts, span, clients, terms) in enumerate(drawn)
    ]
    fatal = [conflict for conflict in find_conflicts(build(*made).policy) if conflict.fatal]
    named = {ref for conflict in fatal for ref in (conflict.first, conflict.second)}
    assert named == {one.ref for one in made for other in made if one is not other and _clash(one, other)}
    by_ref = {one.ref: one for one in made}
    assert all(_clash(by_ref[conflict.first], by_ref[conflict.second]) for conflict in fatal)


def test_thousands_of_rules_for_one_destination_are_compared_in_one_sweep() -> None:
    """Every pair would be three hundred million comparisons: a quadratic search does not end within the test's
    time-out."""
    made = [rule(f"r{index}", "x.test", clients=f"g{index}", terms=SNI_ANY) for index in range(25_000)]
    assert conflicts(*made) == []
