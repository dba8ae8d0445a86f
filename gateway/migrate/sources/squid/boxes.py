"""Products of sets: who, which names, which addresses, which ports, tunnels or requests.

The first line of squid.conf that matches decides. What a line decides is what it covers without all that lines before
it cover, and the difference of boxes is boxes again: so order is kept exactly.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from gateway.migrate.patterns import ANYTHING, Patterns, in_common, is_covered, least
from gateway.migrate.sets import EVERY_ADDRESS, EVERY_PORT, AddressSet, Spans

TUNNEL, REQUEST = "CONNECT", "other"
_EVERY_METHOD = frozenset({TUNNEL, REQUEST})


@dataclass(frozen=True, slots=True)
class Users:
    """Names of Basic users; "" is a client without one. `all_but` negates the set."""

    names: frozenset[str] = frozenset()
    all_but: bool = True

    def __bool__(self) -> bool:
        return self.all_but or bool(self.names)

    def __and__(self, other: "Users") -> "Users":
        if self.all_but and other.all_but:
            return Users(self.names | other.names)
        if self.all_but:
            return Users(other.names - self.names, all_but=False)
        return Users(self.names - other.names if other.all_but else self.names & other.names, all_but=False)

    def __sub__(self, other: "Users") -> "Users":
        return self & Users(other.names, not other.all_but)


@dataclass(frozen=True, slots=True)
class Names:
    """Host names: these patterns without those."""

    patterns: Patterns = ANYTHING
    but: Patterns = ()

    def __bool__(self) -> bool:
        but = frozenset(self.but)
        return any(not is_covered(pattern, but) for pattern in self.patterns)

    def __and__(self, other: "Names") -> "Names":
        return Names(in_common(self.patterns, other.patterns), least((*self.but, *other.but)))

    def without(self, other: "Names") -> Iterator["Names"]:
        """What is not in the other: outside of its patterns, or inside of what it does not mean."""
        yield Names(self.patterns, least((*self.but, *other.patterns)))
        if other.but:
            yield Names(in_common(in_common(self.patterns, other.patterns), other.but), self.but)


@dataclass(frozen=True, slots=True)
class Box:
    """All combinations. `leads` are addresses: those that are named, or those that a name leads to."""

    sources: AddressSet = EVERY_ADDRESS
    users: Users = Users()
    names: Names = Names()
    leads: AddressSet = EVERY_ADDRESS
    ports: Spans = EVERY_PORT
    methods: frozenset[str] = _EVERY_METHOD

    def __bool__(self) -> bool:
        sets = (self.sources, self.users, self.names, self.leads, self.ports, self.methods)
        return all(map(bool, sets))

    def __and__(self, other: "Box") -> "Box":
        return Box(
            self.sources & other.sources,
            self.users & other.users,
            self.names & other.names,
            self.leads & other.leads,
            self.ports & other.ports,
            self.methods & other.methods,
        )

    def covers(self, other: "Box") -> bool:
        """Whether all of the other is in this one."""
        return next(other.without(self), None) is None

    def without(self, other: "Box") -> Iterator["Box"]:
        """What is in this box and not in the other, as boxes that do not overlap; none of them is empty."""
        cuts = _cuts(self, other) if self & other else (self,)
        yield from filter(None, cuts)


def _cuts(box: Box, other: Box) -> Iterator[Box]:
    """For each side, the part of the box that is outside the other there; some may be empty."""
    for names in box.names.without(other.names):
        yield replace(box, names=names)
    inside = replace(box, names=box.names & other.names)
    for side in ("sources", "users", "leads", "ports", "methods"):
        ours, theirs = getattr(inside, side), getattr(other, side)
        yield replace(inside, **{side: ours - theirs})
        inside = replace(inside, **{side: ours & theirs})
