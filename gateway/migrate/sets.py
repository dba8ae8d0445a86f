"""Sets of ports and of addresses, as ascending ranges: exact where policies have only lists and exceptions.

Sources order their statements and take networks out of networks; ours are unordered. What is left of a statement after
all statements before it is computed here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain

from gateway.model.addresses import WIDTH, Address, Network, Version
from gateway.policy.addresses import Kind, blocks
from gateway.policy.rules import PortRange

_V4: Version = 4
_V6: Version = 6


@dataclass(frozen=True, slots=True)
class Spans:
    """A set of integers. `ranges` are disjoint, ascending and not adjoining; both ends are included."""

    ranges: tuple[tuple[int, int], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __contains__(self, value: int) -> bool:
        return any(first <= value <= last for first, last in self.ranges)

    def __or__(self, other: "Spans") -> "Spans":
        return spans((*self.ranges, *other.ranges))

    def __sub__(self, other: "Spans") -> "Spans":
        """In a time that grows with the lengths of both, not with their product."""
        left: list[tuple[int, int]] = []
        at = 0
        for first, last in self.ranges:
            start = first
            while at < len(other.ranges) and other.ranges[at][0] <= last:
                gone, until = other.ranges[at]
                if gone > start:
                    left.append((start, gone - 1))
                start = max(start, until + 1)
                at += 1
            if start <= last:
                left.append((start, last))
            at = max(0, at - 1)  # it may reach into the next range
        return Spans(tuple(left))

    def __and__(self, other: "Spans") -> "Spans":
        return self - (self - other)


def spans(ranges: Iterable[tuple[int, int]]) -> Spans:
    """The union of ranges in any order."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(joined[-1][1], last)
        else:
            joined.append((first, last))
    return Spans(tuple(joined))


EVERY_PORT = Spans(((1, 65535),))


def ports(*ranges: PortRange | int) -> Spans:
    """Of single ports and of ranges."""
    return spans((each, each) if isinstance(each, int) else (each.first, each.last) for each in ranges)


@dataclass(frozen=True, slots=True)
class AddressSet:
    """A set of addresses of both versions."""

    v4: Spans = Spans()
    v6: Spans = Spans()

    def __bool__(self) -> bool:
        return bool(self.v4) or bool(self.v6)

    def __contains__(self, address: Address) -> bool:
        return address.value in (self.v4 if address.version == 4 else self.v6)

    def __or__(self, other: "AddressSet") -> "AddressSet":
        return AddressSet(self.v4 | other.v4, self.v6 | other.v6)

    def __sub__(self, other: "AddressSet") -> "AddressSet":
        return AddressSet(self.v4 - other.v4, self.v6 - other.v6)

    def __and__(self, other: "AddressSet") -> "AddressSet":
        return AddressSet(self.v4 & other.v4, self.v6 & other.v6)

    def around(self) -> Network:
        """The longest prefix that holds all of the set, which is of one version and not empty."""
        part, version = (self.v4, _V4) if self.v4 else (self.v6, _V6)
        first, last = part.ranges[0][0], part.ranges[-1][1]
        bits = (first ^ last).bit_length()
        return Network(version, first >> bits << bits, WIDTH[version] - bits)

    def networks(self) -> Iterator[Network]:
        """The fewest prefixes that make up the set, IPv4 first."""
        yield from _prefixes(self.v4, _V4)
        yield from _prefixes(self.v6, _V6)


def addresses(networks: Iterable[Network]) -> AddressSet:
    """All addresses of these networks."""
    found: dict[Version, list[tuple[int, int]]] = {4: [], 6: []}
    for network in networks:
        last = network.value + (1 << (WIDTH[network.version] - network.length)) - 1
        found[network.version].append((network.value, last))
    return AddressSet(spans(found[4]), spans(found[6]))


def union(sets: Iterable[AddressSet]) -> AddressSet:
    """Of many at once: added one by one they take a time that grows with the square of their number."""
    every = tuple(sets)
    v4, v6 = chain(*(each.v4.ranges for each in every)), chain(*(each.v6.ranges for each in every))
    return AddressSet(spans(v4), spans(v6))


def address_range(first: Address, last: Address) -> AddressSet:
    """From one address to another of its version, both included."""
    both = spans([(first.value, last.value)])
    return AddressSet(v4=both) if first.version == 4 else AddressSet(v6=both)


NO_ADDRESS = AddressSet()
EVERY_ADDRESS = addresses((Network(4, 0, 0), Network(6, 0, 0)))


@cache
def special_purpose() -> AddressSet:
    """What is not global unicast, small global islands in it included: no statement about everything covers it."""
    return AddressSet(spans(_special_ranges(_V4)), spans(_special_ranges(_V6)))


_ISLAND = 24
"""A global range smaller than this prefix's stands in the middle of special-purpose ones."""


def _special_ranges(version: Version) -> Iterator[tuple[int, int]]:
    smallest = 1 << (WIDTH[version] - _ISLAND)
    for first, last, block in blocks(version):
        if block.kind is not Kind.GLOBAL or last.value - first.value + 1 < smallest:
            yield first.value, last.value


def meant_by(networks: Iterable[Network]) -> AddressSet:
    """What a source that names these networks opens here: all of those that are special-purpose themselves, and of
    wider ones only what is global."""
    special = special_purpose()
    each = map(addresses, ((network,) for network in networks))
    return union(whole - special or whole for whole in each)


def _prefixes(set_: Spans, version: Version) -> Iterator[Network]:
    width = WIDTH[version]
    for first, last in set_.ranges:
        start = first
        while start <= last:
            aligned = (start & -start).bit_length() - 1 if start else width
            bits = min(aligned, (last - start + 1).bit_length() - 1)
            yield Network(version, start, width - bits)
            start += 1 << bits
