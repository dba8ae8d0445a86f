"""Statements into rules: what lies over each other is joined, so that no two rules claim the same destination.

Sources add up what they allow. With us one rule decides, the most specific one, and two for the same destination,
clients and port are an error: wherever statements overlap, one rule is made that allows what they allow together.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise
from typing import Any, TypeVar
from typing import Protocol as Shape

from gateway.migrate.findings import Findings
from gateway.migrate.grants import USUAL, AddressGrant, Imported, NameGrant, Origin, Refusal, Terms, Who, fresh
from gateway.migrate.patterns import in_common, is_public_suffix, spelled
from gateway.migrate.sets import NO_ADDRESS, AddressSet, Spans, spans
from gateway.model.intent import Protocol
from gateway.policy.rules import HostPattern


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a rule's `hosts`, and where it comes from."""

    pattern: HostPattern
    places: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RuleText:
    """A rule that is to be written. `refusal` is what a deny says; an allow has hosts or addresses."""

    name: str
    who: Who
    ports: Spans
    hosts: tuple[Entry, ...] = ()
    addresses: AddressSet = NO_ADDRESS
    terms: Terms = USUAL
    public_suffix: bool = False
    refusal: Refusal | None = None
    places: tuple[str, ...] = ()


class _Ported(Shape):
    @property
    def ports(self) -> Spans: ...

    @property
    def origin(self) -> Origin: ...


G = TypeVar("G", bound=_Ported)


def rules_of(imported: Imported) -> list[RuleText]:
    """Denies, then names, then addresses."""
    made = [_deny(refusal) for refusal in imported.refusals]
    made += _names(imported.names, imported.findings)
    made += _addresses(imported.addresses)
    taken: set[str] = set()
    named = []
    for rule in made:
        name = fresh(rule.name, taken)
        taken.add(name)
        named.append(replace(rule, name=name))
    return named


def _deny(refusal: Refusal) -> RuleText:
    place = (refusal.origin.place,)
    hosts = tuple(Entry(pattern, place) for pattern in refusal.patterns)
    suffix = any(map(is_public_suffix, refusal.patterns))
    return RuleText(
        refusal.origin.name, refusal.who, refusal.ports, hosts, refusal.addresses,
        public_suffix=suffix, refusal=refusal, places=place,
    )  # fmt: skip


def _names(grants: Iterable[NameGrant], findings: Findings) -> Iterator[RuleText]:
    at: dict[tuple[Who, HostPattern], list[NameGrant]] = defaultdict(list)
    for grant in grants:
        at[grant.who, grant.pattern].append(grant)
    shared: dict[tuple[Any, ...], list[tuple[Entry, str]]] = defaultdict(list)
    for (who, pattern), together in at.items():
        for ports, terms, origins in _apart(together, _joined_terms):
            entry = Entry(pattern, tuple(dict.fromkeys(origin.place for origin in origins)))
            shared[who, ports, terms, is_public_suffix(pattern)].append((entry, origins[0].name))
    for (who, ports, terms, suffix), entries in shared.items():
        if suffix:
            for entry, _ in entries:
                findings.note(entry.places[0], f"{spelled(entry.pattern)} covers names of many owners")
        hosts = tuple(entry for entry, _ in entries)
        yield RuleText(entries[0][1], who, ports, hosts, terms=terms, public_suffix=suffix)


def _addresses(grants: Iterable[AddressGrant]) -> Iterator[RuleText]:
    """What `tcp` opens is left to it; the sets of the rules of one group are then apart at every port."""
    at: dict[Who, list[AddressGrant]] = defaultdict(list)
    for grant in grants:
        at[grant.who].append(grant)
    for who, together in at.items():
        for ports, opened, origins in _apart(together, _joined_addresses):
            places = tuple(dict.fromkeys(origin.place for origin in origins))
            for protocol, addresses in opened:
                if addresses:
                    terms = Terms(protocol)
                    yield RuleText(origins[0].name, who, ports, addresses=addresses, terms=terms, places=places)


J = TypeVar("J")


def _apart(grants: Sequence[G], join: Callable[[Sequence[G]], J]) -> Iterator[tuple[Spans, J, list[Origin]]]:
    """Port by port what the grants say together; ports at which they say the same are told as one."""
    edges = sorted({edge for grant in grants for first, last in grant.ports.ranges for edge in (first, last + 1)})
    found: dict[tuple[J, tuple[Origin, ...]], list[tuple[int, int]]] = defaultdict(list)
    for first, end in pairwise(edges):
        there = [grant for grant in grants if first in grant.ports]
        if there:
            found[join(there), tuple(dict.fromkeys(grant.origin for grant in there))].append((first, end - 1))
    alike: dict[J, tuple[list[tuple[int, int]], list[Origin]]] = {}
    for (joined, origins), ranges in found.items():
        known = alike.setdefault(joined, ([], []))
        known[0].extend(ranges)
        known[1].extend(origin for origin in origins if origin not in known[1])
    for joined, (ranges, where) in alike.items():
        yield spans(ranges), joined, where


def _joined_terms(grants: Sequence[NameGrant]) -> Terms:
    return reduce(_either, (grant.terms for grant in grants))


def _either(one: Terms, other: Terms) -> Terms:
    """What is allowed under one or the other. What one of them inspects is inspected."""
    from_anywhere = one.within is None or other.within is None
    return Terms(
        protocol=_wider(one.protocol, other.protocol),
        within=None if from_anywhere else (one.within or NO_ADDRESS) | (other.within or NO_ADDRESS),
        private=one.private | other.private,
        but=in_common(one.but, other.but),
        inspected=one.inspected or other.inspected,
    )


def _wider(one: Protocol | None, other: Protocol | None) -> Protocol | None:
    """What takes the first bytes of both; None is what the port says."""
    if one is other:
        return one
    return Protocol.TCP if Protocol.TCP in (one, other) else Protocol.AUTO


def _joined_addresses(grants: Sequence[AddressGrant]) -> tuple[tuple[Protocol | None, AddressSet], ...]:
    looked_at, not_looked_at = NO_ADDRESS, NO_ADDRESS
    protocols = {grant.protocol for grant in grants} - {Protocol.TCP}
    for grant in grants:
        if grant.protocol is Protocol.TCP:
            not_looked_at |= grant.addresses
        else:
            looked_at |= grant.addresses
    usual = protocols.pop() if len(protocols) == 1 else Protocol.AUTO
    return (usual, looked_at - not_looked_at), (Protocol.TCP, not_looked_at)
