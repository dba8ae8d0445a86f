"""The statements of a source, before they become rules: who may, or may not, go where."""

from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace

from gateway.migrate.findings import Findings
from gateway.migrate.patterns import Patterns
from gateway.migrate.sets import EVERY_ADDRESS, EVERY_PORT, NO_ADDRESS, AddressSet, Spans, meant_by, special_purpose
from gateway.migrate.sets import addresses as addresses_of
from gateway.migrate.sets import ports as ports_of
from gateway.model.addresses import Network
from gateway.model.intent import Protocol
from gateway.policy.rules import ANY_HOST, HostPattern, Mode

_NAME_CHARACTERS = 100


@dataclass(frozen=True, slots=True)
class Who:
    """Groups; none is everyone. `but` are groups that are taken out."""

    groups: tuple[str, ...] = ()
    but: tuple[str, ...] = ()


EVERYONE = Who()
MORE_TO_OPEN = "names that lead there need addresses.allow in gateway.yaml"
"""A note about special-purpose addresses that a rule alone does not open for names."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a statement stands, and what a rule that it becomes may be called."""

    place: str
    name: str


@dataclass(frozen=True, slots=True)
class Inspected:
    """Requests that are inspected: headers that are set, and headers that are logged."""

    headers: tuple[tuple[str, str], ...] = ()
    logged: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Terms:
    """Under which a name may be reached. `within` None is anywhere; `private` are special-purpose networks that it may
    lead to; `but` are names that are excepted."""

    protocol: Protocol | None = None
    within: AddressSet | None = None
    private: AddressSet = NO_ADDRESS
    but: Patterns = ()
    inspected: Inspected | None = None


USUAL = Terms()


@dataclass(frozen=True, slots=True)
class NameGrant:
    """Names that may be reached."""

    origin: Origin
    who: Who
    pattern: HostPattern
    ports: Spans = EVERY_PORT
    terms: Terms = USUAL


@dataclass(frozen=True, slots=True)
class AddressGrant:
    """Address literals that may be reached."""

    origin: Origin
    who: Who
    addresses: AddressSet
    ports: Spans = EVERY_PORT
    protocol: Protocol | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Names and addresses that may not be reached; `addresses` also applies to what a name leads to. `but` are excepted
    names."""

    origin: Origin
    who: Who
    patterns: Patterns = ()
    addresses: AddressSet = NO_ADDRESS
    ports: Spans = EVERY_PORT
    but: Patterns = ()
    mode: Mode | None = None


@dataclass(frozen=True, slots=True)
class GroupEntry:
    """One way to be a member: keys of `match` and their values; `labels` beside them."""

    facts: tuple[tuple[str, str], ...]
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class GroupText:
    """A group of the policy."""

    name: str
    entries: list[GroupEntry]
    mode: Mode | None = None
    origin: str = ""


@dataclass(slots=True)
class Imported:
    """The statements of a source. `mode` is the policy's own."""

    names: list[NameGrant] = field(default_factory=list)
    addresses: list[AddressGrant] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    groups: dict[str, GroupText] = field(default_factory=dict)
    mode: Mode | None = None
    findings: Findings = field(default_factory=Findings)

    def allow_name(
        self, origin: Origin, who: Who, pattern: HostPattern, ports: Spans = EVERY_PORT, terms: Terms = USUAL
    ) -> None:
        """A name on some ports. Sources that do not look at bytes allow any bytes: on named ports that is `tcp`, except
        where TLS or HTTP is usual and for `*`, which may not be `tcp`."""
        if pattern == ANY_HOST or terms.protocol is not None or terms.inspected is not None:
            self.names.append(NameGrant(origin, who, pattern, ports, terms))
            return
        for some, protocol in _spoken(ports):
            self.names.append(NameGrant(origin, who, pattern, some, replace(terms, protocol=protocol)))

    def allow_addresses(
        self,
        origin: Origin,
        who: Who,
        addresses: AddressSet,
        ports: Spans = EVERY_PORT,
        protocol: Protocol | None = None,
    ) -> None:
        """Address literals on some ports, likewise."""
        for some, usual in _spoken(ports) if protocol is None else [(ports, protocol)]:
            self.addresses.append(AddressGrant(origin, who, addresses, some, usual))

    def allow_network(
        self, origin: Origin, who: Who, networks: Sequence[Network], but: AddressSet, ports: Spans
    ) -> None:
        """What an address-only statement means here: literals, and whatever name leads there."""
        whole = addresses_of(networks) - but
        if not whole:
            return
        meant = meant_by(networks) - but
        if whole - meant:
            self.findings.note(origin.place, "special-purpose addresses inside a wider network are not opened")
        if meant & special_purpose():
            shown = ", ".join(str(network) for network in networks)
            self.findings.note(origin.place, f"names that lead into {shown} need it in addresses.allow of gateway.yaml")
        self.allow_addresses(origin, who, meant, ports)
        self.allow_name(origin, who, ANY_HOST, ports, Terms(within=None if whole == EVERY_ADDRESS else whole))

    def allow_anything(self, origin: Origin, who: Who, ports: Spans = EVERY_PORT) -> None:
        """Every name and every address that is global unicast."""
        self.allow_name(origin, who, ANY_HOST, ports)
        self.allow_addresses(origin, who, EVERY_ADDRESS - special_purpose(), ports)

    def group(self, name: str, entries: list[GroupEntry], origin: str = "", mode: Mode | None = None) -> str:
        """The name of a group with these entries: one that is there already, else a new one."""
        for known in self.groups.values():
            if known.entries == entries and known.mode == mode:
                return known.name
        free = fresh(name, self.groups)
        self.groups[free] = GroupText(free, entries, mode, origin)
        return free


_LOOKED_AT = ports_of(80, 443)


def _spoken(ports: Spans) -> list[tuple[Spans, Protocol | None]]:
    if ports == EVERY_PORT:
        return [(ports, None)]
    both = (ports & _LOOKED_AT, None), (ports - _LOOKED_AT, Protocol.TCP)
    return [(some, protocol) for some, protocol in both if some]


def fresh(name: str, taken: Container[str]) -> str:
    """A name that is not taken, of letters, digits, hyphens, dots and underscores."""
    clean = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in name[:_NAME_CHARACTERS])
    clean = clean.strip("-.") or "unnamed"
    candidate, number = clean, 1
    while candidate in taken:
        number += 1
        candidate = f"{clean}-{number}"
    return candidate
