"""Warnings of `check` and of a start: what is valid but probably not meant."""

from collections.abc import Iterator, Sequence

from gateway.model.intent import Protocol
from gateway.policy.rules import Action, PortRange
from gateway.settings.compile.checks import Declared, counts_requests, hides_requests
from gateway.settings.compile.inspection import gives_secrets, protocols_of
from gateway.settings.policy import RuleSettings
from gateway.settings.source.places import Finding

SERVER_FIRST = {
    21: "FTP",
    22: "SSH",
    25: "SMTP",
    110: "POP3",
    143: "IMAP",
    3306: "MySQL",
    5432: "PostgreSQL",
    6379: "Redis",
}
"""Ports of protocols whose clients do not begin with TLS or HTTP."""

# Keys that configure what is let through, and so have no effect on a deny.
_ONLY_ON_ALLOW = (
    "within", "protocol", "sni", "ech", "resolve", "private", "limits", "honour_retry_after", "breaker", "inspect",
    "via", "source", "proxy_protocol", "timeouts", "trace",
)  # fmt: skip


def advise_rule(
    rule: RuleSettings, ports: Sequence[PortRange], declared: Declared, pods_are_known: bool
) -> Iterator[Finding]:
    """Warnings about one rule. `pods_are_known`: namespaces are recognised without a credential."""
    yield from _advise_except(rule)
    if rule.action is Action.DENY:
        yield from _advise_deny(rule, declared, pods_are_known)
        return
    if rule.protocol in (None, Protocol.AUTO):
        covered = [port for port in SERVER_FIRST for span in ports if span.first <= port <= span.last]
        if covered:
            named = ", ".join(f"{port} ({SERVER_FIRST[port]})" for port in covered)
            yield ("ports",), f"{named}: clients do not begin with TLS or HTTP there, which needs protocol: tcp"
    if rule.inspect is not None and protocols_of(rule, ports) > {Protocol.HTTP} and gives_secrets(rule.inspect):
        message = "its secrets go over TLS only: requests in plain HTTP, which it carries as well, are refused"
        yield ("inspect",), message
    if hides_requests(rule, ports):
        for name in _groups_with_request_limits(rule, declared):
            message = f"the group {name!r} limits requests, which are not seen here: inspect, or limit connections"
            yield (), message


def _advise_except(rule: RuleSettings) -> Iterator[Finding]:
    """A name is judged before it is resolved, and an address without its name."""
    excepted = rule.except_.model_fields_set if rule.except_ is not None else set[str]()
    has_cidrs = not rule.model_fields_set.isdisjoint(("cidrs", "cidrs_file"))
    has_hosts = not rule.model_fields_set.isdisjoint(("hosts", "hosts_file"))
    if "cidrs" in excepted and not has_cidrs:
        cure = "" if rule.action is Action.DENY else ": use within, or a deny, to bound what they resolve to"
        yield ("except", "cidrs"), f"has no effect on a rule that has only names{cure}"
    if "hosts" in excepted and not has_hosts and rule.action is Action.ALLOW:
        yield ("except", "hosts"), "has no effect on a rule that has only cidrs"


def _advise_deny(rule: RuleSettings, declared: Declared, pods_are_known: bool) -> Iterator[Finding]:
    for key in _ONLY_ON_ALLOW:
        if key in rule.model_fields_set:
            yield (key,), "has no effect on a deny"
    for index, name in enumerate(rule.clients):
        group = declared.groups.get(name)
        shown = {key for match in group.match for key in match.model_fields_set} if group is not None else set()
        by_credential = shown & ({"user", "spiffe"} if pods_are_known else {"user", "spiffe", "namespace"})
        if by_credential:
            what = " and ".join(sorted(by_credential))
            yield ("clients", index), f"{name!r} is known by {what}: a client that sends no credentials is not denied"


def _groups_with_request_limits(rule: RuleSettings, declared: Declared) -> Iterator[str]:
    for name in rule.clients or declared.groups:
        group = declared.groups.get(name)
        if group is not None and any(counts_requests(limit, declared) for limit in group.limits or ()):
            yield name
