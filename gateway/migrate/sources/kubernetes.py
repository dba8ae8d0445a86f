"""What NetworkPolicy, CiliumNetworkPolicy and Istio's objects have in common: objects, selectors and ports."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gateway.migrate.findings import Findings
from gateway.migrate.grants import GroupEntry, Imported, Origin, Who
from gateway.migrate.reading import Node
from gateway.migrate.sets import EVERY_PORT, NO_ADDRESS, AddressSet, Spans, addresses, spans
from gateway.model.addresses import Network, parse_network

_MOST_ENTRIES = 1000
"""Combinations of one selector's values: `In` has several."""


@dataclass(frozen=True, slots=True)
class Object:
    """One object of a manifest."""

    kind: str
    name: str
    namespace: str
    spec: Node
    place: str

    @property
    def origin(self) -> Origin:
        """For rules that it becomes."""
        return Origin(self.place, f"{self.namespace}.{self.name}")


def objects(documents: Iterable[Node], kinds: tuple[str, ...], findings: Findings) -> Iterator[Object]:
    """Those of these kinds, lists opened; the others are noted. Raises `Unreadable`."""
    for document in documents:
        kind = document.get("kind").text_or("")
        if kind.endswith("List") or "items" in document.mapping():
            yield from objects(document.get("items").items(), kinds, findings)
        elif kind in kinds:
            meta = document.get("metadata")
            name, namespace = meta.get("name").text_or("unnamed"), meta.get("namespace").text_or("default")
            for spec in (document.get("spec"), *document.get("specs").items()):
                if spec.value is not None:
                    yield Object(kind, name, namespace, spec, document.place)
        else:
            findings.note(document.place, f"{kind or 'an object without kind'} is not read")


def selected(selector: Node, namespace: str, findings: Findings, denies: bool = False) -> list[GroupEntry] | None:
    """The entries of a group of the pods that a LabelSelector picks in a namespace; None if that cannot be said."""
    expressions = [_choices(each) for each in selector.get("matchExpressions").items()]
    labels = [(key, [value.text_or("")]) for key, value in selector.get("matchLabels").mapping().items()]
    if None in expressions or selector.others("matchLabels", "matchExpressions"):
        findings.left_out(selector.place, "a group can only name labels that must be there and their values", denies)
        return None
    choices = labels + [choice for choice in expressions if choice is not None]
    if any("" in values for _, values in choices):
        findings.left_out(selector.place, "a group cannot ask for a label with an empty value", denies)
        return None
    return _entries(choices, namespace, selector)


def _choices(expression: Node) -> tuple[str, list[str]] | None:
    if expression.get("operator").text_or("") != "In":
        return None
    return expression.get("key").text(), [value.text() for value in expression.get("values").items()]


def _entries(choices: list[tuple[str, list[str]]], namespace: str, selector: Node) -> list[GroupEntry]:
    """One entry for each combination. Cilium's prefixes are taken off; its own labels are facts of ours."""
    entries = [GroupEntry((("namespace", namespace),))]
    for label, values in choices:
        key = label.removeprefix("k8s:").removeprefix("any:")
        entries = [_narrowed(entry, key, value) for entry in entries for value in values]
        if len(entries) > _MOST_ENTRIES:
            raise selector.refusal(f"stands for more than {_MOST_ENTRIES} combinations of labels")
    return entries


def _narrowed(entry: GroupEntry, key: str, value: str) -> GroupEntry:
    match key:
        case "io.kubernetes.pod.namespace":
            return GroupEntry((("namespace", value), *entry.facts[1:]), entry.labels)
        case "io.cilium.k8s.policy.serviceaccount":
            return GroupEntry((*entry.facts, ("service_account", value)), entry.labels)
    return GroupEntry(entry.facts, tuple(sorted((*entry.labels, (key, value)))))


def who_is_selected(imported: Imported, object_: Object, selector: Node, denies: bool = False) -> Who | None:
    """The group of the pods that an object speaks of; None if that cannot be said."""
    entries = selected(selector, object_.namespace, imported.findings, denies)
    if not entries:
        return None
    everyone = entries == [GroupEntry((("namespace", object_.namespace),))]
    name = object_.namespace if everyone else f"{object_.namespace}.{object_.name}"
    return Who((imported.group(name, entries, object_.place),))


def port_spans(ports: Node, findings: Findings, denies: bool = False) -> Spans:
    """The TCP ports of a list of `{protocol, port, endPort}`; every one if the list is empty."""
    if not ports.items():
        return EVERY_PORT
    found = []
    for entry in ports.items():
        protocol = entry.get("protocol").text_or("TCP").upper()
        if protocol not in ("TCP", "ANY"):
            findings.note(entry.place, f"{protocol} does not go through the gateway")
            continue
        found += list(_port_range(entry, findings, denies))
    return spans(found)


def _port_range(entry: Node, findings: Findings, denies: bool) -> Iterator[tuple[int, int]]:
    written = entry.get("port").text_or("0")
    if not written.isascii() or not written.isdigit():
        findings.left_out(entry.place, f"the port {written} is a name, which pods give a meaning", denies)
        return
    first = int(written)
    last = entry.get("endPort").text_or(written)
    if first == 0:
        yield EVERY_PORT.ranges[0]
    elif last.isascii() and last.isdigit() and first <= int(last) <= 65535:
        yield first, int(last)
    else:
        raise entry.refusal(f"{written} to {last} are no ports")


def network_at(node: Node) -> Network:
    """A CIDR. Bits beyond the prefix are an error, as they are with us."""
    network = parse_network(node.text())
    if network is None:
        raise node.refusal(f"{node.text()!r} is no network")
    return network


def excepted(list_: Node) -> AddressSet:
    """What a list of CIDRs takes out."""
    taken_out = [network_at(node) for node in list_.items()]
    return addresses(taken_out) if taken_out else NO_ADDRESS
