"""NetworkPolicy (networking.k8s.io/v1), egress only: pods, networks and ports.

Policies add up. A policy that selects a pod for egress isolates it, as every client is here. Missing or empty `to` is
anywhere, missing or empty `ports` every port. An address-only statement becomes `cidrs` for clients that name an
address and `hosts: ["*"]` with `within` for clients that name a name that leads there.
"""

from collections.abc import Iterable

from gateway.migrate.grants import Imported, Who
from gateway.migrate.reading import Node
from gateway.migrate.sets import Spans
from gateway.migrate.sources.kubernetes import Object, excepted, network_at, objects, port_spans, who_is_selected

KIND = "NetworkPolicy"
KINDS = {KIND: "networking.k8s.io"}


def read_network_policies(documents: Iterable[Node]) -> Imported:
    """Raises `Unreadable`."""
    imported = Imported()
    for policy in objects(documents, KINDS, imported.findings):
        _policy(imported, policy)
    imported.findings.note(KIND, "pods that no policy selects reach everything there, and nothing here")
    return imported


def _policy(imported: Imported, policy: Object) -> None:
    types = [node.text() for node in policy.spec.get("policyTypes").items()]
    if "Egress" not in types and (types or policy.spec.get("egress").value is None):
        imported.findings.note(policy.place, f"{policy.name} says nothing of egress")
        return
    who = who_is_selected(imported, policy, policy.spec.get("podSelector"))
    if who is not None:
        for rule in policy.spec.get("egress").items():
            _rule(imported, policy, who, rule)


def _rule(imported: Imported, policy: Object, who: Who, rule: Node) -> None:
    unknown = rule.others("to", "ports")
    if unknown:
        imported.findings.left_out(rule.place, f"the rule has {unknown[0]}, which is not known here")
        return
    ports = port_spans(rule.get("ports"), imported.findings)
    if not ports:
        return
    peers = rule.get("to").items()
    if not peers:
        imported.allow_anything(policy.origin, who, ports)
    for peer in peers:
        _peer(imported, policy, who, peer, ports)


def _peer(imported: Imported, policy: Object, who: Who, peer: Node, ports: Spans) -> None:
    block = peer.get("ipBlock")
    if block.value is None:
        imported.findings.note(peer.place, "pods are reached without the gateway: that stays in the NetworkPolicy")
        return
    findings = imported.findings
    network, but = network_at(block.get("cidr"), findings), excepted(block.get("except"), findings)
    imported.allow_network(policy.origin, who, [network], but, ports)
