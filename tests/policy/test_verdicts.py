"""Random policies: the indexed verdict against one that reads every rule, written from the contract's sentences."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from itertools import cycle, islice
from timeit import repeat

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from gateway.model.addresses import Address, Network
from gateway.model.authority import Authority, Host
from gateway.model.client import Client
from gateway.model.decision import Permit
from gateway.model.intent import Door, Intent
from gateway.model.names import HostName
from gateway.model.reasons import Reason
from gateway.policy.decide import decide
from gateway.policy.plan import Rules, build_rules
from gateway.policy.rules import Action, Except, HostPattern, Mode, Policy, Reach, Rule
from tests.policy.builders import NOW, address, group, network, rule
from tests.policy.tables.test_hosts import naive_covers, naive_rank

GROUPS = (
    group("wide", cidr="10.0.0.0/8", mode=Mode.REPORT),
    group("mid", cidr="10.1.0.0/16"),
    group("strict", cidr="10.1.1.0/24", mode=Mode.ENFORCE),
    group("far", cidr="192.0.2.0/24"),
)
PEERS = {
    "10.2.0.1": {"wide"},
    "10.1.2.1": {"wide", "mid"},
    "10.1.1.1": {"wide", "mid", "strict"},
    "192.0.2.1": {"far"},
    "172.16.0.1": set[str](),
}

NAMES = ["a.test", "x.a.test", "y.x.a.test", "b.test", "lone", "pod.cluster.local"]
LITERALS = ["93.1.1.1", "93.1.2.1", "93.2.0.1", "2606::1"]
HOSTS: list[Host] = [*map(HostName, NAMES), *map(address, LITERALS)]
PATTERNS = st.sampled_from(
    [
        *(HostPattern(name, Reach.EXACT) for name in NAMES),
        *(HostPattern(name, reach) for name in ("test", "a.test", "x.a.test") for reach in (Reach.BELOW, Reach.CHILD)),
        HostPattern("", Reach.ANY),
    ]
)
NETWORKS = st.sampled_from([network(text) for text in ("93.0.0.0/8", "93.1.0.0/16", "93.1.1.1", "2606::/16", "::/0")])
CLIENTS = st.lists(st.sampled_from([one.name for one in GROUPS]), max_size=2, unique=True).map(tuple)
PORTS = st.sampled_from([(443,), (80, 443), None, ((1, 442),)])
MODES = st.sampled_from([None, None, Mode.REPORT, Mode.ENFORCE])
EXCEPTS = st.one_of(
    st.just(Except()),
    st.builds(
        Except,
        st.lists(PATTERNS, max_size=1).map(tuple),
        st.lists(NETWORKS, max_size=1).map(tuple),
        CLIENTS,
    ),
)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    rules = [
        replace(
            rule(f"r{index}", ports=draw(PORTS)),
            action=draw(st.sampled_from([Action.ALLOW, Action.ALLOW, Action.DENY])),
            hosts=tuple(draw(st.lists(PATTERNS, max_size=3))),
            cidrs=tuple(draw(st.lists(NETWORKS, max_size=2))),
            clients=draw(CLIENTS),
            except_=draw(EXCEPTS),
            mode=draw(MODES),
        )
        for index in range(draw(st.integers(0, 8)))
    ]
    dated = [
        replace(one, expires=draw(st.sampled_from([None, NOW, NOW + 1]))) if one.action is Action.ALLOW else one
        for one in rules
    ]
    return Policy(tuple(dated), GROUPS, draw(st.sampled_from([Mode.ENFORCE, Mode.REPORT])))


@dataclass(frozen=True)
class Attempt:
    """Somebody asking for something."""

    peer: str
    host: Host
    port: int
    known: bool

    @property
    def groups(self) -> set[str]:
        return PEERS[self.peer]


ATTEMPTS = st.builds(
    Attempt,
    st.sampled_from(list(PEERS)),
    st.sampled_from(HOSTS),
    st.sampled_from([80, 443, 444]),
    st.sampled_from([True, True, True, False]),
)

Summary = tuple[Reason | str, str | None, list[str], str | None]
"""What refused or `allow`, the rule, the other allows, the deny set aside (or `no rule`)."""


def naive_verdict(policy: Policy, attempt: Attempt) -> Summary:
    matching = [one for one in policy.rules if naive_matches(one, attempt)]
    denies = sorted((one for one in matching if one.action is Action.DENY), key=lambda one: naive_order(one, attempt))
    hard = [one for one in denies if naive_mode(one, policy, attempt) is Mode.ENFORCE]
    if hard:
        return Reason.DENIED_BY_RULE, hard[0].name, [], None
    aside = denies[0].name if denies else None
    name = attempt.host if isinstance(attempt.host, str) else None
    in_cluster = name is not None and name.endswith(".cluster.local")
    allows = sorted((one for one in matching if one.action is Action.ALLOW), key=lambda one: naive_order(one, attempt))
    if in_cluster or (name is not None and "." not in name):
        allows = [one for one in allows if HostPattern(str(name), Reach.EXACT) in one.hosts]
    if allows:
        others = [one.name for one in allows[1:] if naive_place(one, attempt) == naive_place(allows[0], attempt)]
        return "allow", allows[0].name, others, aside
    if in_cluster:
        return Reason.IN_CLUSTER_NAME, None, [], None
    if naive_mode(None, policy, attempt) is Mode.REPORT:
        return "allow", "report-only", [], aside or "no rule"
    return Reason.NO_RULE, None, [], None


def naive_matches(one: Rule, attempt: Attempt) -> bool:
    return (
        naive_place(one, attempt) is not None
        and any(span.first <= attempt.port <= span.last for span in one.ports)
        and (one.expires is None or one.expires > NOW)
        and naive_speaks_to(one, attempt)
        and not naive_excepts(one, attempt)
    )


def naive_speaks_to(one: Rule, attempt: Attempt) -> bool:
    if not attempt.known and one.clients:
        return one.action is Action.DENY
    return not one.clients or bool(set(one.clients) & attempt.groups)


def naive_excepts(one: Rule, attempt: Attempt) -> bool:
    out = one.except_
    if not attempt.known and out.clients:
        client_out = one.action is Action.ALLOW
    else:
        client_out = bool(set(out.clients) & attempt.groups)
    if isinstance(attempt.host, Address):
        return client_out or any(attempt.host in one_network for one_network in out.cidrs)
    name = attempt.host
    return client_out or any(naive_covers(pattern, name) for pattern in out.hosts)


def naive_place(one: Rule, attempt: Attempt) -> tuple[int, ...] | None:
    """How specific the rule's best destination for this host is, the smallest first; None if none covers it."""
    host = attempt.host
    if isinstance(host, Address):
        return min(((-one_network.length,) for one_network in one.cidrs if host in one_network), default=None)
    return min((naive_rank(pattern) for pattern in one.hosts if naive_covers(pattern, host)), default=None)


def naive_order(one: Rule, attempt: Attempt) -> tuple[object, ...]:
    return naive_place(one, attempt), not one.clients, sum(span.last - span.first + 1 for span in one.ports), one.name


def naive_mode(one: Rule | None, policy: Policy, attempt: Attempt) -> Mode:
    if one is not None and one.mode is not None:
        return one.mode
    if not attempt.known:
        return Mode.ENFORCE  # one group of this policy enforces
    stated = [each.mode for each in policy.groups if each.name in attempt.groups and each.mode is not None]
    if stated:
        return Mode.REPORT if all(mode is Mode.REPORT for mode in stated) else Mode.ENFORCE
    return policy.mode


def indexed_verdict(rules: Rules, attempt: Attempt) -> Summary:
    intent = Intent(Door.CONNECT, Authority(attempt.host, attempt.port))
    decision = decide(Client(address(attempt.peer), known=attempt.known), intent, rules, NOW)
    ruled = decision.rule.name.rpartition("#")[2] if decision.rule is not None else None
    if not isinstance(decision, Permit):
        return decision.reason, ruled, [], None
    aside = decision.would_deny
    noted = None if aside is None else aside.rule.name.rpartition("#")[2] if aside.rule is not None else "no rule"
    return "allow", ruled, [name.rpartition("#")[2] for name in decision.also], noted


Build = Callable[[Policy], Rules]


def check_against_naive(build: Build, phases: Collection[Phase] = tuple(Phase), examples: int = 600) -> None:
    @settings(max_examples=examples, phases=phases)
    @given(policies(), ATTEMPTS)
    def agrees(policy: Policy, attempt: Attempt) -> None:
        assert indexed_verdict(build(policy), attempt) == naive_verdict(policy, attempt)

    agrees()


def built(policy: Policy) -> Rules:
    return build_rules(policy, 1)


def test_the_index_decides_as_a_reading_of_every_rule_does() -> None:
    check_against_naive(built)


def without_exceptions(policy: Policy) -> Rules:
    return built(replace(policy, rules=tuple(replace(one, except_=Except()) for one in policy.rules)))


def without_expiry(policy: Policy) -> Rules:
    return built(replace(policy, rules=tuple(replace(one, expires=None) for one in policy.rules)))


def with_wide_networks_only(policy: Policy) -> Rules:
    rules = [replace(one, cidrs=tuple(_widened(each) for each in one.cidrs)) for one in policy.rules]
    return built(replace(policy, rules=tuple(rules)))


def _widened(one: Network) -> Network:
    return network("93.0.0.0/8") if one.version == 4 else one


@pytest.mark.parametrize("fault", [without_exceptions, without_expiry, with_wide_networks_only])
def test_the_property_notices_a_planted_fault(fault: Build) -> None:
    with pytest.raises(AssertionError):
        check_against_naive(fault, phases=[Phase.generate])


def seconds_for_many_decisions(patterns: int) -> float:
    """The best of several rounds, so that other work on the machine does not count."""
    rules = build_rules(Policy(tuple(rule(f"r{index}", f"*.n{index}.test") for index in range(patterns))), 1)
    intents = [Intent(Door.CONNECT, Authority(HostName(f"a.n{index}.test"), 443)) for index in range(0, patterns, 7)]
    who = Client(address("10.1.1.1"))

    def some_decisions() -> None:
        for intent in islice(cycle(intents), 2000):
            assert isinstance(decide(who, intent, rules, NOW), Permit)

    return min(repeat(some_decisions, number=1, repeat=9))


def test_deciding_does_not_take_longer_among_more_patterns() -> None:
    """A thousand times the patterns; a look-up in a bigger table misses the processor's caches more often."""
    assert seconds_for_many_decisions(20_000) < 5 * seconds_for_many_decisions(20)
