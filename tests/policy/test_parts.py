"""A policy that was cut, carried and put together again decides as one that was not."""

import gc
import pickle
from collections.abc import Sequence
from dataclasses import replace

import pytest

from gateway.model.addresses import Address
from gateway.policy.groups import GroupIndex
from gateway.policy.index import Assembly, Rules, TakenDown
from gateway.policy.parts import DestinationSlice, GroupSlice, HostSlice, Outline, PackedSlice, RuleSlice, parts_of
from gateway.policy.rules import Policy, Tier
from tests.policy.builders import ask, build, client, deny, group, permitted, rule

SECRET = bytes(range(16))


def carried(policy: Policy) -> Rules:
    """Through pickles, as a child process sends it."""
    assembly = Assembly(7)
    for part in parts_of(policy, SECRET):
        assembly.take(pickle.loads(pickle.dumps(part)))
    return assembly.finish()


def lists(length: int) -> Sequence[str]:
    return [f"h{number}.feed.test" for number in range(length)]


def test_a_long_list_is_packed_and_what_another_rule_names_too_is_not() -> None:
    feed, short = deny("feed", " ".join(lists(3000))), rule("one", "h7.feed.test")
    policy = build(feed, short).policy
    found = list(parts_of(policy, SECRET))
    assert isinstance(found[0], Outline)
    assert [tier.packed_hosts for tier in found[0].tiers] == [True]
    assert [part.names for part in found if isinstance(part, HostSlice)] == [["h7.feed.test"]]
    assert any(isinstance(part, PackedSlice) for part in found)
    rules = carried(policy)
    for host in ("h0.feed.test", "h7.feed.test", "h2999.feed.test"):
        verdict = ask(rules, f"{host}:443")
        assert verdict.rule is not None
        assert verdict.rule.name.endswith("#feed")
    assert ask(rules, "h3000.feed.test:443").rule is None


def test_long_lists_of_networks_are_packed_by_prefix_and_their_rule_opens_them() -> None:
    cidrs = " ".join(f"10.{number >> 8}.{number & 255}.0/24" for number in range(2000))
    rules = carried(build(rule("inside", cidrs=f"{cidrs} 2001:db8::/32")).policy)
    for inside in ("10.0.0.1", "10.7.207.255", "[2001:db8::1]"):
        permit = permitted(ask(rules, f"{inside}:443"))
        assert permit.rule.name.endswith("#inside")
        literal = permit.authority.host
        assert isinstance(literal, Address)
        assert permit.screen(literal) is None
    assert ask(rules, "10.7.208.1:443").rule is None


def test_no_part_holds_more_than_five_hundred_entries() -> None:
    many = [rule(f"r{number}", f"h{number}.test", clients=f"g{number}") for number in range(3000)]
    groups = [group(f"g{number}", cidr=f"10.0.{number >> 8}.{number & 255}/32") for number in range(3000)]
    policy = build(*many, *groups, deny("feed", " ".join(lists(3000)))).policy
    sizes = []
    for part in parts_of(policy, SECRET):
        match part:
            case GroupSlice():
                sizes.append(len(part.groups))
            case RuleSlice():
                sizes.append(len(part.rules))
                assert all(one.hosts == () for one in part.rules)
            case DestinationSlice():
                sizes.append(len(part.standing))
            case HostSlice():
                sizes.append(len(part.names))
            case _:
                assert len(pickle.dumps(part)) < 40_000
    assert max(sizes) <= 500


def test_a_rule_of_a_team_without_a_namespace_is_a_fault_of_ours() -> None:
    with pytest.raises(ValueError, match="a team rule without a namespace"):
        list(parts_of(Policy((replace(rule("x", "x.test"), tier=Tier.TEAM),)), SECRET))


def test_nothing_is_assembled_without_an_outline() -> None:
    with pytest.raises(ValueError, match="outline"):
        Assembly(1).finish()


def test_rules_that_were_taken_down_let_nothing_pass_and_are_empty() -> None:
    members = [group(f"g{number}", user=f"u{number}") for number in range(1000)]
    rules = build(*[rule(f"r{number}", f"h{number}.test") for number in range(2500)], *members)
    assert rules.groups.membership_of(client(user="u7")).listed == ("g7",)
    permit = permitted(ask(rules, "h7.test:443"))
    slices = sum(1 for _ in rules.take_down())
    assert slices >= 24
    assert (rules.candidates, rules.platform.hosts.find("h8.test")) == ([], [])
    assert rules.groups.membership_of(client(user="u7")).listed == ()
    with pytest.raises(TakenDown):
        ask(rules, "h7.test:443")
    assert permit.rule.name.endswith("#r7")


def test_rules_that_nobody_holds_are_gone_without_the_collector() -> None:
    gc.disable()
    try:
        rules = build(rule("a", "a.test"))
        permitted(ask(rules, "a.test:443"))
        indexes = _count(GroupIndex)
        for _ in rules.take_down():
            pass
        del rules
        assert _count(GroupIndex) == indexes - 1
    finally:
        gc.enable()


def _count(kind: type) -> int:
    return sum(type(one) is kind for one in gc.get_objects())
