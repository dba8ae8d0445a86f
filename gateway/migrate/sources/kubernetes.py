"""Shared by NetworkPolicy, CiliumNetworkPolicy and Istio's objects: objects, selectors and ports."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from gateway.migrate.findings import Findings
from gateway.migrate.grants import GroupEntry, Imported, Origin, Who
from gateway.migrate.reading import Node
from gateway.migrate.sets import EVERY_PORT, NO_ADDRESS, AddressSet, Spans, addresses, spans
from gateway.model.addresses import Network, parse_loosely

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


Kinds = Mapping[str, str]
"""The API group of each kind: others have some of the same name."""


def objects(documents: Iterable[Node], kinds: Kinds, findings: Findings) -> Iterator[Object]:
    """Those of these kinds, lists opened; the others are noted. Raises `Unreadable`."""
    for document in _opened(documents):
        if not _is_of(document, kinds):
            findings.note(document.place, f"{_called(document)} is not read")
            continue
        meta = document.get("metadata")
        name, namespace = meta.get("name").text_or("unnamed"), meta.get("namespace").text_or("")
        if not namespace and "Clusterwide" not in document.get("kind").text():
            findings.note(document.place, f"{name} names no namespace; where that counts it is default")
        for spec in (document.get("spec"), *document.get("specs").items()):
            if spec.value is not None:
                yield Object(document.get("kind").text(), name, namespace or "default", spec, document.place)


def others_than(documents: Iterable[Node], kinds: Kinds) -> list[str] | None:
    """The kinds of the documents if none is one of these; else None. Raises `Unreadable`."""
    every = list(_opened(documents))
    if any(_is_of(document, kinds) for document in every):
        return None
    return sorted({_called(document) for document in every})


def _opened(documents: Iterable[Node]) -> Iterator[Node]:
    for document in documents:
        if document.get("kind").text_or("").endswith("List") or "items" in document.mapping():
            yield from _opened(_item(document, item) for item in document.get("items").items())
        else:
            yield document


def _item(list_: Node, item: Node) -> Node:
    """Items of a list as the API gives it do not repeat kind and version: those of a PodList are Pods."""
    kind = list_.get("kind").text_or("").removesuffix("List")
    if not kind or item.get("kind").value is not None:
        return item
    own = {"kind": Node(kind, item.file, item.line), "apiVersion": list_.get("apiVersion")}
    return Node({**own, **item.mapping()}, item.file, item.line)


def _is_of(document: Node, kinds: Kinds) -> bool:
    group = kinds.get(document.get("kind").text_or(""))
    return group is not None and document.get("apiVersion").text_or(group).partition("/")[0] == group


def _called(document: Node) -> str:
    kind, version = document.get("kind").text_or(""), document.get("apiVersion").text_or("")
    return " of ".join(filter(None, (kind, version))) if kind else "an object without kind"


def selected(selector: Node, namespace: str, findings: Findings, denies: bool = False) -> list[GroupEntry] | None:
    """The group entries for the pods that a LabelSelector picks in a namespace; None if they cannot be expressed."""
    expressions = [_choices(each) for each in selector.get("matchExpressions").items()]
    labels = [(key, [value.text_or("")]) for key, value in selector.get("matchLabels").mapping().items()]
    if None in expressions or selector.others("matchLabels", "matchExpressions"):
        findings.left_out(selector.place, "a group can only name labels that must be there and their values", denies)
        return None
    choices = labels + [choice for choice in expressions if choice is not None]
    if any("" in values for _, values in choices):
        findings.left_out(selector.place, "a group cannot ask for a label with an empty value", denies)
        return None
    asked = _asked_of_pods(choices, namespace, selector, findings, denies)
    return None if asked is None else _entries(asked, namespace, selector)


def namespaces_in(selector: Node) -> list[str] | None:
    """Those that a clusterwide selector names, as one of Cilium's may; None if it names none."""
    expressions = [_choices(each) for each in selector.get("matchExpressions").items()]
    labels = [(key, [value.text_or("")]) for key, value in selector.get("matchLabels").mapping().items()]
    named = [values for key, values in (*labels, *filter(None, expressions)) if _bare(key) == _NAMESPACE]
    return [name for name in named[0] if all(name in values for values in named)] if named else None


_NAMESPACE, _ACCOUNT = "io.kubernetes.pod.namespace", "io.cilium.k8s.policy.serviceaccount"
_NAMED = "io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name"
"""A label that every namespace has: its name."""


def _asked_of_pods(
    choices: list[tuple[str, list[str]]], namespace: str, selector: Node, findings: Findings, denies: bool
) -> dict[str, list[str]] | None:
    """The values that labels may have, and the service account; None where something else than a pod's is asked for.
    Cilium's prefixes are removed; a policy applies to its own namespace, whatever it says."""
    asked: dict[str, list[str]] = {}
    for label, values in choices:
        key = _bare(label)
        if ":" in key or (key.startswith("io.cilium.") and key != _ACCOUNT):
            findings.left_out(selector.place, f"{label} is no label of a pod", denies)
            return None
        if key != _NAMESPACE:
            asked[key] = [value for value in asked.get(key, values) if value in values]
        elif namespace not in values:
            findings.note(selector.place, f"a policy speaks of pods of its own namespace, {namespace}")
        if not asked.get(key, values):
            findings.note(selector.place, f"no pod has two values of {key}")
    return asked


def _bare(label: str) -> str:
    bare = label.removeprefix("k8s:").removeprefix("any:")
    return _NAMESPACE if bare == _NAMED else bare


def _choices(expression: Node) -> tuple[str, list[str]] | None:
    if expression.get("operator").text_or("") != "In":
        return None
    return expression.get("key").text(), [value.text() for value in expression.get("values").items()]


def _entries(asked: Mapping[str, list[str]], namespace: str, selector: Node) -> list[GroupEntry]:
    """One entry for each combination; Cilium's label for a service account is a fact of ours."""
    entries = [GroupEntry((("namespace", namespace),))]
    for key, values in asked.items():
        entries = [_narrowed(entry, key, value) for entry in entries for value in values]
        if len(entries) > _MOST_ENTRIES:
            raise selector.refusal(f"stands for more than {_MOST_ENTRIES} combinations of labels")
    return entries


def _narrowed(entry: GroupEntry, key: str, value: str) -> GroupEntry:
    if key == _ACCOUNT:
        return GroupEntry((*entry.facts, ("service_account", value)), entry.labels)
    return GroupEntry(entry.facts, tuple(sorted((*entry.labels, (key, value)))))


def who_is_selected(imported: Imported, object_: Object, selector: Node, denies: bool = False) -> Who | None:
    """The group of the pods that an object applies to; None if it cannot be expressed."""
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


def network_at(node: Node, findings: Findings) -> Network:
    """A CIDR. Bits beyond its prefix do not count there, which is noted: with us they are an error."""
    parsed = parse_loosely(node.text())
    if parsed is None:
        raise node.refusal(f"{node.text()!r} is no network")
    network, is_exact = parsed
    if not is_exact:
        findings.note(node.place, f"{node.text()} has bits beyond its prefix: it stands for {network}")
    return network


def excepted(list_: Node, findings: Findings) -> AddressSet:
    """The networks that a list of CIDRs takes out."""
    taken_out = [network_at(node, findings) for node in list_.items()]
    return addresses(taken_out) if taken_out else NO_ADDRESS
