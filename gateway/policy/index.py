"""A policy as an index, whose answers take the same time however large it is; built once, never changed. A connection
takes one `Rules` and keeps it, so that every verdict about it comes from one generation."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from gateway.model.addresses import Address, Network
from gateway.model.authority import Host
from gateway.model.decision import Deny, Permit, RuleRef, SniRule, Terms
from gateway.model.intent import Protocol
from gateway.model.names import HostName
from gateway.policy.candidates import Candidate, CandidateSet, build_candidate, build_set
from gateway.policy.groups import GroupIndex
from gateway.policy.parts import (
    DestinationSlice,
    GroupSlice,
    HostSlice,
    NetworkSlice,
    Outline,
    PackedKind,
    PackedSlice,
    Part,
    RuleSlice,
    parts_of,
)
from gateway.policy.rules import Action, AddressPolicy, Mode, Policy, Rule
from gateway.policy.tables.divided import SLICE
from gateway.policy.tables.hosts import HostTable
from gateway.policy.tables.networks import NetworkTable, network_set
from gateway.policy.tables.packed import Packed, PackedTable

MOST_PERMITS = 4096
"""Permits that a generation remembers, of about 0.7 kB each."""
MOST_DENIALS = 1024
"""Denials, likewise, of about 1 kB each with the longest names."""

_PROTOCOL_BY_PORT = {443: Protocol.TLS, 80: Protocol.HTTP}

REPORT_ONLY = RuleRef("report-only", "built-in", 0)
"""The built-in rule under which report mode lets pass what no rule allows."""


@dataclass(frozen=True, slots=True, eq=False)
class Destination:
    """The rules that stand at one host pattern or one network."""

    denies: CandidateSet | None
    allows: CandidateSet | None


@dataclass(frozen=True, slots=True)
class TierIndex:
    """The index of one tier; for teams, one namespace's rules."""

    hosts: HostTable[Destination]
    networks: NetworkTable[Destination]

    def find(self, host: Host) -> list[Destination]:
        """What covers `host`, the most specific first."""
        return self.networks.find(host) if isinstance(host, Address) else self.hosts.find(host)


@dataclass(frozen=True, slots=True)
class AddressTables:
    """The address policy. `listening` are the addresses at which the gateway listens, by port; at the ports in
    `everywhere` it listens at every loopback address as well."""

    allow: NetworkTable[Network]
    deny: NetworkTable[Network]
    listening: Mapping[int, frozenset[Address]]
    everywhere: frozenset[int]


class Decisions:
    """Recent decisions, by all that they depend on: clients ask for the same again and again. They hold until the next
    of `expiries`, the Unix seconds at which rules expire. If there are too many, all permits or all denials are
    forgotten; they are kept apart, as a client that is refused chooses names freely and must not evict permits.
    Decisions refer to their rules, and so back here: until this is `closed` they keep the generation alive."""

    __slots__ = ("_denied", "_expired", "_expiries", "_permitted", "closed")

    def __init__(self, expiries: Iterable[float]) -> None:
        self.closed = False
        self._permitted: dict[Hashable, Permit] = {}
        self._denied: dict[Hashable, Deny] = {}
        self._expiries = sorted(set(expiries))
        self._expired = 0

    def recall(self, question: Hashable, now: float) -> Permit | Deny | None:
        """The remembered decision, if there is one."""
        expired = bisect_right(self._expiries, now)
        if expired != self._expired:
            self._forget()
            self._expired = expired
        return self._permitted.get(question) or self._denied.get(question)

    def keep(self, question: Hashable, decision: Permit | Deny) -> Permit | Deny:
        """Remember the decision, and return it."""
        if not self.closed:
            if isinstance(decision, Permit):
                _put(self._permitted, question, decision, MOST_PERMITS)
            else:
                _put(self._denied, question, decision, MOST_DENIALS)
        return decision

    def close(self) -> None:
        """Forget all, and remember nothing from now on."""
        self.closed = True
        self._forget()

    def _forget(self) -> None:
        self._permitted.clear()
        self._denied.clear()


D = TypeVar("D")


def _put(kept: dict[Hashable, D], question: Hashable, decision: D, most: int) -> None:
    if len(kept) >= most:
        kept.clear()
    kept[question] = decision


class TakenDown(RuntimeError):
    """Rules were asked that are taken down: a fault of ours, which must let nothing pass."""


@dataclass(frozen=True, slots=True)
class Rules:
    """One generation. `report_only` is the candidate of the built-in rule of that name. `policy` has its rules and
    groups only if it was indexed in one piece; `candidates` are all rules, in the order of the files."""

    generation: int
    policy: Policy
    groups: GroupIndex
    platform: TierIndex
    teams: Mapping[str, TierIndex]
    addresses: AddressTables
    report_only: Candidate
    cluster_suffixes: tuple[str, ...]
    decisions: Decisions
    candidates: list[Candidate]

    def tiers(self, namespace: str | None) -> tuple[TierIndex, ...]:
        """The tiers that apply to a client of this namespace, in the order in which they are asked. Raises `TakenDown`
        after `take_down`: an index that is half empty lacks denies."""
        if self.decisions.closed:
            raise TakenDown(f"generation {self.generation}")
        team = self.teams.get(namespace) if namespace is not None else None
        return (self.platform,) if team is None else (self.platform, team)

    def is_in_cluster(self, name: HostName) -> bool:
        """Whether the name is one of the cluster's domains or below one."""
        return f".{name}".endswith(self.cluster_suffixes)

    def take_down(self) -> Iterator[None]:
        """Free it in slices, one before each yield. For rules by which nothing is decided any more: an open tunnel
        holds those that it was opened under, and would keep all of them alive for as long as it lives."""
        self.decisions.close()
        for tier in (self.platform, *self.teams.values()):
            yield from tier.hosts.take_down()
            yield from tier.networks.take_down()
        yield from self.groups.take_down()
        while self.candidates:
            del self.candidates[-SLICE:]
            yield


def build_rules(policy: Policy, generation: int, secret: bytes = bytes(16)) -> Rules:
    """Index a policy in one piece. `generation` counts the policies that this process has taken; `secret` is as in
    `parts_of`. Raises ValueError for a team's rule without a namespace."""
    assembly = Assembly(generation)
    for part in parts_of(policy, secret):
        assembly.take(part)
    return replace(assembly.finish(), policy=policy)


class Assembly:
    """Puts one generation together from the parts of its policy, each taken in about a millisecond.

    A process that serves meanwhile takes one part in each turn of its loop.
    """

    def __init__(self, generation: int) -> None:
        self._generation = generation
        self._policy: Policy | None = None
        self._groups = GroupIndex((), Mode.ENFORCE)
        self._candidates: list[Candidate] = []
        self._destinations: list[Destination] = []
        self._expiries: set[float] = set()
        self._interned: dict[tuple[Terms, Protocol | None], tuple[Mapping[int, Terms], Terms]] = {}
        self._tiers: dict[str | None, TierIndex] = {}
        self._packed: dict[tuple[str | None, PackedKind], PackedTable] = {}

    def take(self, part: Part) -> None:
        """The next part, in the order of `parts_of`."""
        match part:
            case Outline():
                self._open(part)
            case GroupSlice():
                self._groups.add(part.groups)
            case RuleSlice():
                self._candidates += map(self._candidate, part.rules, part.names_exactly)
            case DestinationSlice():
                self._destinations += map(self._destination, part.standing)
            case HostSlice():
                hosts = self._tiers[part.namespace].hosts
                for name, number in zip(part.names, part.destinations, strict=True):
                    hosts.add(part.reach, name, self._destinations[number])
            case NetworkSlice():
                networks = self._tiers[part.namespace].networks
                for network, number in zip(part.networks, part.destinations, strict=True):
                    networks.add(network, self._destinations[number])
            case PackedSlice():
                self._packed[part.namespace, part.kind].append(part.piece)

    def finish(self) -> Rules:
        """The generation, once every part was taken. Raises ValueError if the first one is missing."""
        policy = self._policy
        if policy is None:
            raise ValueError("there is no outline")
        return Rules(
            generation=self._generation,
            policy=policy,
            groups=self._groups,
            platform=self._tiers.pop(None),
            teams={namespace: tier for namespace, tier in self._tiers.items() if namespace is not None},
            addresses=_index_addresses(policy.addresses),
            report_only=_report_only(policy),
            cluster_suffixes=tuple(f".{domain}" for domain in policy.cluster.domains),
            decisions=Decisions(self._expiries),
            candidates=self._candidates,
        )

    def _open(self, outline: Outline) -> None:
        self._policy = outline.policy
        self._groups = GroupIndex((), outline.policy.mode)
        for tier in outline.tiers:
            hosts, networks = tier.packed_hosts, tier.packed_networks
            self._tiers[tier.namespace] = TierIndex(
                HostTable(packed=self._pack(tier.namespace, PackedKind.HOSTS, outline.secret) if hosts else None),
                NetworkTable(
                    packed=self._pack(tier.namespace, PackedKind.NETWORKS, outline.secret) if networks else None,
                    packed_lengths=networks,
                ),
            )

    def _pack(self, namespace: str | None, kind: PackedKind, secret: bytes) -> Packed[Destination]:
        table = self._packed[namespace, kind] = PackedTable(secret)
        return Packed(table, self._destinations)

    def _candidate(self, rule: Rule, names_exactly: bool) -> Candidate:
        key = rule.terms, rule.protocol
        if key not in self._interned:
            self._interned[key] = _terms_by_port(rule.terms, rule.protocol)
        if rule.expires is not None:
            self._expiries.add(rule.expires)
        return build_candidate(rule, names_exactly, *self._interned[key])

    def _destination(self, standing: Iterable[int]) -> Destination:
        candidates = [self._candidates[number] for number in standing]
        return Destination(build_set(candidates, Action.DENY), build_set(candidates, Action.ALLOW))


def _terms_by_port(terms: Terms, protocol: Protocol | None) -> tuple[Mapping[int, Terms], Terms]:
    if protocol is not None:
        return {}, replace(terms, protocol=protocol)
    by_port = {port: replace(terms, protocol=usual) for port, usual in _PROTOCOL_BY_PORT.items()}
    return by_port, replace(terms, protocol=Protocol.AUTO)


def _report_only(policy: Policy) -> Candidate:
    """First bytes are looked at only for the record: `confirm` sets every mismatch aside."""
    terms = Terms(Protocol.AUTO, SniRule.ANY, timeouts=policy.timeouts)
    return build_candidate(Rule(REPORT_ONLY, terms, mode=Mode.REPORT), False, {}, terms)


def _index_addresses(policy: AddressPolicy) -> AddressTables:
    listening: dict[int, frozenset[Address]] = defaultdict(frozenset)
    everywhere = frozenset(port for address, port in policy.listening if address.value == 0)
    for address, port in policy.listening:
        listening[port] |= policy.own if port in everywhere else {address}
    return AddressTables(network_set(policy.allow), network_set(policy.deny), dict(listening), everywhere)
