"""What an `acl` of squid.conf covers, for names and for address literals apart.

`.example.com` in `dstdomain` is the name and every name below it, `example.com` the name alone. An address in
`dstdomain` is that address; names of addresses are not looked up. `dst` holds for an address that is named and for
those to which a name leads.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from gateway.migrate.findings import Findings, Unreadable
from gateway.migrate.patterns import Patterns, least, name_at, tell
from gateway.migrate.sets import EVERY_ADDRESS, AddressSet, address_range, addresses, spans, union
from gateway.migrate.sources.squid.boxes import TUNNEL, Box, Names, Users
from gateway.model.addresses import WIDTH, Address, Network, network_of, parse_address, parse_network
from gateway.policy.rules import HostPattern, Reach

NOTHING = frozenset[str]()
_ELSEWHERE = {"cache_object", "ftp", "gopher", "urn", "wais", "whois"}
_MANAGERS = {"^cache_object://", "^https?://[^/]+/squid-internal-mgr/"}
"""How the ACL `manager` is declared by newer squids, where a file repeats it."""
_ASKING = ("proxy_auth", "proxy_auth_regex")
_PURGE = "PURGE"
Entry = tuple[str, str]


@dataclass(slots=True)
class Acl:
    """One ACL under its name. `known` is False for a kind that cannot be carried over; `networks` are those it names as
    destinations. Squid `asks` for a password before it looks at such a one, and refuses whoever has none."""

    name: str
    kind: str
    place: str
    for_names: Box = field(default_factory=Box)
    for_literals: Box = field(default_factory=Box)
    known: bool = True
    networks: tuple[Network, ...] = ()
    asks: bool = False


def make_acl(name: str, kind: str, place: str, values: Iterable[Entry], findings: Findings) -> Acl:
    """From all of its values; `known` False where a policy has no such kind. Raises `Unreadable`."""
    make = _KINDS.get(kind)
    acl = Acl(name, kind, place, known=make is not None, asks=kind in _ASKING)
    if make is None:
        return acl
    given = list(values)
    listed = [(at, value) for at, value in given if not value.startswith(("-", "+"))]
    _remark(acl, given, listed, findings)
    return make(acl, listed)


def _remark(acl: Acl, given: list[Entry], listed: list[Entry], findings: Findings) -> None:
    """What values mean here that mean more, or nothing, in squid."""
    if acl.kind == "proxy_auth" and "-i" in {value for _, value in given}:
        findings.note(acl.place, f"{acl.name}: names of users are compared letter by letter here, whatever -i says")
    if acl.kind == "method" and _PURGE in {value.upper() for _, value in listed}:
        findings.note(acl.place, f"{acl.name}: {_PURGE} is for the cache of squid; here it is a request as any other")
    for at, value in listed if acl.kind == "dstdomain" else ():
        tell(findings, f"dstdomain {value} ({at})", _patterns(value))
        if not _patterns(value) and parse_address(value) is None:
            findings.note(at, f"dstdomain {value} matches no name, in squid neither")


def _sources(acl: Acl, values: list[Entry]) -> Acl:
    found = _addresses(values)[0]
    acl.for_names = acl.for_literals = Box(sources=found)
    return acl


def _destinations(acl: Acl, values: list[Entry]) -> Acl:
    found, acl.networks = _addresses(values)
    acl.for_names = acl.for_literals = Box(leads=found)
    return acl


def _domains(acl: Acl, values: list[Entry]) -> Acl:
    patterns: list[HostPattern] = []
    literals: list[Network] = []
    for _, value in values:
        address = parse_address(value)
        if address is not None:
            literals.append(network_of(address))
        else:
            patterns += _patterns(value)
    acl.for_names = Box(names=Names(least(patterns)))
    acl.for_literals = Box(leads=addresses(literals))
    acl.networks = tuple(literals)
    return acl


def _patterns(value: str) -> Patterns:
    if value.endswith("."):  # squid takes it off what is asked for, and not off what is listed
        return ()
    reaches = (Reach.EXACT, Reach.BELOW) if value.startswith(".") else (Reach.EXACT,)
    found = [name_at(value.removeprefix("."), reach) for reach in reaches]
    return tuple(pattern for pattern in found if pattern is not None)


def _ports(acl: Acl, values: list[Entry]) -> Acl:
    found = []
    for place, value in values:
        first, _, last = value.partition("-")
        if not (first.isascii() and first.isdigit()) or (last and not (last.isascii() and last.isdigit())):
            raise Unreadable(f"{place}: {value!r} is no port")
        found.append((max(int(first), 1), min(int(last or first), 65535)))
    acl.for_names = acl.for_literals = Box(ports=spans(each for each in found if each[0] <= each[1]))
    return acl


def _methods(acl: Acl, values: list[Entry]) -> Acl:
    methods = {value.upper() for _, value in values}
    if methods == {_PURGE}:
        return _nothing(acl, values)
    if methods - {"CONNECT"}:
        acl.known = False
        return acl
    acl.for_names = acl.for_literals = Box(methods=frozenset({TUNNEL}) if methods else NOTHING)
    return acl


def _schemes(acl: Acl, values: list[Entry]) -> Acl:
    """Schemes that no client can ask a gateway for, such as `cache_object`, as older files have the cache manager."""
    if {value.lower() for _, value in values} <= _ELSEWHERE:
        return _nothing(acl, values)
    acl.known = False
    return acl


def _urls(acl: Acl, values: list[Entry]) -> Acl:
    if values and {value for _, value in values} <= _MANAGERS:
        return _nothing(acl, values)
    acl.known = False
    return acl


def _users(acl: Acl, values: list[Entry]) -> Acl:
    names = frozenset(value for _, value in values)
    users = Users(frozenset({""})) if "REQUIRED" in names else Users(names, all_but=False)
    acl.for_names = acl.for_literals = Box(users=users)
    return acl


def _nothing(acl: Acl, _values: list[Entry]) -> Acl:
    """The cache manager, and PURGE: such requests do not leave squid."""
    acl.for_names = acl.for_literals = Box(methods=NOTHING)
    return acl


_KINDS: dict[str, Callable[[Acl, list[Entry]], Acl]] = {
    "src": _sources,
    "dst": _destinations,
    "dstdomain": _domains,
    "port": _ports,
    "proto": _schemes,
    "method": _methods,
    "url_regex": _urls,
    "proxy_auth": _users,
    "manager": _nothing,
}
READING_FILES = frozenset(_KINDS) - {"url_regex"}
"""Of other kinds no list is needed, wherever the file is."""
BUILT_IN: dict[str, tuple[str, str]] = {
    "all": ("src", "all"),
    "localhost": ("src", "127.0.0.1/32 ::1"),
    "to_localhost": ("dst", "127.0.0.0/8 0.0.0.0/32 ::1 ::"),
    "to_linklocal": ("dst", "169.254.0.0/16 fe80::/10"),
    "CONNECT": ("method", "CONNECT"),
    "manager": ("manager", ""),
}
"""What squid declares itself; a file may add to it, and older ones declare it as another kind."""


def _addresses(values: list[Entry]) -> tuple[AddressSet, tuple[Network, ...]]:
    found, networks = list[AddressSet](), list[Network]()
    for place, value in values:
        if value in ("all", "0.0.0.0/0.0.0.0", "0/0"):
            found.append(EVERY_ADDRESS)
            continue
        some = _address_set(value)
        if some is None:
            raise Unreadable(f"{place}: {value!r} is no address, network or range; names are not looked up")
        found.append(some)
        networks += some.networks()
    return union(found), tuple(networks)


def _address_set(value: str) -> AddressSet | None:
    """`address`, `address/length`, `address/mask`, `address-address`, and the last with a length or mask that holds for
    both ends. Bits beyond the mask do not count to squid."""
    if value in ("ipv4", "ipv6"):
        return AddressSet(v4=EVERY_ADDRESS.v4) if value == "ipv4" else AddressSet(v6=EVERY_ADDRESS.v6)
    head, dash, tail = value.partition("-")
    if not dash:
        network = _network(value)
        return None if network is None else addresses([network])
    last, slash, mask = tail.partition("/")
    low, high = _network(f"{head}{slash}{mask}"), _network(f"{last}{slash}{mask}")
    if low is None or high is None or low.version != high.version or low.value > high.value:
        return None
    end = high.value | ((1 << (WIDTH[high.version] - high.length)) - 1)
    return address_range(Address(low.version, low.value), Address(high.version, end))


def _network(value: str) -> Network | None:
    return parse_network(value) or _masked(value)


def _masked(value: str) -> Network | None:
    head, _, tail = value.partition("/")
    address, mask = parse_address(head), parse_address(tail)
    if address is None:
        return None
    length = _length(mask) if mask is not None else int(tail) if tail.isascii() and tail.isdigit() else None
    if length is None or length > WIDTH[address.version]:
        return None
    shift = WIDTH[address.version] - length
    return Network(address.version, address.value >> shift << shift, length)


def _length(mask: Address) -> int | None:
    """Of a netmask whose ones come first."""
    width = WIDTH[mask.version]
    length = mask.value.bit_count()
    return length if mask.value == ((1 << length) - 1) << (width - length) else None
