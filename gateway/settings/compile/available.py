"""Keys whose feature does not exist yet, or needs what is not configured: they are refused, never ignored. A key at its
default is fine. A line here is removed when its feature comes."""

from collections.abc import Iterator

from gateway.settings.compile.inspection import carries_tls
from gateway.settings.compile.rule import port_ranges
from gateway.settings.gateway import GatewaySettings
from gateway.settings.policy import PolicyFile
from gateway.settings.source.places import Finding

_NOT_YET = "is not available yet"
_NEEDS_AUTHORITY = (
    "needs an authority: set inspection: {ca_cert, ca_key} in gateway.yaml (`egress-gateway ca init` makes both)"
)
_LISTENER_MODES = ("explicit", "transparent")


def check_gateway_available(settings: GatewaySettings) -> Iterator[Finding]:
    """Of gateway.yaml."""
    if settings.compat is not None:
        yield ("compat",), _NOT_YET
    if settings.policy == "kubernetes":
        yield ("policy",), _NOT_YET
    for index, listener in enumerate(settings.listeners):
        if listener.mode not in _LISTENER_MODES:
            yield ("listeners", index, "mode"), _NOT_YET


def check_policy_available(policy: PolicyFile, settings: GatewaySettings) -> Iterator[Finding]:
    """Of one file of a policy; TLS is inspected only with an authority that can sign for it."""
    for index, rule in enumerate(policy.rules):
        if rule.via is not None:
            yield ("rules", index, "via"), _NOT_YET
        if settings.inspection is None and rule.inspect is not None and carries_tls(rule, port_ranges(rule)):
            yield ("rules", index, "inspect"), _NEEDS_AUTHORITY
