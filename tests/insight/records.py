"""Records as a log holds them, with what a test varies."""

from typing import Any

from gateway.insight.attempts import Attempt, Occurrences, fold
from gateway.policy.index import Rules, build_rules
from gateway.policy.rules import Policy
from gateway.settings.compile.policy import compile_policy
from gateway.settings.gateway import GatewaySettings
from gateway.settings.load import parse_policy
from gateway.settings.source.files import Reader
from gateway.telemetry.formats.fields import Recorded

NOW = 1_800_000_000.0


def seen(host: str, port: int = 443, **further: Any) -> Recorded:
    """A tunnel that passed, with TLS for the same name."""
    record = {
        "time": "2027-01-15T08:00:00.000Z",
        "client_address": "10.0.0.1",
        "decision": "allow",
        "bytes_up": 10,
        "bytes_down": 20,
        "door": "connect",
        "host": host,
        "port": port,
        "protocol": "tls",
        "sni": host,
        "dialled_address": "93.184.216.34",
        **further,
    }
    return {key: value for key, value in record.items() if value is not None}


def attempts(*records: Recorded) -> dict[Attempt, Occurrences]:
    return fold(records, 403)


def policy_of(text: str) -> Policy:
    return compile_policy([parse_policy(text)], GatewaySettings(), Reader()).policy


def rules_of(text: str) -> Rules:
    return build_rules(policy_of(text), generation=1)
