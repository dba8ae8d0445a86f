"""Statements into rules: what lies over each other is joined, so that no two rules claim the same destination.

Sources add up what they allow. With us one rule decides, the most specific one, and two for the same destination,
clients and port are an error: wherever statements overlap, one rule is made that allows what they allow together.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise
from operator import or_
from typing import Protocol as Shape
from typing import TypeVar

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


_Groups = tuple[str, ...]


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
    at: dict[tuple[_Groups, HostPattern], list[NameGrant]] = defaultdict(list)
    for grant in grants:
        at[grant.who.groups, grant.pattern].append(grant)
    shared: dict[tuple[Who, Spans, Terms, bool], list[tuple[Entry, str]]] = defaultdict(list)
    for (groups, pattern), together in at.items():
        for ports, (but, terms), origins in _apart(together, _joined_names):
            entry = Entry(pattern, tuple(dict.fromkeys(origin.place for origin in origins)))
            shared[Who(groups, but), ports, terms, is_public_suffix(pattern)].append((entry, origins[0].name))
    for (who, ports, terms, suffix), entries in shared.items():
        if suffix:
            for entry, _ in entries:
                findings.note(entry.places[0], f"{spelled(entry.pattern)} covers names of many owners")
        hosts = tuple(entry for entry, _ in entries)
        yield RuleText(entries[0][1], who, ports, hosts, terms=terms, public_suffix=suffix)


def _addresses(grants: Iterable[AddressGrant]) -> Iterator[RuleText]:
    at: dict[_Groups, list[AddressGrant]] = defaultdict(list)
    for grant in grants:
        at[grant.who.groups].append(grant)
    for groups, together in at.items():
        for ports, opened, origins in _apart(together, _joined_addresses):
            places = tuple(dict.fromkeys(origin.place for origin in origins))
            for but, protocol, addresses in opened:
                who, terms = Who(groups, but), Terms(protocol)
                yield RuleText(origins[0].name, who, ports, addresses=addresses, terms=terms, places=places)


J = TypeVar("J")


def _apart(grants: Sequence[G], join: Callable[[Sequence[G]], J]) -> Iterator[tuple[Spans, J, list[Origin]]]:
    """Port by port what the grants say together; ports at which they say the same are told as one."""
    edges = sorted({edge for grant in grants for first, last in grant.ports.ranges for edge in (first, last + 1)})
    found: dict[J, tuple[list[tuple[int, int]], set[Origin]]] = {}
    for first, end in pairwise(edges):
        there = [grant for grant in grants if first in grant.ports]
        if there:
            ranges, origins = found.setdefault(join(there), ([], set()))
            ranges.append((first, end - 1))
            origins.update(grant.origin for grant in there)
    in_order = list(dict.fromkeys(grant.origin for grant in grants))
    for joined, (ranges, origins) in found.items():
        yield spans(ranges), joined, [origin for origin in in_order if origin in origins]


def _joined_names(grants: Sequence[NameGrant]) -> tuple[_Groups, Terms]:
    but = reduce(_spared, (grant.who.but for grant in grants))
    return but, reduce(_either, (grant.terms for grant in grants))


def _spared(one: _Groups, other: _Groups) -> _Groups:
    """The groups that neither of two statements speaks of; where that is no list of groups, all that one of them leaves
    out: rather fewer may."""
    if set(one) <= set(other) or set(other) <= set(one):
        return min(one, other, key=len)
    return tuple(dict.fromkeys((*one, *other)))


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


def _joined_addresses(grants: Sequence[AddressGrant]) -> tuple[tuple[_Groups, Protocol | None, AddressSet], ...]:
    """Sets that are apart: those of who is spared by fewest first, and of these what is not looked at."""
    taken, made = NO_ADDRESS, []
    looks = {grant.protocol for grant in grants} - {Protocol.TCP}
    usual = looks.pop() if len(looks) == 1 else Protocol.AUTO
    for but in sorted({grant.who.but for grant in grants}, key=len):
        for is_tcp in (True, False):
            mine = [g.addresses for g in grants if g.who.but == but and (g.protocol is Protocol.TCP) is is_tcp]
            left = reduce(or_, mine, NO_ADDRESS) - taken
            if left:
                made.append((but, Protocol.TCP if is_tcp else usual, left))
            taken |= left
    return tuple(made)
