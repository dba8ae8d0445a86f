"""Counting what ended."""

from dataclasses import replace

import pytest

from gateway.model.decision import RuleRef
from gateway.model.inspection.watching import Said
from gateway.model.intent import Opening, Protocol
from gateway.model.reasons import Reason
from gateway.model.record import Seen, TlsSides
from gateway.telemetry.counters import Counters
from gateway.telemetry.series import OTHER_RULES, Histogram
from tests.telemetry.drafts import HELLO, RULE, accepted, denied, exchanged, tunnelled


def test_connections_are_counted_by_rule_verdict_and_reason() -> None:
    counters = Counters()
    for draft in (tunnelled(), tunnelled(), denied(), accepted()):
        counters.count(draft, 1001.0)
    assert counters.connections == {
        (RULE.name, "allow", None): 2,
        ("", "deny", Reason.NO_RULE): 1,
        ("", "none", None): 1,
    }
    assert (counters.bytes_up, counters.bytes_down) == (2 * 517, 2 * 4096)


def test_rules_beyond_the_bound_are_counted_together() -> None:
    counters = Counters(series_limit=10)
    for number in range(1000):
        counters.count(tunnelled(rule=RuleRef(f"policy.yaml#r{number}", "policy.yaml", number)), 1001.0)
    counters.count(tunnelled(rule=RuleRef("policy.yaml#r0", "policy.yaml", 0)), 1001.0)
    assert len(counters.connections) == 11
    assert counters.connections["policy.yaml#r0", "allow", None] == 2
    assert counters.connections[OTHER_RULES, "allow", None] == 990


def test_durations_are_observed_where_the_stage_was_reached() -> None:
    counters = Counters()
    for draft in (tunnelled(), denied()):
        counters.count(draft, 1002.0)
    assert (counters.lifetime.cumulative()[-1], counters.lifetime.total) == (2, 4.0)
    assert (counters.dns.cumulative()[-1], counters.dns.total) == (1, 0.0012)
    assert (counters.dial.cumulative()[-1], counters.dial.total) == (1, 0.0234)


def test_tls_is_counted_by_its_clients_newest_version_and_by_what_became_of_it() -> None:
    counters = Counters()
    for versions, inspected in (((0x0303, 0x0304), False), ((0x0303,), True), ((0x0A0A,), False), ((), False)):
        draft = tunnelled()
        draft.opening = Opening(Protocol.TLS, HELLO._replace(versions=versions))
        draft.tls = TlsSides() if inspected else None
        counters.count(draft, 1002.0)
    other = tunnelled()
    other.opening = Opening(Protocol.HTTP)
    counters.count(other, 1002.0)
    assert counters.tls == {("1.3", "passed"): 1, ("1.2", "inspected"): 1, ("other", "passed"): 2}


def test_a_requests_duration_and_the_dial_that_it_needed_are_observed() -> None:
    counters = Counters()
    counters.count_exchange(exchanged(), 1002.0)
    literal = exchanged()
    assert literal.dialled is not None
    literal.dialled = replace(literal.dialled, resolve_seconds=None)
    counters.count_exchange(literal, 1003.0)
    assert (counters.request_duration.cumulative()[-1], counters.request_duration.total) == (2, 5.0)
    assert (counters.dial.cumulative()[-1], counters.dns.cumulative()[-1]) == (2, 1)


@pytest.mark.parametrize(
    ("seconds", "cumulative"), [(0.0, [1, 1, 1]), (1.0, [1, 1, 1]), (1.5, [0, 1, 1]), (2.5, [0, 0, 1])]
)
def test_a_bucket_includes_its_upper_bound(seconds: float, cumulative: list[int]) -> None:
    histogram = Histogram((1.0, 2.0))
    histogram.observe(seconds)
    assert histogram.cumulative() == cumulative


def test_every_count_reaches_who_adds_it_up() -> None:
    """A count that is added here and not to `state` and `add` would be missing where there are several workers."""
    counters, total = Counters(), Counters()
    for draft in (tunnelled(), denied()):
        counters.count(draft, 1002.0)
    counters.count_exchange(exchanged(), 1002.0)
    counters.deliver("traces", "sent", 3)
    counters.inspector_failed("keys")
    total.add(counters.state())
    for name in Counters.__slots__:
        counted, added = getattr(counters, name), getattr(total, name)
        assert counted, f"{name} was not counted: this test would not notice its loss"
        if isinstance(counted, Histogram):
            counted, added = counted.state(), added.state()
        assert counted == added, name


def test_rules_beyond_the_limit_are_others_also_in_a_sum() -> None:
    counters, total = Counters(), Counters(series_limit=1)
    for draft in (tunnelled(), denied()):
        counters.count(draft, 1002.0)
    total.add(counters.state())
    assert sum(total.connections.values()) == total.total == 2
    assert {rule for rule, _, _ in total.connections} == {RULE.name, OTHER_RULES}


def test_inspectors_that_failed_are_counted_by_their_names() -> None:
    counters, other = Counters(), Counters()
    for failures in ([], ["keys"], ["keys", "types"]):
        draft = exchanged()
        draft.seen = Seen(said=Said({}, failures))
        counters.count_exchange(draft, 1002.0)
    other.inspector_failed("keys")
    other.add(counters.state())
    assert other.inspectors_failed == {"keys": 3, "types": 1}
