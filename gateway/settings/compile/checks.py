"""Checks that involve several keys: whether the keys of a rule, a group or gateway.yaml fit together.

Each check yields what is wrong, with its path inside the rule, group or file; policy.py knows where that stands.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations
from pathlib import Path

from gateway.model.client import IdentitySource
from gateway.model.decision import SniRule
from gateway.model.intent import Protocol
from gateway.policy.rules import ANY_HOST, Action, HostPattern, PortRange
from gateway.settings.compile.inspection import check_inspection
from gateway.settings.compile.inspectors import check_inspector
from gateway.settings.gateway import (
    AccessLogSettings,
    ClientCertificateSettings,
    GatewaySettings,
    ListenerSettings,
    ResolverSettings,
    SecretSettings,
)
from gateway.settings.policy import (
    GroupSettings,
    LimitSettings,
    MatchSettings,
    RuleSettings,
    UseLimitSettings,
)
from gateway.settings.problems import did_you_mean
from gateway.settings.sections.identity import IdentitySettings
from gateway.settings.sections.inspectors import InspectorSettings
from gateway.settings.source.places import Finding, KeyPath, inside
from gateway.settings.units import Endpoint

_KINDS_OF_LIMIT = ("use", "connections", "requests", "concurrent", "bandwidth", "bytes")


@dataclass(frozen=True, slots=True)
class Declared:
    """What rules may refer to."""

    groups: Mapping[str, GroupSettings]
    quotas: Mapping[str, LimitSettings]
    secrets: Mapping[str, SecretSettings]
    certificates: Mapping[str, ClientCertificateSettings]
    inspectors: Mapping[str, InspectorSettings]


def check_gateway(settings: GatewaySettings) -> Iterator[Finding]:
    """All checks of gateway.yaml, section by section."""
    yield from _check_listeners(settings)
    yield from _check_binds(settings)
    yield from _check_credentials(settings)
    yield from _check_inspectors(settings)
    admin = settings.admin
    if admin.token_file is None and not admin.bind.address.is_loopback:
        yield ("admin", "bind"), f"{admin.bind} can be reached from elsewhere, which needs admin.token_file"
    yield from _check_resolver(settings.resolver)
    yield from _check_access_logs(settings)
    yield from _check_identity(settings.identity)


def _check_listeners(settings: GatewaySettings) -> Iterator[Finding]:
    names: set[str] = set()
    for index, listener in enumerate(settings.listeners):
        if listener.name in names:
            yield ("listeners", index, "name"), f"another listener is called {listener.name!r} already"
        names.add(listener.name)
        yield from inside(chain(_check_tls(listener), _check_proxy_protocol(listener)), "listeners", index)


def _check_binds(settings: GatewaySettings) -> Iterator[Finding]:
    """The kernel would refuse the second of two at one address, at a start."""
    admin = settings.admin
    binds: list[tuple[KeyPath, Endpoint]] = [
        *((("listeners", index, "bind"), listener.bind) for index, listener in enumerate(settings.listeners)),
        (("admin", "bind"), admin.bind),
        *([(("admin", "health"), admin.health)] if admin.health is not None else ()),
    ]
    for (_, former), (path, bind) in combinations(binds, 2):
        if former.port == bind.port != 0 and (_includes(former, bind) or _includes(bind, former)):
            yield path, f"another listener has {former} already"


def _includes(bind: Endpoint, other: Endpoint) -> bool:
    """A wildcard is all addresses of its family; that of IPv6 is those of IPv4 too."""
    bound, asked = bind.address, other.address
    return bound == asked or (not bound.value and bound.version >= asked.version)


def _check_resolver(resolver: ResolverSettings) -> Iterator[Finding]:
    if resolver.cache.min_ttl > resolver.cache.max_ttl:
        yield ("resolver", "cache", "min_ttl"), "is longer than max_ttl"
    if resolver.tls is not None and resolver.transport == "udp":
        yield ("resolver", "tls"), "is only for transport: dot or doh"
    if "path" in resolver.model_fields_set and resolver.transport != "doh":
        yield ("resolver", "path"), "is only for transport: doh"


def _check_identity(identity: IdentitySettings) -> Iterator[Finding]:
    """What is configured is also a source, and a token is verified in one way."""
    used = identity.used_sources
    if identity.kubernetes and IdentitySource.KUBERNETES not in used:
        yield ("identity", "kubernetes"), "is never asked: identity.sources does not name it before address"
    token = identity.token
    if token is None:
        return
    if IdentitySource.TOKEN not in used:
        yield ("identity", "token"), "is never asked: identity.sources does not name it before address"
    if (token.jwks is None) is not token.review:
        yield ("identity", "token"), "needs either jwks or review: true"
    if token.jwks is not None and token.issuer is None:
        yield ("identity", "token"), "needs issuer: jwks are its keys"
    if token.review and token.issuer is not None:
        yield ("identity", "token", "issuer"), "is only for jwks: the API server knows its issuers"
    if token.ca is not None and (not isinstance(token.jwks, str) or token.jwks == "kubernetes"):
        yield ("identity", "token", "ca"), "is only for jwks: https://..."


_KEY_FOR_FORMAT = {"layout": "envoy", "fields": "vpc", "window": "vpc"}


def _check_access_logs(settings: GatewaySettings) -> Iterator[Finding]:
    written: set[Path] = set()
    for index, log in enumerate(settings.telemetry.access_log):
        yield from inside(_check_access_log(log), "telemetry", "access_log", index)
        path = Path(log.path)
        if path in written:
            where = ("telemetry", "access_log", index, "path")
            yield where, "another access log is written there: each has its own file"
        if log.path != "-" and not path.is_relative_to("/dev"):  # a stream is not rotated away
            written.add(path)


def _check_access_log(log: AccessLogSettings) -> Iterator[Finding]:
    """Keys of one format go with it, and what is rotated is a file."""
    for key, format_ in _KEY_FOR_FORMAT.items():
        if key in log.model_fields_set and log.format != format_:
            yield (key,), f"is only for format: {format_}"
    if log.rotate is None:
        return
    if log.path == "-":
        yield ("rotate",), "is not for standard output: whoever reads that can rotate"
    if log.rotate.size is None and log.rotate.every is None:
        yield ("rotate",), "needs size or every"


def _check_tls(listener: ListenerSettings) -> Iterator[Finding]:
    tls = listener.tls
    if tls is None:
        return
    if listener.mode in ("transparent", "dns"):
        yield ("tls",), f"is not for mode: {listener.mode}, whose clients do not know about a proxy"
    for key in ("crl", "client_cert"):
        if key in tls.model_fields_set and tls.client_ca is None:
            yield ("tls", key), "needs client_ca: without it no client is asked for a certificate"


def _check_proxy_protocol(listener: ListenerSettings) -> Iterator[Finding]:
    """Not for captured connections: a sender that passes them on hides their original destination."""
    if listener.proxy_protocol is not None and listener.mode in ("transparent", "dns"):
        yield ("proxy_protocol",), f"is not for mode: {listener.mode}, which needs the address clients dialled"


def _check_credentials(settings: GatewaySettings) -> Iterator[Finding]:
    for key, credentials in (("secrets", settings.secrets), ("client_certificates", settings.client_certificates)):
        for name, credential in credentials.items():
            for index, entry in enumerate(credential.hosts):
                if ANY_HOST in entry.patterns:
                    yield (key, name, "hosts", index), 'may not be "*": name where it may be sent'


def _check_inspectors(settings: GatewaySettings) -> Iterator[Finding]:
    for name, inspector in settings.inspectors.items():
        yield from inside(check_inspector(inspector), "inspectors", name)


def check_match(match: MatchSettings) -> Iterator[Finding]:
    """An entry of a group is neither empty nor incomplete."""
    if not match.model_fields_set:
        yield (), "an empty entry would match everyone: remove it, or say what matches"
    for key in ("service_account", "labels"):
        if key in match.model_fields_set and match.namespace is None:
            yield (key,), "needs namespace in the same entry"


def check_group(group: GroupSettings, declared: Declared) -> Iterator[Finding]:
    """A group's entries and limits."""
    for index, match in enumerate(group.match):
        yield from inside(check_match(match), "match", index)
    for index, limit in enumerate(group.limits or ()):
        yield from inside(check_limit(limit, declared), "limits", index)


def check_limit(limit: LimitSettings, declared: Declared) -> Iterator[Finding]:
    """A limit counts one thing, and its other keys belong to that thing."""
    kinds = [kind for kind in _KINDS_OF_LIMIT if kind in limit.model_fields_set]
    if len(kinds) != 1:
        what = f"has {' and '.join(kinds)}" if kinds else "counts nothing"
        yield (), f"{what}: a limit has exactly one of {', '.join(_KINDS_OF_LIMIT)}"
    if isinstance(limit, UseLimitSettings) and limit.use is not None:
        if limit.use not in declared.quotas:
            yield ("use",), f"the quota {limit.use!r} is not declared{did_you_mean(limit.use, declared.quotas)}"
        others = sorted(limit.model_fields_set - {"use"} - set(_KINDS_OF_LIMIT))
        if others:
            yield (others[0],), "belongs to the quota, not to its use"
    if limit.max_wait is not None and limit.on_limit != "queue":
        yield ("max_wait",), "needs on_limit: queue"
    if "direction" in limit.model_fields_set and limit.bandwidth is None and limit.bytes is None:
        yield ("direction",), "is only for bandwidth and bytes"
    if limit.on_limit == "queue" and (limit.bandwidth is not None or limit.bytes is not None):
        yield ("on_limit",), "queue is only for connections, requests and concurrent: bytes are slowed or ended"
    if limit.burst is not None and (limit.concurrent is not None or limit.bytes is not None):
        yield ("burst",), "is only for connections, requests and bandwidth"


def check_rule(
    rule: RuleSettings, patterns: Sequence[HostPattern], ports: Sequence[PortRange], declared: Declared
) -> Iterator[Finding]:
    """The keys of one rule. `patterns` and `ports` are the effective ones, with list files and defaults."""
    if not rule.model_fields_set & {"hosts", "hosts_file", "cidrs", "cidrs_file"}:
        yield (), "needs hosts or cidrs"
    if rule.action is Action.DENY and rule.expires is not None:
        yield ("expires",), "is only for an allow: a deny that expires would open what nobody has allowed"
    if rule.except_ is not None and not rule.except_.model_fields_set:
        yield ("except",), "must not be empty"
    yield from _check_star(rule, patterns)
    yield from _check_inspect(rule, patterns, ports, declared)
    yield from _check_references(rule, declared)
    yield from _check_limits(rule, ports, declared)


def _check_star(rule: RuleSettings, patterns: Sequence[HostPattern]) -> Iterator[Finding]:
    if ANY_HOST not in patterns:
        return
    if rule.private:
        yield ("private",), 'is not for a rule with the host "*": name the hosts that are there'
    if rule.protocol is Protocol.TCP and rule.action is Action.ALLOW:
        yield ("protocol",), 'tcp is not for a rule with the host "*": name the hosts'


def _check_inspect(
    rule: RuleSettings, patterns: Sequence[HostPattern], ports: Sequence[PortRange], declared: Declared
) -> Iterator[Finding]:
    if rule.inspect is None:
        return
    if rule.protocol is Protocol.TCP:
        yield ("inspect",), "is not for protocol: tcp, whose bytes are not looked at"
    if rule.sni is SniRule.ANY:
        yield ("inspect",), "is not for sni: any, since an inspected name must be the one that was asked for"
    credentials = declared.secrets, declared.certificates
    found = check_inspection(rule.inspect, rule, patterns, ports, *credentials, declared.inspectors)
    yield from inside(found, "inspect")


def _check_references(rule: RuleSettings, declared: Declared) -> Iterator[Finding]:
    excepted = rule.except_.clients if rule.except_ is not None else ()
    for path, names in ((("clients",), rule.clients), (("except", "clients"), excepted)):
        for index, name in enumerate(names):
            if name not in declared.groups:
                message = f"the group {name!r} is not declared{did_you_mean(name, declared.groups)}"
                yield (*path, index), message


def _check_limits(rule: RuleSettings, ports: Sequence[PortRange], declared: Declared) -> Iterator[Finding]:
    for index, limit in enumerate(rule.limits or ()):
        yield from inside(check_limit(limit, declared), "limits", index)
        if counts_requests(limit, declared) and hides_requests(rule, ports):
            message = "requests are not seen inside TLS or tcp: give the rule inspect, or limit connections"
            yield ("limits", index), message


def counts_requests(limit: LimitSettings, declared: Declared) -> bool:
    """Whether the limit, or the quota that it uses, counts requests."""
    quota = declared.quotas.get(limit.use or "") if isinstance(limit, UseLimitSettings) else None
    return limit.requests is not None or (quota is not None and quota.requests is not None)


def hides_requests(rule: RuleSettings, ports: Sequence[PortRange]) -> bool:
    """Whether an allow rule can carry bytes in which the gateway sees no requests."""
    if rule.action is Action.DENY or rule.inspect is not None or rule.protocol is Protocol.HTTP:
        return False
    return rule.protocol is not None or any((span.first, span.last) != (80, 80) for span in ports)
