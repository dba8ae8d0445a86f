"""A rule's `inspect`: checked against the rest of the rule and against gateway.yaml's secrets, and compiled."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from gateway.model.inspection.terms import HeaderValue, Inspection, SecretName, comparable_name
from gateway.model.intent import Protocol
from gateway.policy.requests.credentials import SecretScope
from gateway.policy.requests.judging import RequestRule, RequestRules
from gateway.policy.requests.paths import parse_path_pattern
from gateway.policy.rules import Action, HostPattern, PortRange
from gateway.settings.compile.inspectors import check_media_types, check_named
from gateway.settings.gateway import ClientCertificateSettings, SecretSettings
from gateway.settings.hosts import show_pattern
from gateway.settings.policy import HeaderSettings, InspectSettings, RequestSettings, RuleSettings
from gateway.settings.problems import did_you_mean, show_value
from gateway.settings.sections.inspectors import InspectorSettings
from gateway.settings.source.places import Finding, KeyPath, inside

RESERVED_HEADERS = frozenset(
    (
        "baggage",
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "max-forwards",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "traceparent",
        "tracestate",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
    )
)
"""Headers that frame, route or trace a message, in `comparable_name` form: no rule may set or remove them."""
NEVER_LOGGED = frozenset({"authorization", "cookie", "proxy-authorization"})

_SECRET = "secret"
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_METHOD = re.compile(r"[A-Z]+(?:-[A-Z]+)*")

_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_REFERENCE = re.compile(r"\$\{secret:([^{}]*)\}")


def protocols_of(rule: RuleSettings, ports: Sequence[PortRange]) -> frozenset[Protocol]:
    """Which of TLS, plain HTTP and TCP the rule can carry."""
    if rule.protocol not in (None, Protocol.AUTO):
        return frozenset({rule.protocol})
    single = {(span.first, span.last) for span in ports}
    if rule.protocol is None and single == {(443, 443)}:
        return frozenset({Protocol.TLS})
    if rule.protocol is None and single == {(80, 80)}:
        return frozenset({Protocol.HTTP})
    return frozenset({Protocol.TLS, Protocol.HTTP})


def secret_scope(secret: SecretSettings | ClientCertificateSettings) -> SecretScope:
    """Where gateway.yaml lets the secret go."""
    patterns = tuple(pattern for entry in secret.hosts for pattern in entry.patterns)
    return SecretScope(patterns, frozenset(secret.clients or ()))


def gives_secrets(inspect: InspectSettings) -> bool:
    """Whether any header is set to a secret."""
    given = inspect.headers.set if inspect.headers is not None else None
    return any(_REFERENCE.search(value) for value in (given or {}).values())


def check_inspection(
    inspect: InspectSettings,
    rule: RuleSettings,
    patterns: Sequence[HostPattern],
    ports: Sequence[PortRange],
    secrets: Mapping[str, SecretSettings],
    certificates: Mapping[str, ClientCertificateSettings],
    inspectors: Mapping[str, InspectorSettings],
) -> Iterator[Finding]:
    """Paths begin inside `inspect`. `patterns` and `ports` are the effective ones, with list files and defaults."""
    for index, request in enumerate(inspect.requests or ()):
        yield from inside(_check_request(request), "requests", index)
    if inspect.headers is not None:
        yield from inside(_check_headers(inspect.headers), "headers")
    for path, what in _credentials(inspect):
        known = secrets if what.kind == _SECRET else certificates
        for message in _check_credential(what, known, rule, patterns, ports):
            yield path, message
    yield from inside(check_named(inspect.inspectors, inspectors), "inspectors")
    yield from _check_log(inspect)
    ca = inspect.upstream_ca
    if ca is not None and (ca.startswith("/") or ".." in ca.split("/")):
        yield ("upstream_ca",), "must be inside the policy's directory"


def carries_tls(rule: RuleSettings, ports: Sequence[PortRange]) -> bool:
    """Whether TLS has to be terminated for a rule with `inspect`."""
    return Protocol.TLS in protocols_of(rule, ports)


def _check_request(request: RequestSettings) -> Iterator[Finding]:
    if not request.model_fields_set:
        yield (), "an empty entry would allow every request: remove requests, or say which are allowed"
    for index, method in enumerate(request.methods or ()):
        if _METHOD.fullmatch(method) is None:
            yield ("methods", index), f"{show_value(method)} is not a method: write it in capitals, such as GET"
        elif method == "CONNECT":
            yield ("methods", index), "CONNECT is never passed on"
    for index, text in enumerate(request.paths or ()):
        try:
            parse_path_pattern(text)
        except ValueError as refusal:
            yield ("paths", index), f"{show_value(text)}: {refusal}"
    yield from inside(check_media_types(request.content_types or ()), "content_types")


def _check_headers(headers: HeaderSettings) -> Iterator[Finding]:
    if not headers.model_fields_set:
        yield (), "changes nothing: it needs set or remove"
    seen: set[str] = set()
    changed: list[tuple[KeyPath, str]] = [(("set", name), name) for name in headers.set or {}]
    changed += [(("remove", index), name) for index, name in enumerate(headers.remove or ())]
    for path, name in changed:
        comparable = comparable_name(name)
        if _TOKEN.fullmatch(name) is None:
            yield path, f"{show_value(name)} is not the name of a header"
        elif comparable in RESERVED_HEADERS or comparable.startswith("x-egress-"):
            yield path, f"{name} is set by the gateway alone"
        elif comparable in seen:
            yield path, f"{name} is named twice (case, - and _ make no difference)"
        seen.add(comparable)
    for name, value in (headers.set or {}).items():
        if "${" in _REFERENCE.sub("", value):
            yield ("set", name), "only ${secret:name} can be filled in"
        elif _VALUE.fullmatch(value) is None:
            yield ("set", name), "must be printable ASCII without blanks at its ends"


class _Credential(NamedTuple):
    kind: str
    name: str

    def __str__(self) -> str:
        return f"the {self.kind} {self.name!r}"


def _credentials(inspect: InspectSettings) -> Iterator[tuple[KeyPath, _Credential]]:
    given = inspect.headers.set if inspect.headers is not None else None
    for header, value in (given or {}).items():
        for name in dict.fromkeys(_REFERENCE.findall(value)):
            yield ("headers", "set", header), _Credential(_SECRET, name)
    if inspect.client_certificate is not None:
        yield ("client_certificate",), _Credential("client certificate", inspect.client_certificate)


def _check_credential(
    what: _Credential,
    known: Mapping[str, SecretSettings] | Mapping[str, ClientCertificateSettings],
    rule: RuleSettings,
    patterns: Sequence[HostPattern],
    ports: Sequence[PortRange],
) -> Iterator[str]:
    """Whether it goes only where gateway.yaml allows."""
    declared = known.get(what.name)
    if declared is None:
        yield f"{what} is not declared in gateway.yaml{did_you_mean(what.name, known)}"
        return
    if rule.action is Action.DENY:
        return
    scope = secret_scope(declared)
    beyond = next((each for each in patterns if not scope.covers_all_of(each)), None)
    if beyond is not None:
        yield f"{what} may not be sent to {show_pattern(beyond)}: gateway.yaml says to which hosts"
    if rule.cidrs or rule.cidrs_file is not None:
        yield f"{what} may only be sent to names, and this rule has cidrs"
    if scope.clients and not (rule.clients and scope.clients.issuperset(rule.clients)):
        allowed = ", ".join(sorted(scope.clients))
        yield f"{what} is only for the clients {allowed}: the rule may have no others"
    if Protocol.TLS not in protocols_of(rule, ports):
        yield f"{what} is only sent over TLS, and this rule carries none"


def _check_log(inspect: InspectSettings) -> Iterator[Finding]:
    names = inspect.log.headers if inspect.log is not None else None
    given = inspect.headers.set if inspect.headers is not None else None
    holding = {comparable_name(name) for name, value in (given or {}).items() if _REFERENCE.search(value)}
    for index, name in enumerate(names or ()):
        if _TOKEN.fullmatch(name) is None:
            yield ("log", "headers", index), f"{show_value(name)} is not the name of a header"
        elif comparable_name(name) in NEVER_LOGGED | holding:
            yield ("log", "headers", index), f"{name} may hold a credential"


def compile_inspection(inspect: InspectSettings, directory: Path) -> Inspection:
    """Only for what the checks found nothing wrong with. `directory` is the policy's."""
    changes = inspect.headers or HeaderSettings()
    values = tuple(HeaderValue(name, _parts(value)) for name, value in (changes.set or {}).items())
    has_secrets = gives_secrets(inspect)
    entries = tuple(_request_rule(request) for request in inspect.requests or ())
    if not entries and has_secrets:
        entries = (RequestRule(),)
    log = inspect.log
    return Inspection(
        requests=RequestRules(entries, allows_trace=not has_secrets) if entries else None,
        set=values,
        remove=frozenset(map(comparable_name, changes.remove or ())),
        log_headers=tuple(map(comparable_name, log.headers or ())) if log is not None else (),
        log_query=log is not None and log.query,
        inspectors=inspect.inspectors,
        client_certificate=inspect.client_certificate,
        upstream_ca=None if inspect.upstream_ca is None else str(directory / inspect.upstream_ca),
    )


def _parts(value: str) -> tuple[str | SecretName, ...]:
    pieces = _REFERENCE.split(value)  # text and names take turns
    return tuple(SecretName(piece) if index % 2 else piece for index, piece in enumerate(pieces) if piece)


def _request_rule(request: RequestSettings) -> RequestRule:
    return RequestRule(
        methods=frozenset(request.methods or ()),
        paths=tuple(parse_path_pattern(path) for path in request.paths or ()),
        content_types=frozenset(each.lower() for each in request.content_types or ()),
        max_body=request.max_body,
    )
