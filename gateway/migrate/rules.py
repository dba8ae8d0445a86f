"""Makes rules of statements: overlapping ones are joined, so that no two rules apply to the same destination.

In sources several allows add up. With us one rule decides, the most specific one, and two for the same destination,
clients and port are an error: wherever statements overlap, one rule is made that allows what they allow together.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import Protocol as Shape
from typing import TypeVar

from gateway.migrate.findings import Findings
from gateway.migrate.grants import USUAL, AddressGrant, Imported, NameGrant, Origin, Refusal, Terms, Who, fresh
from gateway.migrate.patterns import in_common, is_public_suffix, spelled
from gateway.migrate.sets import NO_ADDRESS, AddressSet, Spans, spans, union
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


@dataclass(frozen=True, slots=True)
class _Claim:
    """Under which conditions something may be reached: by everyone of a rule's groups but these, and the rest."""

    but: _Groups
    terms: Terms

    @property
    def sides(self) -> tuple[object, ...]:
        """The parts of a claim that narrow it."""
        return self.but, self.terms.protocol, self.terms.within, self.terms.but

    @property
    def elsewhere(self) -> tuple[object, ...]:
        """Every part but `within`."""
        return self.but, replace(self.terms, within=None)


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
    made += _addresses(imported.addresses, imported.findings)
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
    shared: dict[tuple[_Groups, Spans, _Claim, bool], list[tuple[Entry, str]]] = defaultdict(list)
    for (groups, pattern), together in at.items():
        for ports, claim, origins in _apart(together, lambda there: _joined_names(there, findings)):
            entry = Entry(pattern, tuple(dict.fromkeys(origin.place for origin in origins)))
            shared[groups, ports, claim, is_public_suffix(pattern)].append((entry, origins[0].name))
    for (groups, ports, claim, suffix), entries in shared.items():
        if suffix:
            for entry, _ in entries:
                findings.note(entry.places[0], f"{spelled(entry.pattern)} covers names of many owners")
        hosts = tuple(entry for entry, _ in entries)
        who = Who(groups, claim.but)
        yield RuleText(entries[0][1], who, ports, hosts, terms=claim.terms, public_suffix=suffix)


def _addresses(grants: Iterable[AddressGrant], findings: Findings) -> Iterator[RuleText]:
    at: dict[_Groups, list[AddressGrant]] = defaultdict(list)
    for grant in grants:
        at[grant.who.groups].append(grant)
    for groups, together in at.items():
        for ports, opened, origins in _apart(together, lambda there: _joined_addresses(there, findings)):
            places = tuple(dict.fromkeys(origin.place for origin in origins))
            for claim, addresses in opened:
                who = Who(groups, claim.but)
                yield RuleText(origins[0].name, who, ports, addresses=addresses, terms=claim.terms, places=places)


J = TypeVar("J")


def _apart(grants: Sequence[G], join: Callable[[Sequence[G]], J]) -> Iterator[tuple[Spans, J, list[Origin]]]:
    """What the grants allow together at each port; ports at which that is the same are joined."""
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


def _joined_names(grants: Sequence[NameGrant], findings: Findings) -> _Claim:
    """Those that differ in `within` alone, such as long lists of networks, are joined at once."""
    joined, waiting = _Claim(grants[0].who.but, grants[0].terms), list[AddressSet]()
    for grant in grants[1:]:
        claim = _Claim(grant.who.but, grant.terms)
        within = claim.terms.within
        if within is not None and joined.terms.within is not None and joined.elsewhere == claim.elsewhere:
            waiting.append(within)
        else:
            joined = _either(_also_within(joined, waiting), claim, grant.origin, findings)
            waiting = []
    return _also_within(joined, waiting)


def _also_within(claim: _Claim, further: Sequence[AddressSet]) -> _Claim:
    if not further:
        return claim
    within = union((claim.terms.within or NO_ADDRESS, *further))
    return _Claim(claim.but, replace(claim.terms, within=within))


def _joined_addresses(grants: Sequence[AddressGrant], findings: Findings) -> tuple[tuple[_Claim, AddressSet], ...]:
    """Disjoint sets, each with the terms that hold for all of it."""
    made: dict[_Claim, AddressSet] = {}
    for claim, alike in groupby(grants, lambda grant: _Claim(grant.who.but, Terms(grant.protocol))):
        together = tuple(alike)
        rest = union(grant.addresses for grant in together)
        for known in [each for each in made if each != claim]:
            both = made[known] & rest
            joined = known
            for origin in [grant.origin for grant in together if grant.addresses & both]:
                joined = _either(known, claim, origin, findings)  # the same each time; each place is told
            made[known] -= both
            made[joined] = made.get(joined, NO_ADDRESS) | both
            rest -= both
        made[claim] = made.get(claim, NO_ADDRESS) | rest
    return tuple((claim, addresses) for claim, addresses in made.items() if addresses)


def _either(one: _Claim, other: _Claim, origin: Origin, findings: Findings) -> _Claim:
    """What is allowed under one or the other. Merging each part would allow too much, unless one contains the other or
    they differ in one part only; else the first one stays."""
    terms, others = one.terms, other.terms
    from_anywhere = terms.within is None or others.within is None
    joined = _Claim(
        _spared(one.but, other.but),
        Terms(
            protocol=_wider(terms.protocol, others.protocol),
            within=None if from_anywhere else (terms.within or NO_ADDRESS) | (others.within or NO_ADDRESS),
            private=terms.private | others.private,
            but=in_common(terms.but, others.but),
            inspected=terms.inspected or others.inspected,
        ),
    )
    differing = sum(mine != theirs for mine, theirs in zip(one.sides, other.sides, strict=True))
    if differing > 1 and joined.sides not in (one.sides, other.sides):
        findings.left_out(
            origin.place, "what it allows beside another statement for the same destination is no one rule"
        )
        return one
    return joined


def _wider(one: Protocol | None, other: Protocol | None) -> Protocol | None:
    """The protocol that covers both; None is the port's default."""
    if one is other:
        return one
    return Protocol.TCP if Protocol.TCP in (one, other) else Protocol.AUTO


def _spared(one: _Groups, other: _Groups) -> _Groups:
    """The groups excluded by both statements; where that is no list of groups, all that one of them excludes: better
    too few."""
    if set(one) <= set(other) or set(other) <= set(one):
        return min(one, other, key=len)
    return tuple(dict.fromkeys((*one, *other)))
