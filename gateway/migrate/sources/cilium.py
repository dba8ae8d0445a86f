"""CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy (cilium.io/v2), egress: names, networks, entities, ports.

`matchPattern` is read as Cilium's code reads it (pkg/fqdn/matchpattern, 1.19), not as its comments have it: a star
stands for characters inside one label, a leading `**.` for one or more labels, and a pattern of stars for every name.
Deny wins over allow, knows no names, and a rule without destination and ports allows nothing.
"""

import re
from collections.abc import Iterable, Iterator

from gateway.migrate.findings import Findings
from gateway.migrate.grants import EVERYONE, Imported, Origin, Refusal, Who
from gateway.migrate.patterns import ANYTHING, Patterns, name_at, tell
from gateway.migrate.reading import Node
from gateway.migrate.sets import (
    EVERY_ADDRESS,
    EVERY_PORT,
    NO_ADDRESS,
    AddressSet,
    Spans,
    addresses,
    special_purpose,
    union,
)
from gateway.migrate.sources.kubernetes import (
    Object,
    excepted,
    namespaces_in,
    network_at,
    objects,
    port_spans,
    selected,
    who_is_selected,
)
from gateway.model.addresses import Network
from gateway.policy.rules import Reach

NAMESPACED, CLUSTERWIDE = "CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy"
KINDS = {NAMESPACED: "cilium.io", CLUSTERWIDE: "cilium.io"}
_ELSEWHERE = ("toEndpoints", "toRequires", "toServices", "toNodes", "icmps", "authentication")
_DESTINATIONS = ("toFQDNs", "toCIDR", "toCIDRSet", "toEntities", "toGroups", *_ELSEWHERE)
_ONLY_STARS = re.compile(r"\*+\.?")
_WHOLE_LABELS = re.compile(r"(?:\*\.){2,}([^*]+)")
_ALLOWED = re.compile(r"[-a-zA-Z0-9_.*]{1,255}", re.ASCII)
_WORLD = {"world": EVERY_ADDRESS, "all": EVERY_ADDRESS, "world-ipv4": AddressSet(EVERY_ADDRESS.v4)}
_WORLD["world-ipv6"] = AddressSet(v6=EVERY_ADDRESS.v6)


def read_cilium_policies(documents: Iterable[Node]) -> Imported:
    """Raises `Unreadable`."""
    imported = Imported()
    for policy in objects(documents, KINDS, imported.findings):
        _policy(imported, policy)
    imported.findings.note(NAMESPACED, "pods that no policy selects reach everything there, and nothing here")
    return imported


def _policy(imported: Imported, policy: Object) -> None:
    denies = bool(policy.spec.get("egressDeny").items())
    who = _who(imported, policy, denies)
    if who is None:
        return
    if policy.spec.at("enableDefaultDeny", "egress").value is False:
        imported.findings.left_out(policy.place, "enableDefaultDeny.egress: false lets the rest pass there")
    for rule in policy.spec.get("egress").items():
        _allow(imported, policy.origin, who, rule)
    for rule in policy.spec.get("egressDeny").items():
        _deny(imported, policy.origin, who, rule)


def _who(imported: Imported, policy: Object, denies: bool) -> Who | None:
    selector = policy.spec.get("endpointSelector")
    if policy.spec.get("nodeSelector").value is not None:
        imported.findings.left_out(policy.place, "a nodeSelector speaks of nodes, not of pods", denies)
        return None
    if policy.kind == NAMESPACED:
        return who_is_selected(imported, policy, selector, denies)
    if not selector.mapping():
        imported.findings.note(policy.place, f"{policy.name} speaks of every pod there, and of every client here")
        return EVERYONE
    namespaces = namespaces_in(selector)
    if namespaces is None:
        imported.findings.left_out(policy.place, "a clusterwide selector without a namespace cannot be said", denies)
        return None
    picked = [selected(selector, namespace, imported.findings, denies) for namespace in namespaces]
    entries = [entry for each in picked if each is not None for entry in each]
    return Who((imported.group(policy.name, entries, policy.place),)) if entries else None


def _allow(imported: Imported, origin: Origin, who: Who, rule: Node) -> None:
    findings = imported.findings
    if _is_strange(rule, findings, denies=False):
        return
    ports = _ports(rule.get("toPorts"), findings)
    if not ports:
        return
    for name in rule.get("toFQDNs").items():
        for pattern in patterns_of(name, findings):
            imported.allow_name(Origin(name.place, origin.name), who, pattern, ports)
    for place, networks, but in _networks(rule, findings):
        imported.allow_network(Origin(place, origin.name), who, networks, but, ports)
    for entity in rule.get("toEntities").items():
        _entity(imported, Origin(entity.place, origin.name), who, entity.text(), ports)
    if rule.get("toPorts").items() and not any(rule.get(key).value is not None for key in _DESTINATIONS):
        imported.allow_anything(Origin(rule.place, origin.name), who, ports)


def _entity(imported: Imported, origin: Origin, who: Who, entity: str, ports: Spans) -> None:
    world = _WORLD.get(entity)
    if world == EVERY_ADDRESS:
        imported.allow_anything(origin, who, ports)
    elif world is not None:
        networks = list(world.networks())
        imported.allow_network(origin, who, networks, special_purpose(), ports)
    else:
        imported.findings.note(origin.place, f"{entity} is reached without the gateway")


def _deny(imported: Imported, origin: Origin, who: Who, rule: Node) -> None:
    findings = imported.findings
    if _is_strange(rule, findings, denies=True):
        return
    if rule.get("toFQDNs").value is not None:
        findings.left_out(rule.place, "toFQDNs in egressDeny has no counterpart", denies=True)
    ports = _ports(rule.get("toPorts"), findings, denies=True)
    if not ports:
        return
    whole = [entity.text() for entity in rule.get("toEntities").items() if _WORLD.get(entity.text()) == EVERY_ADDRESS]
    anywhere = not any(rule.get(key).value is not None for key in _DESTINATIONS) and rule.get("toPorts").items()
    if whole or anywhere:
        refusal = Refusal(Origin(rule.place, f"{origin.name}-deny"), who, ANYTHING, EVERY_ADDRESS, ports)
        imported.refusals.append(refusal)
    refused = union(addresses(networks) - but for _, networks, but in _networks(rule, findings))
    for entity in rule.get("toEntities").items():
        if entity.text() not in whole:
            refused |= _refused_entity(entity, findings)
    if refused:
        place = Origin(rule.place, f"{origin.name}-deny")
        imported.refusals.append(Refusal(place, who, addresses=refused, ports=ports))


def _refused_entity(entity: Node, findings: Findings) -> AddressSet:
    """The API server alone may be outside of the cluster."""
    name = entity.text()
    if name == "kube-apiserver":
        findings.left_out(entity.place, f"{name} in egressDeny has no counterpart", denies=True)
    elif name not in _WORLD:
        findings.note(entity.place, f"{name} is reached without the gateway")
    return _WORLD.get(name, NO_ADDRESS)


def _is_strange(rule: Node, findings: Findings, denies: bool) -> bool:
    """Whether part of the rule cannot be carried over; what never passes a gateway is only noted."""
    unknown = rule.others("toPorts", *_DESTINATIONS)
    unknown += [key for key in ("toGroups",) if rule.get(key).value is not None]
    unknown += ["a CIDR group" for node in rule.get("toCIDRSet").items() if node.others("cidr", "except")]
    for key in unknown[:1]:
        findings.left_out(rule.place, f"{key} has no counterpart", denies)
        return True
    for key in _ELSEWHERE:
        if rule.get(key).value is not None:
            findings.note(rule.place, f"{key} speaks of what does not go through the gateway")
    return False


def _ports(list_: Node, findings: Findings, denies: bool = False) -> Spans:
    """The ports of all entries together, without those of entries that ask for more than ports."""
    if not list_.items():
        return EVERY_PORT
    found = Spans()
    for entry in list_.items():
        more = [key for key in entry.others("ports") if key != "rules"]
        rules = [key for key in entry.get("rules").mapping() if key != "dns"]
        if more or rules:
            findings.left_out(entry.place, f"toPorts with {(more + rules)[0]}: requests and names in TLS", denies)
        elif not entry.get("ports").items():
            findings.left_out(entry.place, "toPorts without ports", denies)
        else:
            found |= port_spans(entry.get("ports"), findings, denies)
    return found


def _networks(rule: Node, findings: Findings) -> Iterator[tuple[str, list[Network], AddressSet]]:
    """Where each stands, the network, and what is taken out of it."""
    for node in rule.get("toCIDR").items():
        yield node.place, [network_at(node, findings)], NO_ADDRESS
    for node in rule.get("toCIDRSet").items():
        if node.get("cidr").value is not None:
            cidr, but = node.get("cidr"), node.get("except")
            yield node.place, [network_at(cidr, findings)], excepted(but, findings)


def patterns_of(selector: Node, findings: Findings) -> Patterns:
    """What one entry of `toFQDNs` covers; none if it cannot be expressed, which is noted."""
    name, pattern = selector.get("matchName"), selector.get("matchPattern")
    if name.value is not None:
        exact = name_at(name.text().strip(), Reach.EXACT)
        if exact is None:
            findings.left_out(name.place, f"{name.text()!r} is no host name")
        return () if exact is None else (exact,)
    written = pattern.text().strip().lower()
    found = _pattern(written, pattern.place, findings)
    tell(findings, f"matchPattern {written} ({pattern.place})", found)
    return found


def _pattern(written: str, place: str, findings: Findings) -> Patterns:
    if _ONLY_STARS.fullmatch(written):
        return ANYTHING
    for start, reach in (("**.", Reach.BELOW), ("*.", Reach.CHILD), ("", Reach.EXACT)):
        rest = written.removeprefix(start)
        if written.startswith(start) and "*" not in rest:
            found = name_at(rest, reach) if _ALLOWED.fullmatch(written) else None
            if found is not None:
                return (found,)
            break
    return _inside_a_label(written, place, findings)


def _inside_a_label(written: str, place: str, findings: Findings) -> Patterns:
    """A star inside a label has no counterpart; `*example.com` is, among others, example.com, and that is kept."""
    if whole := _WHOLE_LABELS.fullmatch(written):
        text = f'so many labels and no more or fewer; here "*.{whole[1]}" is any number'
        findings.left_out(place, f"matchPattern {written}: {text}")
        return ()
    bare = written.lstrip("*")
    kept = name_at(bare, Reach.EXACT) if "*" not in bare and not bare.startswith(".") else None
    left = f", only {bare} itself is kept" if kept is not None else ""
    findings.left_out(place, f"matchPattern {written}: a star inside of a name{left}: write out the names")
    return () if kept is None else (kept,)
