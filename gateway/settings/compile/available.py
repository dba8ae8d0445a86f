"""Keys that are understood and whose feature does not exist yet: they are refused, never ignored.

A key at its default is no wish. When a feature comes, its lines here go.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from gateway.settings.compile.inspection import carries_tls
from gateway.settings.compile.policy import PolicySource
from gateway.settings.compile.rule import port_ranges
from gateway.settings.gateway import GatewaySettings
from gateway.settings.policy import RuleSettings
from gateway.settings.problems import Problems
from gateway.settings.section import Section
from gateway.settings.source.places import Document, KeyPath

_KEYS: tuple[tuple[str, ...], ...] = (("compat",),)
_NEEDS_AUTHORITY = (
    "needs an authority that signs: set inspection: {ca_cert, ca_key} in gateway.yaml "
    "(`egress-gateway ca init` makes both)"
)
_LISTENER_MODES = ("explicit", "transparent")
_RULE_KEYS = frozenset(("via",))


def check_gateway_available(settings: GatewaySettings, problems: Problems) -> None:
    """Add a problem for every key of gateway.yaml that asks for what does not exist yet."""
    _refuse(_gateway_wishes(settings), settings.document, problems)


def check_policy_available(sources: Iterable[PolicySource], problems: Problems) -> None:
    """The same for the files of a policy."""
    for source in sources:
        _refuse(_policy_wishes(source), source.document, problems)


def check_authority(sources: Iterable[PolicySource], settings: GatewaySettings, problems: Problems) -> None:
    """Add a problem for every rule that inspects TLS where no authority is configured that could sign for it."""
    if settings.inspection is not None:
        return
    for source in sources:
        for index, rule in enumerate(source.body.rules):
            if rule.inspect is not None and carries_tls(rule, port_ranges(rule)):
                problems.add(source.document.place(("rules", index, "inspect")), _NEEDS_AUTHORITY)


def _refuse(wishes: Iterable[KeyPath], document: Document, problems: Problems) -> None:
    for path in wishes:
        problems.add(document.place(path), "is not available yet")


def _gateway_wishes(settings: GatewaySettings) -> Iterator[KeyPath]:
    usual = GatewaySettings()
    for path in _KEYS:
        if _value(settings, path) != _value(usual, path):
            yield path
    if settings.policy == "kubernetes":
        yield ("policy",)
    yield from _listed_wishes(settings)


def _listed_wishes(settings: GatewaySettings) -> Iterator[KeyPath]:
    for index, listener in enumerate(settings.listeners):
        if listener.mode not in _LISTENER_MODES:
            yield ("listeners", index, "mode")


def _policy_wishes(source: PolicySource) -> Iterator[KeyPath]:
    for index, rule in enumerate(source.body.rules):
        for key in sorted(rule.model_fields_set & _RULE_KEYS):
            if getattr(rule, key) != RuleSettings.model_fields[key].default:
                yield ("rules", index, key)


def _value(section: Section, path: Iterable[str]) -> Any:
    value: Any = section
    for key in path:
        value = getattr(value, key)
    return value
