"""The policy language, read aloud: docs/policy.md as functions over plain YAML documents.

Every rule is looked at for every question, names and networks are compared as they stand, nothing is remembered and
nothing comes from `gateway.policy` or `gateway.settings`: what is clever there must say the same as what is plain here.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, NamedTuple

Document = dict[str, Any]
IP = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Destination = str | IP


class Asker(NamedTuple):
    """A client: its address and what else is known of it."""

    address: str
    facts: Document
    known: bool = True
    doubt: bool = False
    joined: str = ""


class Wish(NamedTuple):
    """What is asked for: `original` is the address that a captured client dialled; `is_http`: by its absolute form."""

    host: Destination
    port: int
    original: IP | None = None
    is_http: bool = False


class Verdict(NamedTuple):
    """`reason` None lets pass, under `rule`, towards `host`. `would_deny` is a reason and a rule."""

    reason: str | None
    rule: str | None = None
    also: tuple[str, ...] = ()
    would_deny: tuple[str, str | None] | None = None
    host: Destination | None = None
    inspect: bool = False


@dataclass
class World:
    """`files` are the policy's by name, `lists` the text files that they name; `team` has the namespace of files that
    are a team's. The rest is gateway.yaml's, and `own` what the gateway listens on."""

    files: dict[str, Document]
    lists: dict[str, str] = field(default_factory=dict)
    team: dict[str, str] = field(default_factory=dict)
    allow: list[str] = field(default_factory=list)
    deny: list[str] = field(default_factory=list)
    domains: list[str] = field(default_factory=lambda: ["cluster.local"])
    own: list[tuple[str, int]] = field(default_factory=list)

    @cached_property
    def rules(self) -> list[Document]:
        return [
            {**rule, "full": f"{file}#{rule['name']}", "team": self.team.get(file), **read(rule, self.lists)}
            for file, document in self.files.items()
            for rule in document.get("rules", [])
        ]

    @cached_property
    def groups(self) -> dict[str, Document]:
        return {name: group for document in self.files.values() for name, group in document.get("clients", {}).items()}

    @property
    def mode(self) -> str:
        return next((one["mode"] for one in self.files.values() if "mode" in one), "enforce")


# What stands in a rule.


def read(rule: Document, lists: dict[str, str]) -> Document:
    """What list files and defaults add to a rule."""
    listed = {key: list_lines(lists.get(rule.get(f"{key}_file", ""), "")) for key in ("hosts", "cidrs")}
    return {
        "patterns": patterns([*rule.get("hosts", []), *listed["hosts"]]),
        "networks": networks([*rule.get("cidrs", []), *listed["cidrs"]]),
        "open": ports(rule),
        "excepted": (
            patterns(rule.get("except", {}).get("hosts", [])),
            networks(rule.get("except", {}).get("cidrs", [])),
        ),
    }


def list_lines(text: str) -> list[str]:
    return [line for line in (each.partition("#")[0].strip() for each in text.splitlines()) if line]


def patterns(entries: list[Any]) -> list[tuple[str, bool]]:
    """`.s` is the two entries `s` and `*.s`; True: one label only."""
    found = []
    for entry in entries:
        name, depth = (entry["name"], "depth" in entry) if isinstance(entry, dict) else (entry, False)
        name = ascii_form(name)
        found += [(name[1:], False), (f"*{name}", False)] if name.startswith(".") else [(name, depth)]
    return found


def ascii_form(name: str) -> str:
    """UTS 46 for the few names that the tests spell in Unicode."""
    labels = name.lower().removesuffix(".").split(".")
    return ".".join(A_LABELS.get(label, label) for label in labels)


A_LABELS = {"bücher": "xn--bcher-kva", "straße": "xn--strae-oqa"}


def networks(texts: Iterable[str]) -> list[Network]:
    return [unmapped_network(text) for text in texts]


@cache
def unmapped_network(text: str) -> Network:
    network = ip_network(text)
    inner = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    return network if inner is None else ip_network(f"{inner}/{network.prefixlen - 96}")


def ports(rule: Document) -> frozenset[int]:
    stated = rule.get("ports", [443] if action(rule) == "allow" else "any")
    return numbers(" ".join(map(str, [stated] if stated == "any" else stated)).replace("any", "1-65535"))


@cache
def numbers(spans: str) -> frozenset[int]:
    ends = [span.split("-") for span in spans.split()]
    return frozenset(port for span in ends for port in range(int(span[0]), int(span[-1]) + 1))


def action(rule: Document) -> str:
    return str(rule.get("action", "allow"))


def protocol(rule: Document, port: int) -> str:
    return str(rule.get("protocol") or {443: "tls", 80: "http"}.get(port, "auto"))


def contradictions(world: World) -> list[tuple[str, str]]:
    """Allows with a destination, a port and all clients in common."""
    allows = [rule for rule in world.rules if action(rule) == "allow"]
    return [
        (one["full"], other["full"])
        for number, one in enumerate(allows)
        for other in allows[:number]
        if set(one.get("clients", [])) == set(other.get("clients", []))
        if one["open"] & other["open"]
        if set(one["patterns"]) & set(other["patterns"]) or set(one["networks"]) & set(other["networks"])
    ]


# Who asks. None: nobody knows.


def is_member(world: World, name: str, asker: Asker) -> bool | None:
    if not asker.known:
        return None
    if name == asker.joined:
        return True
    entries = world.groups[name]["match"]
    return any_of(all_of(fits(key, value, asker) for key, value in entry.items()) for entry in entries)


def any_of(answers: Iterable[bool | None]) -> bool | None:
    found = list(answers)
    return True if True in found else None if None in found else False


def all_of(answers: Iterable[bool | None]) -> bool | None:
    found = list(answers)
    return False if False in found else None if None in found else True


def fits(key: str, wanted: Any, asker: Asker) -> bool | None:
    if key == "cidr":
        return canonical(asker.address) in unmapped_network(wanted)
    if asker.doubt and key in ("namespace", "service_account", "labels", "namespace_labels") and key not in asker.facts:
        return None
    has = asker.facts.get(key)
    if has is None:
        return False
    if key in ("labels", "namespace_labels"):
        return all(has.get(name) == value for name, value in wanted.items())
    if key == "spiffe" and wanted.endswith("/*"):
        return bool(has.startswith(wanted[:-1])) and "" not in has.removeprefix(wanted[:-1]).split("/")
    return bool(has == wanted)


@cache
def canonical(text: str) -> IP:
    address = ip_address(text)
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def membership(world: World, names: list[str], asker: Asker) -> bool | None:
    return any_of(is_member(world, name, asker) for name in names)


def mode_for(world: World, rule: Document | None, asker: Asker) -> str:
    if rule is not None and "mode" in rule:
        return str(rule["mode"])
    stated = [(one["mode"], is_member(world, name, asker)) for name, one in world.groups.items() if "mode" in one]
    if any(mode == "enforce" and member is not False for mode, member in stated):
        return "enforce"
    return "report" if any(mode == "report" and member is True for mode, member in stated) else world.mode


# Which rule speaks of a destination, and how specifically: the smaller the more.


def host_covers(entry: tuple[str, bool], name: str) -> bool:
    pattern, one_label = entry
    if pattern == "*":
        return True
    if not pattern.startswith("*."):
        return pattern == name
    suffix = pattern[1:]
    return name.endswith(suffix) and not (one_label and "." in name[: -len(suffix)])


def host_place(entry: tuple[str, bool]) -> tuple[int, ...]:
    pattern, one_label = entry
    if pattern == "*":
        return (2,)
    return (1, -pattern.count("."), not one_label) if pattern.startswith("*.") else (0,)


def place(rule: Document, host: Destination, exact: bool = False) -> tuple[int, ...] | None:
    """`exact`: only an entry for this very name or address counts."""
    if isinstance(host, str):
        found = [host_place(one) for one in rule["patterns"] if host_covers(one, host)]
        found = [one for one in found if one == (0,) or not exact]
    else:
        inside = [one for one in rule["networks"] if host in one]
        found = [(-one.prefixlen,) for one in inside if one.num_addresses == 1 or not exact]
    return min(found, default=None)


def is_excepted(world: World, rule: Document, host: Destination, asker: Asker) -> bool:
    names, addresses = rule["excepted"]
    if any(host_covers(one, host) for one in names) if isinstance(host, str) else any(host in one for one in addresses):
        return True
    member = membership(world, rule.get("except", {}).get("clients", []), asker)
    return member is not False if action(rule) == "allow" else member is True


def speaks(world: World, rule: Document, host: Destination, port: int, asker: Asker, now: float) -> bool:
    if port not in rule["open"] or ("expires" in rule and now >= end_of(rule["expires"])):
        return False
    if place(rule, host) is None or is_excepted(world, rule, host, asker):
        return False
    member = membership(world, rule["clients"], asker) if "clients" in rule else True
    return member is True if action(rule) == "allow" else member is not False


def end_of(day: str) -> float:
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() + 86400


def order(rule: Document, host: Destination) -> tuple[Any, ...]:
    return place(rule, host), "clients" not in rule, len(rule["open"]), rule["name"], rule["full"]


# The verdict.


def judge(world: World, asker: Asker, wish: Wish, now: float) -> Verdict:
    """The platform's rules first; the team's own only where none of those refuses or allows."""
    asides: list[str] = []
    for tier in (None, asker.facts.get("namespace")) if asker.known else (None,):
        rules = [rule for rule in world.rules if rule["team"] == tier]
        verdict = judge_tier(world, rules, asker, wish, now, asides)
        if verdict is not None:
            return verdict
        if tier is None and asker.facts.get("namespace") is None:
            break
    if isinstance(wish.host, str) and in_cluster(world, wish.host):
        return Verdict("in_cluster_name", would_deny=("denied_by_rule", asides[0]) if asides else None)
    if mode_for(world, None, asker) == "report":
        would_deny = ("denied_by_rule", asides[0]) if asides else ("no_rule", None)
        return Verdict(None, "report-only", (), would_deny, wish.host)
    return Verdict("no_rule", would_deny=("denied_by_rule", asides[0]) if asides else None)


def judge_tier(
    world: World, rules: list[Document], asker: Asker, wish: Wish, now: float, asides: list[str]
) -> Verdict | None:
    """What is named is judged before the address that a captured client dialled; a deny by either is a deny."""
    both = [wish.host] if wish.original is None else [wish.host, wish.original]
    matching = {host: [one for one in rules if speaks(world, one, host, wish.port, asker, now)] for host in both}
    for host in both:
        denies = [one for one in matching[host] if action(one) == "deny"]
        for rule in sorted(denies, key=lambda one: order(one, host)):
            if mode_for(world, rule, asker) == "enforce":
                return Verdict("denied_by_rule", rule["full"])
            asides.append(rule["full"])
    for host in both:
        allows = [one for one in matching[host] if action(one) == "allow"]
        if isinstance(host, str) and (in_cluster(world, host) or "." not in host):
            allows = [one for one in allows if place(one, host, exact=True) is not None]
        if allows:
            first, *others = sorted(allows, key=lambda one: order(one, host))
            also = tuple(one["full"] for one in others if place(one, host) == place(first, host))
            would_deny = ("denied_by_rule", asides[0]) if asides else None
            if wish.is_http and protocol(first, wish.port) == "tls":
                if mode_for(world, first, asker) == "enforce":
                    return Verdict("protocol_mismatch", first["full"])
                would_deny = would_deny or ("protocol_mismatch", first["full"])
            return Verdict(None, first["full"], also, would_deny, host, first.get("inspect", False) is not False)
    return None


def in_cluster(world: World, name: str) -> bool:
    return any(name == domain or name.endswith(f".{domain}") for domain in world.domains)


def confirm(
    world: World, asker: Asker, wish: Wish, now: float, verdict: Verdict, name: str | None
) -> tuple[str, str] | None:
    """What becomes of a hello with this server name (None: with none) under what `judge` let pass."""
    rule = next((one for one in world.rules if one["full"] == verdict.rule), {"sni": "any", "mode": "report"})
    sni, refusal = rule.get("sni", "match"), "WouldDeny" if mode_for(world, rule, asker) == "report" else "Deny"
    literal = not isinstance(wish.host, str)
    if name is None:
        return None if literal or sni == "any" else (refusal, "sni_missing")
    if name == wish.host:
        return None
    other = judge(world, asker, Wish(name, wish.port), now)
    if other.reason == "denied_by_rule":
        return "Deny", "sni_denied"
    same_rule = sni == "rule" and other.reason is None and other.rule == verdict.rule
    if not (literal or sni == "any" or same_rule) and refusal == "Deny":
        return "Deny", "sni_mismatch"
    if other.would_deny is not None and other.would_deny[0] == "denied_by_rule":
        return "WouldDeny", "sni_denied"
    return None if literal or sni == "any" or same_rule else ("WouldDeny", "sni_mismatch")


def challenges(world: World, asker: Asker, wish: Wish, now: float) -> bool:
    """Whether a client without credentials that is refused would pass as a member of a group that some could prove."""
    provable = [
        name
        for name, group in world.groups.items()
        for entry in group["match"]
        if "user" in entry or "namespace" in entry or "namespace_labels" in entry
        if "spiffe" not in entry and "labels" not in entry
        if "cidr" not in entry or fits("cidr", entry["cidr"], asker)
    ]
    passes = [judge(world, asker._replace(joined=name), wish, now).reason is None for name in provable]
    return judge(world, asker, wish, now).reason is not None and any(passes)


# Addresses.

SPECIAL = """0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 192.168.0.0/16
    198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 240.0.0.0/4 2001::/23 2001:db8::/32 2002::/16 3fff::/20"""
ANYCAST = """192.0.0.9/32 192.0.0.10/32 2001:1::1/128 2001:1::2/128 2001:1::3/128 2001:3::/32 2001:4:112::/48
    2001:20::/28 2001:30::/28"""
CLOSE = """127.0.0.0/8 ::1/128 169.254.0.0/16 fe80::/10 168.63.129.16/32 100.100.100.200/32 192.0.0.192/32
    fd00:ec2::254/128 fd00:ec2::23/128 fd20:ce::254/128 fd00:c1::a9fe:a9fe/128 fd00:42::42/128 fd00:a9fe:a9fe::1/128"""
NEVER = "0.0.0.0/32 255.255.255.255/32 224.0.0.0/4 ::/128 ff00::/8"


def inside(address: IP, texts: str | list[str]) -> bool:
    return any(address in one for one in networks(texts.split() if isinstance(texts, str) else texts))


def embedded(address: IP) -> list[IPv4Address]:
    if isinstance(address, IPv4Address):
        return []
    if address in ip_network("64:ff9b::/96") or address in ip_network("64:ff9b:1::/48") or inside(address, "::/96"):
        return [IPv4Address(int(address) & 0xFFFFFFFF)] if int(address) > 1 else []
    if address.sixtofour is not None:
        return [address.sixtofour]
    return list(address.teredo or ())


def refuses(world: World, asker: Asker, wish: Wish, now: float, verdict: Verdict, address: IP) -> bool:
    """Whether this address must not be dialled for what `judge` let pass: as it is, or for an IPv4 in it."""
    rule = next((one for one in world.rules if one["full"] == verdict.rule), None)
    is_nat64 = inside(address, "64:ff9b::/96 64:ff9b:1::/48")
    forms = [address, *embedded(address)]
    if rule is not None and "within" in rule:
        if not any(inside(one, rule["within"]) for one in (forms if is_nat64 else [address])):
            return True
    return any(
        (str(one), wish.port) in world.own
        or inside(one, NEVER)
        or inside(one, world.deny)
        or is_denied(world, asker, wish._replace(host=verdict.host or wish.host), now, one)
        or not (is_global(one) or ((one is address or is_nat64) and is_opened(world, rule, one, verdict.host)))
        for one in forms
    )


def is_denied(world: World, asker: Asker, wish: Wish, now: float, address: IP) -> bool:
    """By a rule that enforces. What takes out a name takes it out wherever the name leads."""
    tiers = (None, asker.facts.get("namespace")) if asker.known else (None,)
    return any(
        action(rule) == "deny"
        and rule["team"] in tiers
        and speaks(world, rule, address, wish.port, asker, now)
        and not (isinstance(wish.host, str) and is_excepted(world, rule, wish.host, asker))
        and mode_for(world, rule, asker) == "enforce"
        for rule in world.rules
    )


def is_opened(world: World, rule: Document | None, address: IP, host: Destination | None) -> bool:
    """An address that is not global unicast, by the rule that let pass `host`."""
    if rule is None:
        return False
    own, private = place(rule, address) is not None, inside(address, rule.get("private", []))
    if not inside(address, CLOSE):
        return inside(address, world.allow) or private or (own and not isinstance(host, str))
    if address.is_loopback and inside(address, world.allow):
        return True
    if not isinstance(host, str):
        return place(rule, address, exact=True) is not None
    return private and not any(name.startswith("*") for name, _ in rule["patterns"])


def is_global(address: IP) -> bool:
    if inside(address, CLOSE) or not inside(address, "0.0.0.0/0 2000::/3 64:ff9b::/96"):
        return False
    return inside(address, ANYCAST) or not inside(address, SPECIAL)
