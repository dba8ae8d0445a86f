"""The address guard: which of the addresses that a permitted name leads to may be dialled.

The first that applies decides: never; refused; loopback, link-local and metadata; whatever else is not global unicast;
global. An IPv6 address that carries IPv4 addresses inside is refused if it or any of them would be.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from gateway.model.addresses import WIDTH, Address, Network, Version, parse_network
from gateway.model.decision import AddressRefusal
from gateway.model.reasons import Reason
from gateway.policy.candidates import Candidate, Question
from gateway.policy.index import Rules
from gateway.policy.rules import Mode


class Kind(Enum):
    """What opens an address."""

    NEVER = 1  # nothing
    LOOPBACK = 2  # `addresses.allow`, or a rule for exactly this destination
    LOCAL = 3  # a rule for exactly this destination
    SPECIAL = 4  # `addresses.allow`, or a rule's `cidrs` or `private`
    GLOBAL = 5  # it is open


@dataclass(frozen=True, slots=True)
class Block:
    """An assigned range and what it is for."""

    kind: Kind
    purpose: str


# IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890, RFC 8190), the IPv4 multicast space, RFC 4291, and
# the metadata services of clouds. What the registries call "globally reachable: N/A" (6to4, Teredo) is not global.
_ASSIGNED = (
    ("0.0.0.0/0", Kind.GLOBAL, "global unicast"),
    ("0.0.0.0/8", Kind.SPECIAL, "this network"),
    ("0.0.0.0/32", Kind.NEVER, "unspecified"),
    ("10.0.0.0/8", Kind.SPECIAL, "private use"),
    ("100.64.0.0/10", Kind.SPECIAL, "shared address space"),
    ("100.100.100.200/32", Kind.LOCAL, "metadata"),
    ("127.0.0.0/8", Kind.LOOPBACK, "loopback"),
    ("168.63.129.16/32", Kind.LOCAL, "metadata"),
    ("169.254.0.0/16", Kind.LOCAL, "link-local"),
    ("169.254.169.254/32", Kind.LOCAL, "metadata"),
    ("172.16.0.0/12", Kind.SPECIAL, "private use"),
    ("192.0.0.0/24", Kind.SPECIAL, "protocol assignments"),
    ("192.0.0.9/32", Kind.GLOBAL, "port control anycast"),
    ("192.0.0.10/32", Kind.GLOBAL, "TURN anycast"),
    ("192.0.0.192/32", Kind.LOCAL, "metadata"),
    ("192.0.2.0/24", Kind.SPECIAL, "documentation"),
    ("192.88.99.0/24", Kind.SPECIAL, "6to4 relay anycast"),
    ("192.168.0.0/16", Kind.SPECIAL, "private use"),
    ("198.18.0.0/15", Kind.SPECIAL, "benchmarking"),
    ("198.51.100.0/24", Kind.SPECIAL, "documentation"),
    ("203.0.113.0/24", Kind.SPECIAL, "documentation"),
    ("224.0.0.0/4", Kind.NEVER, "multicast"),
    ("240.0.0.0/4", Kind.SPECIAL, "reserved"),
    ("255.255.255.255/32", Kind.NEVER, "broadcast"),
    ("::/0", Kind.SPECIAL, "not assigned as global unicast"),
    ("::/96", Kind.SPECIAL, "IPv4-compatible"),
    ("::/128", Kind.NEVER, "unspecified"),
    ("::1/128", Kind.LOOPBACK, "loopback"),
    ("64:ff9b::/96", Kind.GLOBAL, "NAT64"),
    ("64:ff9b:1::/48", Kind.SPECIAL, "local-use NAT64"),
    ("2000::/3", Kind.GLOBAL, "global unicast"),
    ("2001::/23", Kind.SPECIAL, "protocol assignments"),
    ("2001::/32", Kind.SPECIAL, "Teredo"),
    ("2001:1::1/128", Kind.GLOBAL, "port control anycast"),
    ("2001:1::2/128", Kind.GLOBAL, "TURN anycast"),
    ("2001:1::3/128", Kind.GLOBAL, "DNS-SD service registration anycast"),
    ("2001:3::/32", Kind.GLOBAL, "AMT"),
    ("2001:4:112::/48", Kind.GLOBAL, "AS112"),
    ("2001:20::/28", Kind.GLOBAL, "ORCHIDv2"),
    ("2001:30::/28", Kind.GLOBAL, "drone remote identification"),
    ("2001:db8::/32", Kind.SPECIAL, "documentation"),
    ("2002::/16", Kind.SPECIAL, "6to4"),
    ("3fff::/20", Kind.SPECIAL, "documentation"),
    ("fc00::/7", Kind.SPECIAL, "unique local"),
    ("fd00:42::42/128", Kind.LOCAL, "metadata"),
    ("fd00:a9fe:a9fe::1/128", Kind.LOCAL, "metadata"),
    ("fd00:c1::a9fe:a9fe/128", Kind.LOCAL, "metadata"),
    ("fd00:ec2::23/128", Kind.LOCAL, "metadata"),
    ("fd00:ec2::254/128", Kind.LOCAL, "metadata"),
    ("fd20:ce::254/128", Kind.LOCAL, "metadata"),
    ("fe80::/10", Kind.LOCAL, "link-local"),
    ("ff00::/8", Kind.NEVER, "multicast"),
)


def _network(text: str) -> Network:
    network = parse_network(text)
    if network is None:
        raise ValueError(text)
    return network


def _flatten(version: Version) -> tuple[list[int], list[Block]]:
    """The nested networks as adjoining ranges: where each begins, and what it is for."""
    width = WIDTH[version]
    assigned = [(_network(text), Block(kind, purpose)) for text, kind, purpose in _ASSIGNED]
    mine = sorted((item for item in assigned if item[0].version == version), key=lambda item: item[0].length)
    ends = {network.value + (1 << (width - network.length)) for network, _ in mine} - {1 << width}
    starts = sorted({network.value for network, _ in mine} | ends)
    narrowest_first = mine[::-1]
    return starts, [
        next(block for network, block in narrowest_first if Address(version, start) in network) for start in starts
    ]


_RANGES = {version: _flatten(version) for version in WIDTH}


def block_of(address: Address) -> Block:
    """The narrowest assigned range that holds the address."""
    starts, found = _RANGES[address.version]
    return found[bisect_right(starts, address.value) - 1]


def blocks(version: Version) -> Iterator[tuple[Address, Address, Block]]:
    """All addresses of a version as adjoining ranges, both ends included, each with what it is for."""
    starts, found = _RANGES[version]
    ends = [start - 1 for start in starts[1:]] + [(1 << WIDTH[version]) - 1]
    for start, end, block in zip(starts, ends, found, strict=True):
        yield Address(version, start), Address(version, end), block


_COMPATIBLE = 0
_NAT64 = 0x0064FF9B << 64
_LOCAL_NAT64 = 0x0064FF9B0001
_TEREDO = 0x20010000
_6TO4 = 0x2002


def embedded_in(address: Address) -> Iterator[tuple[Address, bool]]:
    """The IPv4 addresses that an IPv6 address carries, and whether an exception for one of them opens it too.

    RFC 4291 section 2.5.5.1 (compatible), RFC 6052 and RFC 8215 (NAT64: the last 32 bits, so that other forms of the
    local-use prefix show a reserved address), RFC 3056 (6to4), RFC 4380 section 4 (Teredo: server, inverted client).
    """
    value = address.value
    if address.version == 4:
        return
    last = Address(4, value & 0xFFFFFFFF)
    if value >> 32 == _NAT64 or value >> 80 == _LOCAL_NAT64:
        yield last, True
    elif value >> 32 == _COMPATIBLE and value > 1:
        yield last, False
    elif value >> 112 == _6TO4:
        yield Address(4, value >> 80 & 0xFFFFFFFF), False
    elif value >> 96 == _TEREDO:
        yield Address(4, value >> 64 & 0xFFFFFFFF), False
        yield Address(4, last.value ^ 0xFFFFFFFF), False


REMEMBERED = 64
"""Addresses that one screen remembers to have passed: a permit may serve many connections."""


class Screen:
    """Judges addresses for one permit: for the client, the port and the name of `question`, under the rule `deciding`.

    `must_be` is the one address that may be dialled, None for any. `_passed` are addresses to which there was no
    objection, as signed integers: IPv6 ones are inverted.
    """

    __slots__ = ("_deciding", "_must_be", "_passed", "_question", "_rules")

    def __init__(self, deciding: Candidate, question: Question, rules: Rules, must_be: Address | None = None) -> None:
        self._deciding = deciding
        self._must_be = must_be
        self._question = question
        self._rules = rules
        self._passed: set[int] = set()

    def __call__(self, address: Address) -> AddressRefusal | None:
        """None: may be dialled. A refusal with `enforced=False` may be dialled as well, and is to be recorded."""
        signed = address.value if address.version == 4 else ~address.value
        if signed in self._passed:
            return None
        refusal = self._screened(address)
        if refusal is None and len(self._passed) < REMEMBERED:
            self._passed.add(signed)
        return refusal

    def _screened(self, address: Address) -> AddressRefusal | None:
        refusal = self._judge(address, excepted=True)
        if refusal is not None and refusal.enforced:
            return refusal
        if address.version == 6:
            for inner, excepted in embedded_in(address):
                found = self._judge(inner, excepted)
                if found is not None and found.enforced:
                    return replace(found, address=address, detail=f"carries {inner}: {found.detail}")
                refusal = refusal or found
        if self._deciding.within and not self._is_within(address):
            return AddressRefusal(address, Reason.ADDRESS_REFUSED, "outside the rule's `within`", self._deciding.ref)
        if self._must_be is not None and address != self._must_be:
            why = "`resolve: match`, and the client dialled another"
            return AddressRefusal(address, Reason.ADDRESS_REFUSED, why, self._deciding.ref)
        return refusal and replace(refusal, address=address)

    def _judge(self, address: Address, excepted: bool) -> AddressRefusal | None:
        """`excepted`: exceptions that are made for this address count."""
        block = block_of(address)
        if is_own(address, self._question.port, self._rules):
            return AddressRefusal(address, Reason.PROXY_LOOP, "this gateway listens there")
        if block.kind is Kind.NEVER:
            return _guarded(address, block.purpose)
        if address in self._rules.addresses.deny:
            return _guarded(address, "in `addresses.deny`")
        denied = self._denied(address)
        if denied is not None and denied.enforced:
            return denied
        if block.kind is not Kind.GLOBAL and not (excepted and self._is_opened(address, block.kind)):
            return _guarded(address, f"{block.purpose}, opened by nothing")
        return denied

    def _denied(self, address: Address) -> AddressRefusal | None:
        """The refusal of the most specific deny rule that is enforced, else of the most specific one in report mode."""
        aside = None
        for tier in self._rules.tiers(self._question.namespace):
            for destination in tier.networks.find(address):
                if destination.denies is None:
                    continue
                for rule in destination.denies.matching(self._question._replace(resolved=address)):
                    enforced = rule.mode_for(self._question.membership) is Mode.ENFORCE
                    refusal = AddressRefusal(address, Reason.DENIED_BY_RULE, "denied by a rule", rule.ref, enforced)
                    if enforced:
                        return refusal
                    aside = aside or refusal
        return aside

    def _is_opened(self, address: Address, kind: Kind) -> bool:
        rule = self._deciding
        if rule is self._rules.report_only:
            return False
        literal = isinstance(self._question.host, Address)
        own = self._own_length(address) if literal else None
        allowed = address in self._rules.addresses.allow
        if kind is Kind.SPECIAL:
            return allowed or own is not None or address in rule.private
        if kind is Kind.LOOPBACK and allowed:
            return True
        if literal:
            return own == WIDTH[address.version]
        return rule.names_exactly and address in rule.private

    def _own_length(self, address: Address) -> int | None:
        """The longest prefix among the deciding rule's own `cidrs` that holds the address."""
        for tier in self._rules.tiers(self._question.namespace):
            for length, destination in tier.networks.around(address):
                if destination.allows is not None and destination.allows.holds(self._deciding):
                    return length
        return None

    def _is_within(self, address: Address) -> bool:
        within = self._deciding.within
        return address in within or any(excepted and inner in within for inner, excepted in embedded_in(address))


def is_own(address: Address, port: int, rules: Rules) -> bool:
    """Whether this gateway itself listens there."""
    tables = rules.addresses
    if port not in tables.listening:
        return False
    loopback = port in tables.everywhere and block_of(address).kind is Kind.LOOPBACK
    return loopback or address in tables.listening[port]


def _guarded(address: Address, why: str) -> AddressRefusal:
    return AddressRefusal(address, Reason.ADDRESS_REFUSED, why)
