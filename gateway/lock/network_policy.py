"""The lock of a namespace: a NetworkPolicy that leaves its pods nothing but DNS and the gateway.

A proxy that can be bypassed is only advice. NetworkPolicies add up, so no other policy of the namespace may allow more.
Only what the network plug-in enforces is locked; pods on the host's network never are.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from gateway.model.addresses import Network

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", re.ASCII)
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", re.ASCII)
DNS_PORTS = (53,)

Labels = Mapping[str, str]


class InvalidName(ValueError):
    """Not a valid name or label in Kubernetes; the text says which."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Pods of one namespace."""

    namespace: str
    labels: Labels


@dataclass(frozen=True, slots=True)
class Lock:
    """`pods` is empty for every pod of the namespace. `ports` are the gateway's containers', `dns_ports` the name
    servers': packets are judged by the pod's port, not the Service's. `resolvers` are addresses of name servers that
    are not pods, such as a node-local cache."""

    namespace: str
    gateway: Peer
    ports: tuple[int, ...]
    dns: Peer
    resolvers: tuple[Network, ...] = ()
    pods: Labels = field(default_factory=lambda: MappingProxyType({}))
    dns_ports: tuple[int, ...] = DNS_PORTS


def parse_labels(text: str) -> Labels:
    """`key=value,key=value`. Raises `InvalidName`."""
    labels = {}
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            raise InvalidName(f"{part!r} is not a label such as app=web")
        labels[key] = value
    return labels


def lock_manifest(lock: Lock) -> str:
    """The NetworkPolicy as YAML. Raises `InvalidName`."""
    for name in (lock.namespace, lock.gateway.namespace, lock.dns.namespace):
        if not _NAMESPACE.fullmatch(name):
            raise InvalidName(f"{name!r} is not the name of a namespace")
    return "\n".join(_lines(lock)) + "\n"


def _lines(lock: Lock) -> Iterator[str]:
    yield "apiVersion: networking.k8s.io/v1"
    yield "kind: NetworkPolicy"
    yield "metadata:"
    yield "  name: egress-gateway-only"
    yield f'  namespace: "{lock.namespace}"'
    yield "spec:"
    yield f"  podSelector: {_selector(lock.pods)}"
    yield "  policyTypes: [Egress]"
    yield "  egress:"
    yield "    - to:  # DNS"
    yield from _peer(lock.dns)
    for network in lock.resolvers:
        yield f'        - ipBlock: {{cidr: "{network}"}}'
    yield f"      ports: [{', '.join(_port(protocol, port) for port in lock.dns_ports for protocol in ('UDP', 'TCP'))}]"
    yield "    - to:  # the gateway"
    yield from _peer(lock.gateway)
    yield f"      ports: [{', '.join(_port('TCP', port) for port in lock.ports)}]"


def _port(protocol: str, port: int) -> str:
    return f"{{protocol: {protocol}, port: {port}}}"


def _peer(peer: Peer) -> Iterator[str]:
    yield f'        - namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: "{peer.namespace}"}}}}'
    yield f"          podSelector: {_selector(peer.labels)}"


def _selector(labels: Labels) -> str:
    if not labels:
        return "{}"
    listed = ", ".join(f'{key}: "{value}"' for key, value in sorted(labels.items()))
    return f"{{matchLabels: {{{listed}}}}}"
