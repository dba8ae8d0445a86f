"""Istio's ServiceEntry (networking.istio.io/v1), and of Sidecar what `outboundTrafficPolicy` says.

`*.example.com` is every name below at any depth. A port's protocol says how a host is recognised: by Host in HTTP, by
SNI in TLS, by nothing but the address in TCP. What a mesh does to traffic (other ports, TLS of its own) has no
counterpart: here a client asks for what is dialled.
"""

from collections.abc import Iterable

from gateway.migrate.grants import EVERYONE, GroupEntry, Imported, Origin, Terms, Who
from gateway.migrate.patterns import Patterns, name_at, tell
from gateway.migrate.reading import Node
from gateway.migrate.sets import NO_ADDRESS, AddressSet, Spans, addresses, ports, special_purpose
from gateway.migrate.sources.kubernetes import Object, network_at, objects, who_is_selected
from gateway.model.addresses import parse_network
from gateway.model.intent import Protocol
from gateway.policy.rules import Reach

ENTRY, SIDECAR, AUTHORIZATION = "ServiceEntry", "Sidecar", "AuthorizationPolicy"
KINDS = {ENTRY: "networking.istio.io", SIDECAR: "networking.istio.io", AUTHORIZATION: "security.istio.io"}
_PROTOCOLS = {
    "HTTP": Protocol.HTTP,
    "HTTPS": Protocol.TLS,
    "TLS": Protocol.TLS,
    "HTTP2": Protocol.TCP,
    "GRPC": Protocol.TCP,
    "GRPC-WEB": Protocol.HTTP,
    "MONGO": Protocol.TCP,
    "TCP": Protocol.TCP,
}
_USUAL = {443: Protocol.TLS, 80: Protocol.HTTP}
_BY_ADDRESS = ("TCP", "MONGO")


def read_istio(documents: Iterable[Node]) -> Imported:
    """Raises `Unreadable`."""
    imported = Imported()
    for object_ in objects(documents, KINDS, imported.findings):
        if object_.kind == ENTRY:
            _entry(imported, object_)
        elif object_.kind == SIDECAR:
            _sidecar(imported, object_)
        else:
            imported.findings.left_out(object_.place, f"{AUTHORIZATION} {object_.name} is not read", denies=True)
    imported.findings.note(ENTRY, "a mesh lets everything pass unless it says REGISTRY_ONLY; here no rule is a refusal")
    return imported


def _entry(imported: Imported, entry: Object) -> None:
    findings, spec = imported.findings, entry.spec
    if spec.get("location").text_or("") == "MESH_INTERNAL" or spec.get("workloadSelector").value is not None:
        findings.note(entry.place, f"{entry.name} is inside the mesh, which the gateway is not asked for")
        return
    who = _seen_by(imported, entry)
    if who is None:
        findings.note(entry.place, f"{entry.name} is exported to nobody")
        return
    if spec.get("resolution").text_or("NONE") == "NONE":
        findings.note(entry.place, f"{entry.name}: names are resolved by the gateway, not by its clients")
    if spec.get("subjectAltNames").items():
        findings.note(entry.place, f"{entry.name}: subjectAltNames are for TLS that a mesh begins")
    for port in spec.get("ports").items():
        _port(imported, entry, who, port)


def _seen_by(imported: Imported, entry: Object) -> Who | None:
    """The namespaces to which it is exported."""
    exported = [node.text() for node in entry.spec.get("exportTo").items()]
    if not exported or "*" in exported:
        return EVERYONE
    names = sorted({entry.namespace if name == "." else name for name in exported if name != "~"})
    if not names:
        return None
    entries = [GroupEntry((("namespace", name),)) for name in names]
    return Who((imported.group("-".join(names), entries, entry.place),))


def _port(imported: Imported, entry: Object, who: Who, port: Node) -> None:
    findings, number = imported.findings, port.get("number")
    if not isinstance(number.value, int) or not 1 <= number.value <= 65535:
        raise number.refusal("must be a port")
    if port.get("targetPort").value not in (None, number.value):
        findings.left_out(port.place, f"port {number.value} leads to another: clients must ask for that one")
        return
    spoken = port.get("protocol").text_or("TCP").upper()
    protocol = _PROTOCOLS.get(spoken)
    if protocol is None:
        findings.left_out(port.place, f"the protocol {spoken} is not known here")
        return
    if spoken in ("HTTP2", "GRPC"):
        findings.note(port.place, f"{spoken} in the clear is passed on as it is (protocol: tcp)")
    single, usual = ports(number.value), _USUAL.get(number.value)
    wanted = None if protocol is usual else protocol
    if spoken in _BY_ADDRESS:
        _by_address(imported, entry, who, single)
    for host in entry.spec.get("hosts").items():
        terms = _pinned(imported, entry, wanted)
        for pattern in _patterns(imported, host):
            imported.allow_name(Origin(host.place, entry.origin.name), who, pattern, single, terms)


def _by_address(imported: Imported, entry: Object, who: Who, single: Spans) -> None:
    listed = [network_at(node) for node in entry.spec.get("addresses").items()]
    if listed:
        imported.allow_addresses(entry.origin, who, addresses(listed), single, Protocol.TCP)
    else:
        imported.findings.left_out(entry.place, f"{entry.name}: TCP to any address; here to its hosts")


def _pinned(imported: Imported, entry: Object, protocol: Protocol | None) -> Terms:
    """The endpoints are where the host leads: the addresses from DNS must be among them."""
    endpoints = [node.get("address") for node in entry.spec.get("endpoints").items()]
    networks = [parse_network(node.text_or("")) for node in endpoints]
    known = [network for network in networks if network is not None]
    if not known:
        if endpoints:
            imported.findings.note(entry.place, f"{entry.name}: endpoints by name are not followed; hosts are resolved")
        return Terms(protocol)
    within: AddressSet = addresses(known)
    imported.findings.note(entry.place, f"{entry.name}: its hosts must resolve to its endpoints")
    exact = not any(node.text().startswith("*") for node in entry.spec.get("hosts").items())
    return Terms(protocol, within, private=within & special_purpose() if exact else NO_ADDRESS)


def _patterns(imported: Imported, host: Node) -> Patterns:
    written = host.text()
    found = name_at(written.removeprefix("*."), Reach.BELOW if written.startswith("*.") else Reach.EXACT)
    if found is None:
        imported.findings.left_out(host.place, f"the host {written!r} has no counterpart")
        return ()
    tell(imported.findings, f"host {written} ({host.place})", (found,))
    return (found,)


def _sidecar(imported: Imported, sidecar: Object) -> None:
    findings, spec = imported.findings, sidecar.spec
    labels = spec.get("workloadSelector").get("labels")
    selector = Node({"matchLabels": labels}, labels.file, labels.line)
    shown = [host.text() for listener in spec.get("egress").items() for host in listener.get("hosts").items()]
    if any(host != "*/*" for host in shown):
        narrowed = f"{sidecar.name}: egress.hosts narrows what its workloads know of"
        findings.left_out(sidecar.place, narrowed, denies=True)
    elif any(listener.others("hosts") for listener in spec.get("egress").items()):
        findings.left_out(sidecar.place, f"{sidecar.name}: egress narrows what its workloads reach", denies=True)
    if spec.at("outboundTrafficPolicy", "mode").text_or("") != "ALLOW_ANY":
        findings.note(sidecar.place, f"{sidecar.name}: what no rule allows is refused, as with REGISTRY_ONLY")
        return
    who = who_is_selected(imported, sidecar, selector)
    if who is not None:
        findings.note(sidecar.place, f"{sidecar.name}: ALLOW_ANY opens EVERYTHING to these workloads, here too")
        imported.allow_anything(sidecar.origin, who)
