"""Istio's ServiceEntry (networking.istio.io/v1), of Sidecar what `outboundTrafficPolicy` says, and of VirtualService
whether it may refuse requests to an entry's hosts.

`*.example.com` is every name below at any depth. A port's protocol says how a host is recognised: by Host in HTTP, by
SNI in TLS, by nothing but the address in TCP. What a mesh does to traffic (other ports, TLS of its own) has no
counterpart: here a client asks for what is dialled.
"""

from collections.abc import Iterable

from gateway.migrate.findings import Findings
from gateway.migrate.grants import EVERYONE, MORE_TO_OPEN, GroupEntry, Imported, Origin, Terms, Who
from gateway.migrate.patterns import Patterns, in_common, name_or_below, spelled, tell
from gateway.migrate.reading import Node
from gateway.migrate.sets import NO_ADDRESS, AddressSet, Spans, addresses, ports, special_purpose
from gateway.migrate.sources.kubernetes import Object, network_at, objects, who_is_selected
from gateway.model.addresses import Network, parse_network
from gateway.model.intent import Protocol
from gateway.policy.rules import ANY_HOST

ENTRY, SIDECAR, AUTHORIZATION = "ServiceEntry", "Sidecar", "AuthorizationPolicy"
KINDS = {ENTRY: "networking.istio.io", SIDECAR: "networking.istio.io", AUTHORIZATION: "security.istio.io"}
ROUTES = "VirtualService"
_READ = {**KINDS, ROUTES: "networking.istio.io"}
_ROUTE_ANSWERS = ("directResponse", "redirect")
_MATCHES_ALL = ("name", "port", "gateways")
"""Keys of a match that leave no request of a host out."""
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
_BY_HOST = ("HTTP", "HTTP2", "GRPC", "GRPC-WEB")


def read_istio(documents: Iterable[Node]) -> Imported:
    """Raises `Unreadable`."""
    imported = Imported()
    found = list(objects(documents, _READ, imported.findings))
    for object_ in found:
        if object_.kind == ENTRY:
            _entry(imported, object_)
        elif object_.kind == SIDECAR:
            _sidecar(imported, object_)
        elif object_.kind == AUTHORIZATION:
            imported.findings.left_out(object_.place, f"{AUTHORIZATION} {object_.name} is not read", denies=True)
    for routes in (each for each in found if each.kind == ROUTES):
        _routes(imported, routes)
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
    if _is_passed_on(entry):
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
    if type(number.value) is not int or not 1 <= number.value <= 65535:
        raise number.refusal("must be a port")
    endpoints, name = entry.spec.get("endpoints").items(), port.get("name").text_or("")
    led_to = [port.get("targetPort"), *(each.at("ports", name) for each in endpoints)]
    if any(node.value not in (None, number.value) for node in led_to):
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
        terms = _pinned(imported, entry, spoken, wanted)
        for pattern in _patterns(imported, host):
            imported.allow_name(Origin(host.place, entry.origin.name), who, pattern, single, terms)


def _by_address(imported: Imported, entry: Object, who: Who, single: Spans) -> None:
    listed = _listed(entry, imported.findings)
    if not listed:
        imported.findings.left_out(entry.place, f"{entry.name}: TCP to any address; here to its hosts")
    elif _is_passed_on(entry):
        imported.allow_addresses(entry.origin, who, addresses(listed), single, Protocol.TCP)
    else:
        text = f"{entry.name}: its addresses stand for where its hosts lead; here clients ask for the hosts"
        imported.findings.left_out(entry.place, text)


def _listed(entry: Object, findings: Findings) -> list[Network]:
    return [network_at(node, findings) for node in entry.spec.get("addresses").items()]


def _is_passed_on(entry: Object) -> bool:
    """Whether connections go to the address that the client dialled."""
    return entry.spec.get("resolution").text_or("NONE") == "NONE"


def _pinned(imported: Imported, entry: Object, spoken: str, protocol: Protocol | None) -> Terms:
    """Where its hosts must lead: to its endpoints, or, where connections go on to what was dialled and are not told by
    Host, to its addresses."""
    listed = _listed(entry, imported.findings)
    if listed and _is_passed_on(entry) and spoken not in _BY_HOST:
        imported.findings.note(entry.place, f"{entry.name}: its hosts must resolve to its addresses")
        return _within(imported, entry, protocol, addresses(listed))
    endpoints = [node.get("address") for node in entry.spec.get("endpoints").items()]
    networks = [parse_network(node.text_or("")) for node in endpoints]
    known = [network for network in networks if network is not None]
    if not known:
        if endpoints:
            imported.findings.note(entry.place, f"{entry.name}: endpoints by name are not followed; hosts are resolved")
        return Terms(protocol)
    imported.findings.note(entry.place, f"{entry.name}: its hosts must resolve to its endpoints")
    return _within(imported, entry, protocol, addresses(known))


def _within(imported: Imported, entry: Object, protocol: Protocol | None, known: AddressSet) -> Terms:
    """Special-purpose addresses of exact hosts are opened by the rule itself."""
    special = known & special_purpose()
    exact = not any(node.text().startswith("*") for node in entry.spec.get("hosts").items())
    if special and not exact:
        imported.findings.note(entry.place, f"{entry.name}: {MORE_TO_OPEN}")
    return Terms(protocol, known, private=special if exact else NO_ADDRESS)


def _patterns(imported: Imported, host: Node) -> Patterns:
    written = host.text()
    found = name_or_below(written)
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


def _routes(imported: Imported, routes: Object) -> None:
    """Requests that no route covers, or that one answers itself, do not reach the host there."""
    names = [name_or_below(node.text()) for node in routes.spec.get("hosts").items()]
    hosts = tuple(name for name in names if name is not None)
    entries = tuple({grant.pattern for grant in imported.names} - {ANY_HOST})
    if in_common(hosts, entries) and _may_refuse(routes.spec.get("http").items()):
        text = f"{ROUTES} {routes.name} lets only some requests to {', '.join(map(spelled, hosts))} through"
        imported.findings.left_out(routes.place, text, denies=True)
    else:
        imported.findings.note(routes.place, f"{ROUTES} {routes.name} is not read")


def _may_refuse(routes: list[Node]) -> bool:
    answered = any(
        route.at("fault", "abort").value or any(route.get(key).value for key in _ROUTE_ANSWERS) for route in routes
    )
    return bool(routes) and (answered or all(map(_is_narrow, routes)))


def _is_narrow(route: Node) -> bool:
    matches = route.get("match").items()
    return bool(matches) and all(match.others(*_MATCHES_ALL) for match in matches)
