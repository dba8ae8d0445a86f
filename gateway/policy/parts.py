"""A policy cut into parts, so that a serving process can take over a huge one in small steps: see `plan.Assembly`.

A part holds at most a slice of entries, refers to rules and destinations by their numbers, and can be pickled. Long
lists whose entries all have the same rules are packed (`tables.packed`).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import islice
from typing import TypeVar

from gateway.model.addresses import Network, Version
from gateway.policy.rules import ANY_HOST, Group, HostPattern, Policy, Reach, Rule, Tier
from gateway.policy.tables import hosts as host_table
from gateway.policy.tables import networks as network_table
from gateway.policy.tables.packed import PackedPiece, pack

T = TypeVar("T")
K = TypeVar("K", HostPattern, Network)

# Entries of one slice of each kind: what takes about a millisecond to take over.
GROUPS = 40
RULES = 40
DESTINATIONS = 100
ENTRIES = 500
PACKED_FROM = 1000
"""Entries with the same rules that are worth packing."""


class PackedKind(StrEnum):
    """What a packed table holds."""

    HOSTS = "hosts"
    NETWORKS = "networks"


@dataclass(frozen=True, slots=True)
class TierOutline:
    """A tier and what of it is packed. `namespace` is the team's, None for the platform's tier."""

    namespace: str | None
    packed_hosts: bool
    packed_networks: tuple[tuple[Version, int], ...]


@dataclass(frozen=True, slots=True)
class Outline:
    """The first part. `policy` lacks its rules and groups; `secret` is that of the packed tables."""

    policy: Policy
    secret: bytes
    tiers: tuple[TierOutline, ...]


@dataclass(frozen=True, slots=True)
class GroupSlice:
    """Groups of clients."""

    groups: Sequence[Group]


@dataclass(frozen=True, slots=True)
class RuleSlice:
    """Rules without `hosts` and `cidrs`; `names_exactly` as in `Candidate`."""

    rules: Sequence[Rule]
    names_exactly: Sequence[bool]


@dataclass(frozen=True, slots=True)
class DestinationSlice:
    """For each destination the numbers of its rules."""

    standing: Sequence[tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class HostSlice:
    """Patterns of one reach, each with the number of its destination."""

    namespace: str | None
    reach: Reach
    names: Sequence[str]
    destinations: Sequence[int]


@dataclass(frozen=True, slots=True)
class NetworkSlice:
    """Networks, each with the number of its destination."""

    namespace: str | None
    networks: Sequence[Network]
    destinations: Sequence[int]


@dataclass(frozen=True, slots=True)
class PackedSlice:
    """A piece of a packed table, whose values are numbers of destinations."""

    namespace: str | None
    kind: PackedKind
    piece: PackedPiece


Part = Outline | GroupSlice | RuleSlice | DestinationSlice | HostSlice | NetworkSlice | PackedSlice


@dataclass(slots=True)
class _Standing:
    """Which rules stand where in one tier, by their numbers."""

    hosts: dict[HostPattern, tuple[int, ...]] = field(default_factory=dict)
    networks: dict[Network, tuple[int, ...]] = field(default_factory=dict)


def parts_of(policy: Policy, secret: bytes) -> Iterator[Part]:
    """All parts, in the order in which they are to be taken. `secret` is random. Raises ValueError for a team's rule
    without a namespace."""
    tiers = _standing(policy.rules)
    counted = Counter[tuple[int, ...]]()
    for tier in tiers.values():
        counted.update(tier.hosts.values())
        counted.update(tier.networks.values())
    numbers = {standing: number for number, standing in enumerate(counted)}
    packed = frozenset(standing for standing, count in counted.items() if count >= PACKED_FROM)
    yield Outline(
        replace(policy, rules=(), groups=()),
        secret,
        tuple(_outline(name, tier, packed) for name, tier in tiers.items()),
    )
    yield from map(GroupSlice, _slices(policy.groups, GROUPS))
    for rules in _slices(policy.rules, RULES):
        bare = [replace(rule, hosts=(), cidrs=()) for rule in rules]
        yield RuleSlice(bare, [_names_exactly(rule) for rule in rules])
    for standing in _slices(numbers, DESTINATIONS):
        yield DestinationSlice(standing)
    for namespace, tier in tiers.items():
        cutter = _Cutter(namespace, numbers, packed, secret)
        yield from cutter.hosts(tier.hosts)
        yield from cutter.networks(tier.networks)


def _standing(rules: Iterable[Rule]) -> Mapping[str | None, _Standing]:
    tiers: dict[str | None, _Standing] = {None: _Standing()}
    for number, rule in enumerate(rules):
        if rule.tier is Tier.TEAM and rule.namespace is None:
            raise ValueError(f"{rule.ref}: a team rule without a namespace")
        tier = tiers.setdefault(rule.namespace if rule.tier is Tier.TEAM else None, _Standing())
        _stand(number, rule.hosts, tier.hosts)
        _stand(number, rule.cidrs, tier.networks)
    return tiers


def _stand(number: int, keys: Iterable[K], standing: dict[K, tuple[int, ...]]) -> None:
    alone = (number,)  # shared by all entries of a list
    for key in keys:
        before: tuple[int, ...] = standing.setdefault(key, alone)
        if before[-1] != number:
            standing[key] = (*before, number)


def _outline(namespace: str | None, tier: _Standing, packed: frozenset[tuple[int, ...]]) -> TierOutline:
    has_hosts = any(standing in packed and key != ANY_HOST for key, standing in tier.hosts.items())
    lengths = {(key.version, key.length) for key, standing in tier.networks.items() if standing in packed}
    return TierOutline(namespace, has_hosts, tuple(sorted(lengths)))


@dataclass(frozen=True, slots=True)
class _Cutter:
    """Cuts one tier. `numbers` are those of destinations, by their rules; those in `packed` have long lists."""

    namespace: str | None
    numbers: Mapping[tuple[int, ...], int]
    packed: frozenset[tuple[int, ...]]
    secret: bytes

    def hosts(self, standing: Mapping[HostPattern, tuple[int, ...]]) -> Iterator[Part]:
        plain, listed = self._split(standing)
        if ANY_HOST in listed:  # it has no name, and so no key in a packed table
            plain[ANY_HOST] = listed.pop(ANY_HOST)
        for reach in Reach:
            reaching = ((key.name, rules) for key, rules in plain.items() if key.reach is reach)
            for some in _slices(reaching, ENTRIES):
                yield HostSlice(self.namespace, reach, *self._columns(some))
        yield from self._pack(PackedKind.HOSTS, listed, host_table.packed_key)

    def networks(self, standing: Mapping[Network, tuple[int, ...]]) -> Iterator[Part]:
        plain, listed = self._split(standing)
        for some in _slices(plain.items(), ENTRIES):
            yield NetworkSlice(self.namespace, *self._columns(some))
        yield from self._pack(PackedKind.NETWORKS, listed, network_table.packed_key)

    def _split(
        self, standing: Mapping[K, tuple[int, ...]]
    ) -> tuple[dict[K, tuple[int, ...]], dict[K, tuple[int, ...]]]:
        """The entries by themselves, and those of long lists."""
        plain: dict[K, tuple[int, ...]] = {}
        listed: dict[K, tuple[int, ...]] = {}
        for key, rules in standing.items():
            (listed if rules in self.packed else plain)[key] = rules
        return plain, listed

    def _pack(
        self, kind: PackedKind, listed: Mapping[K, tuple[int, ...]], packed_key: Callable[[K], bytes]
    ) -> Iterator[Part]:
        entries = ((packed_key(key), self.numbers[rules]) for key, rules in listed.items())
        for piece in pack(len(listed), entries, self.secret):
            yield PackedSlice(self.namespace, kind, piece)

    def _columns(self, entries: Sequence[tuple[T, tuple[int, ...]]]) -> tuple[Sequence[T], Sequence[int]]:
        return [key for key, _ in entries], [self.numbers[rules] for _, rules in entries]


def _names_exactly(rule: Rule) -> bool:
    return bool(rule.hosts) and all(pattern.reach is Reach.EXACT for pattern in rule.hosts)


def _slices(entries: Iterable[T], size: int) -> Iterator[Sequence[T]]:
    remaining = iter(entries)
    while some := tuple(islice(remaining, size)):
        yield some
