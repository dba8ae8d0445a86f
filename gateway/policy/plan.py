"""A policy as an index that answers in the same time however large the policy is; built once, never changed.

A connection takes one `Rules` and keeps it, so every verdict about it comes from one generation.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from gateway.model.addresses import Address, Network
from gateway.model.authority import Host
from gateway.model.decision import Permit, RuleRef, SniRule, Terms
from gateway.model.intent import Protocol
from gateway.model.names import HostName
from gateway.policy.candidates import Bucket, Candidate, build_bucket, build_candidate, port_bounds
from gateway.policy.groups import GroupIndex
from gateway.policy.hosts import HostTable
from gateway.policy.networks import NetworkTable, network_set
from gateway.policy.rules import Action, AddressPolicy, HostPattern, Mode, Policy, Rule, Tier

K = TypeVar("K", HostPattern, Network)

REMEMBERED = 4096
"""Permits of one generation that are kept; about 0.7 kB each."""

_PROTOCOL_BY_PORT = {443: Protocol.TLS, 80: Protocol.HTTP}

REPORT_ONLY = RuleRef("report-only", "built-in", 0)
"""The rule under which report mode lets pass what no rule allows."""


@dataclass(frozen=True, slots=True, eq=False)
class Destination:
    """The rules that stand at one host pattern or one network."""

    denies: Bucket | None
    allows: Bucket | None


@dataclass(frozen=True, slots=True)
class TierIndex:
    """What one tier says; for teams, one namespace's rules."""

    hosts: HostTable[Destination]
    networks: NetworkTable[Destination]

    def find(self, host: Host) -> list[Destination]:
        """What covers `host`, the most specific first."""
        return self.networks.find(host) if isinstance(host, Address) else self.hosts.find(host)


@dataclass(frozen=True, slots=True)
class AddressTables:
    """The address policy. `listening` are the gateway's own addresses by port; at the ports in `everywhere` any
    loopback address is one as well."""

    allow: NetworkTable[Network]
    deny: NetworkTable[Network]
    listening: Mapping[int, frozenset[Address]]
    everywhere: frozenset[int]


class Permits:
    """Permits that were given lately, by all that they depend on: clients ask for the same again and again.

    Good until the next of `expiries`, the Unix seconds at which rules expire. When full, all are forgotten at once.
    Denials are not kept: a client that is refused chooses names as it likes.
    """

    __slots__ = ("_expired", "_expiries", "_given")

    def __init__(self, expiries: Iterable[float]) -> None:
        self._given: dict[Hashable, Permit] = {}
        self._expiries = sorted(set(expiries))
        self._expired = 0

    def recall(self, asked: Hashable, now: float) -> Permit | None:
        """The permit that the rules would give, if it is known."""
        expired = bisect_right(self._expiries, now)
        if expired != self._expired:
            self._given.clear()
            self._expired = expired
        return self._given.get(asked)

    def keep(self, asked: Hashable, permit: Permit) -> Permit:
        """Remember it; returns it."""
        if len(self._given) >= REMEMBERED:
            self._given.clear()
        self._given[asked] = permit
        return permit


@dataclass(frozen=True, slots=True)
class Rules:
    """One generation. `report_only` is the candidate of the built-in rule of that name."""

    generation: int
    policy: Policy
    default_mode: Mode
    groups: GroupIndex
    platform: TierIndex
    teams: Mapping[str, TierIndex]
    addresses: AddressTables
    report_only: Candidate
    cluster_suffixes: tuple[str, ...]
    permits: Permits

    def tiers(self, namespace: str | None) -> tuple[TierIndex, ...]:
        """The tiers that speak to a client of this namespace, in the order in which they are asked."""
        team = self.teams.get(namespace) if namespace is not None else None
        return (self.platform,) if team is None else (self.platform, team)

    def is_in_cluster(self, name: HostName) -> bool:
        """Whether the name is one of the cluster's domains or below one."""
        return f".{name}".endswith(self.cluster_suffixes)


def build_rules(policy: Policy, generation: int) -> Rules:
    """Index a policy. `generation` counts the policies that this process has taken. Raises ValueError for a rule of
    a team that has no namespace."""
    teams: dict[str, list[tuple[Rule, Candidate]]] = defaultdict(list)
    platform = []
    for rule, candidate in zip(policy.rules, _candidates(policy.rules), strict=True):
        if rule.tier is Tier.PLATFORM:
            platform.append((rule, candidate))
        elif rule.namespace is not None:
            teams[rule.namespace].append((rule, candidate))
        else:
            raise ValueError(f"{rule.ref}: a team rule without a namespace")
    return Rules(
        generation=generation,
        policy=policy,
        default_mode=policy.mode,
        groups=GroupIndex(policy.groups, policy.mode),
        platform=_index_tier(platform),
        teams={namespace: _index_tier(rules) for namespace, rules in teams.items()},
        addresses=_index_addresses(policy.addresses),
        report_only=_report_only(policy),
        cluster_suffixes=tuple(f".{domain}" for domain in policy.cluster.domains),
        permits=Permits(rule.expires for rule in policy.rules if rule.expires is not None),
    )


def _candidates(rules: Iterable[Rule]) -> Iterator[Candidate]:
    interned: dict[tuple[Terms, Protocol | None], tuple[Mapping[int, Terms], Terms]] = {}
    for rule in rules:
        key = rule.terms, rule.protocol
        if key not in interned:
            interned[key] = _terms_by_port(rule.terms, rule.protocol)
        yield build_candidate(rule, *interned[key])


def _terms_by_port(terms: Terms, protocol: Protocol | None) -> tuple[Mapping[int, Terms], Terms]:
    if protocol is not None:
        return {}, replace(terms, protocol=protocol)
    by_port = {port: replace(terms, protocol=usual) for port, usual in _PROTOCOL_BY_PORT.items()}
    return by_port, replace(terms, protocol=Protocol.AUTO)


def _report_only(policy: Policy) -> Candidate:
    """Its first bytes are looked at for the record's sake: `confirm` sets every mismatch aside."""
    terms = Terms(Protocol.AUTO, SniRule.ANY, timeouts=policy.timeouts)
    return build_candidate(Rule(REPORT_ONLY, terms, mode=Mode.REPORT), {}, terms)


def _index_addresses(policy: AddressPolicy) -> AddressTables:
    listening: dict[int, frozenset[Address]] = defaultdict(frozenset)
    everywhere = frozenset(port for address, port in policy.listening if address.value == 0)
    for address, port in policy.listening:
        listening[port] |= policy.own if port in everywhere else {address}
    return AddressTables(network_set(policy.allow), network_set(policy.deny), dict(listening), everywhere)


def _index_tier(rules: Sequence[tuple[Rule, Candidate]]) -> TierIndex:
    hosts: dict[HostPattern, list[Candidate]] = defaultdict(list)
    networks: dict[Network, list[Candidate]] = defaultdict(list)
    for rule, candidate in rules:
        for pattern in set(rule.hosts):
            hosts[pattern].append(candidate)
        for network in set(rule.cidrs):
            networks[network].append(candidate)
    destinations = _Destinations()
    return TierIndex(HostTable(destinations.share(hosts)), NetworkTable(destinations.share(networks)))


class _Destinations:
    """Patterns at which the same rules stand (those of one long list) share what stands there."""

    def __init__(self) -> None:
        self._shared: dict[tuple[Candidate, ...], Destination] = {}

    def share(self, standing: Mapping[K, Sequence[Candidate]]) -> dict[K, Destination]:
        return {key: self._destination(tuple(candidates)) for key, candidates in standing.items()}

    def _destination(self, candidates: tuple[Candidate, ...]) -> Destination:
        if candidates not in self._shared:
            self._shared[candidates] = Destination(
                denies=build_bucket(candidates, Action.DENY), allows=build_bucket(candidates, Action.ALLOW)
            )
        return self._shared[candidates]


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two allow rules for one destination and a common port. `fatal`: for the same clients too, so that nothing says
    which decides; otherwise they differ in groups and in settings, and a client of both groups gets one by rank."""

    first: RuleRef
    second: RuleRef
    destination: HostPattern | Network
    fatal: bool


@dataclass(frozen=True, slots=True)
class _Span:
    """Ports of one rule, `end` excluded."""

    first: int
    end: int
    rule: Rule

    @property
    def clients(self) -> frozenset[str]:
        return frozenset(self.rule.clients)

    @property
    def settings(self) -> tuple[Terms, Protocol | None, Mode | None]:
        return self.rule.terms, self.rule.protocol, self.rule.mode


def find_conflicts(policy: Policy) -> Sequence[Conflict]:
    """Every rule that conflicts with another stands in at least one conflict, no pair of rules in two; in a time that
    grows with the number of destinations, not with the number of pairs."""
    standing: dict[tuple[Tier, str | None, HostPattern | Network], list[Rule]] = defaultdict(list)
    for rule in policy.rules:
        if rule.action is Action.ALLOW:
            destinations: set[HostPattern | Network] = {*rule.hosts, *rule.cidrs}
            for destination in destinations:
                standing[rule.tier, rule.namespace, destination].append(rule)
    found: dict[tuple[RuleRef, RuleRef], Conflict] = {}
    for (_, _, destination), rules in standing.items():
        if len(rules) > 1:
            for first, second, fatal in _collisions(rules):
                pair = first.rule.ref, second.rule.ref
                if pair not in found or (fatal and not found[pair].fatal):
                    found[pair] = Conflict(*pair, destination, fatal)
    return list(found.values())


def _collisions(rules: Sequence[Rule]) -> Iterator[tuple[_Span, _Span, bool]]:
    spans = []
    for rule in rules:
        bounds = port_bounds(rule.ports)
        spans += [_Span(first, end, rule) for first, end in zip(bounds[::2], bounds[1::2], strict=True)]
    spans.sort(key=lambda span: span.first)
    for first, second in _same_clients(spans):
        yield first, second, True
    for first, second in _other_settings([span for span in spans if span.rule.clients]):
        yield first, second, False


def _same_clients(spans: Iterable[_Span]) -> Iterator[tuple[_Span, _Span]]:
    """In the order of their first ports a span meets an earlier one if it meets the one that reaches furthest."""
    furthest: dict[frozenset[str], _Span] = {}
    for span in spans:
        earlier = furthest.get(span.clients)
        if earlier is not None and span.first < earlier.end:
            yield earlier, span
        if earlier is None or span.end > earlier.end:
            furthest[span.clients] = span


def _other_settings(spans: Iterable[_Span]) -> Iterator[tuple[_Span, _Span]]:
    """As above, with the furthest of all (`first`) and the furthest whose settings are not those of `first`."""
    first: _Span | None = None
    second: _Span | None = None
    for span in spans:
        rival = second if first is not None and first.settings == span.settings else first
        if rival is not None and span.first < rival.end and span.clients != rival.clients:
            yield rival, span
        if first is None or span.end > first.end:
            first, second = span, (second if rival is second else first)
        elif rival is first and (second is None or span.end > second.end):
            second = span
