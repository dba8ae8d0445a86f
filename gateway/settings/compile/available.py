"""Keys whose feature does not exist yet: they are refused, never ignored. A key at its default is fine. The line here
is removed when the feature comes."""

from collections.abc import Iterable, Iterator

from gateway.settings.compile.inspection import carries_tls
from gateway.settings.compile.policy import PolicySource
from gateway.settings.compile.rule import port_ranges
from gateway.settings.gateway import GatewaySettings
from gateway.settings.problems import Problems
from gateway.settings.source.places import Document, KeyPath

_NEEDS_AUTHORITY = (
    "needs an authority: set inspection: {ca_cert, ca_key} in gateway.yaml (`egress-gateway ca init` makes both)"
)
_LISTENER_MODES = ("explicit", "transparent")


def check_gateway_available(settings: GatewaySettings, problems: Problems) -> None:
    """Add a problem for every key of gateway.yaml that needs a feature which does not exist yet."""
    _refuse(_missing_of_gateway(settings), settings.document, problems)


def check_policy_available(sources: Iterable[PolicySource], problems: Problems) -> None:
    """The same for the files of a policy."""
    for source in sources:
        _refuse(_missing_of_policy(source), source.document, problems)


def check_authority(sources: Iterable[PolicySource], settings: GatewaySettings, problems: Problems) -> None:
    """Add a problem for every rule that inspects TLS where no authority is configured that could sign for it."""
    if settings.inspection is not None:
        return
    for source in sources:
        for index, rule in enumerate(source.body.rules):
            if rule.inspect is not None and carries_tls(rule, port_ranges(rule)):
                problems.add(source.document.place(("rules", index, "inspect")), _NEEDS_AUTHORITY)


def _refuse(paths: Iterable[KeyPath], document: Document, problems: Problems) -> None:
    for path in paths:
        problems.add(document.place(path), "is not available yet")


def _missing_of_gateway(settings: GatewaySettings) -> Iterator[KeyPath]:
    if settings.compat is not None:
        yield ("compat",)
    if settings.policy == "kubernetes":
        yield ("policy",)
    for index, listener in enumerate(settings.listeners):
        if listener.mode not in _LISTENER_MODES:
            yield ("listeners", index, "mode")


def _missing_of_policy(source: PolicySource) -> Iterator[KeyPath]:
    for index, rule in enumerate(source.body.rules):
        if rule.via is not None:
            yield ("rules", index, "via")
