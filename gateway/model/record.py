"""What is remembered of a connection: a draft that fills as things become known, sealed once into a record."""

from dataclasses import dataclass, field
from enum import StrEnum

from gateway.model.addresses import Address
from gateway.model.client import Client
from gateway.model.decision import AddressRefusal, Decision, Deny, Permit, RuleRef, WouldDeny
from gateway.model.intent import Intent, Opening
from gateway.model.reasons import Reason


class Side(StrEnum):
    """Who ended it."""

    DOWNSTREAM = "downstream"
    UPSTREAM = "upstream"
    GATEWAY = "gateway"


class Ended(StrEnum):
    """How it ended on the wire."""

    CLOSED = "closed"
    RESET = "reset"
    TIMEOUT = "timeout"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(slots=True)
class Transfer:
    """What a relay moved, kept up to date while it runs. Bytes are payload bytes read from one side and written to
    the other; `first_byte_at` is the monotonic instant of the first byte from upstream."""

    bytes_up: int = 0
    bytes_down: int = 0
    first_byte_at: float | None = None
    ended: Ended | None = None
    ended_by: Side | None = None
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Dialled:
    """The answer of a successful dial: which addresses there were, which were refused, which one was reached.

    Durations in seconds; `resolve_seconds` is None for a literal.
    """

    address: Address
    resolved: tuple[Address, ...]
    refused: tuple[AddressRefusal, ...]
    resolve_seconds: float | None
    dial_seconds: float


@dataclass(slots=True)
class Draft:
    """One connection while it lives. `started_at` is monotonic, `started_time` Unix time; both in seconds."""

    connection_id: str
    listener: str
    peer: tuple[Address, int]
    started_at: float
    started_time: float
    generation: int = 0
    client: Client | None = None
    intent: Intent | None = None
    decision: Decision | None = None
    dialled: Dialled | None = None
    status: int | None = None
    opening: Opening | None = None
    would_deny: WouldDeny | None = None
    transfer: Transfer = field(default_factory=Transfer)
    reason: Reason | None = None
    detail: str = ""


@dataclass(slots=True)  # not frozen: 40 fields set the frozen way cost every connection 3 us more
class ConnectionRecord:
    """The one record of one connection, flat; None means "not known" or "does not apply".

    `decision` is `allow` once a permit was given and not withdrawn, `deny` where policy refused, `none` where the
    connection ended before a verdict. `*_ms` are milliseconds.
    """

    time: str
    connection_id: str
    listener: str
    client_address: str
    client_port: int
    decision: str
    generation: int
    total_ms: float
    bytes_up: int
    bytes_down: int
    ended: Ended
    ended_by: Side
    door: str | None = None
    identity: str | None = None
    user: str | None = None
    groups: tuple[str, ...] | None = None
    host: str | None = None
    port: int | None = None
    status: int | None = None
    reason: Reason | None = None
    detail: str | None = None
    rule: str | None = None
    rule_file: str | None = None
    rule_line: int | None = None
    also: tuple[str, ...] | None = None
    would_deny: Reason | None = None
    would_deny_rule: str | None = None
    resolved: tuple[str, ...] | None = None
    refused: tuple[str, ...] | None = None
    dialled_address: str | None = None
    protocol: str | None = None
    sni: str | None = None
    alpn: tuple[str, ...] | None = None
    ja4: str | None = None
    ech: bool | None = None
    dns_ms: float | None = None
    dial_ms: float | None = None
    first_byte_ms: float | None = None


def rule_of(draft: Draft) -> RuleRef | None:
    """The rule that decided, whichever way."""
    return draft.decision.rule if draft.decision is not None else None


def verdict_of(draft: Draft) -> str:
    """`allow`, `deny` or `none`, as `ConnectionRecord.decision` has it."""
    match draft.decision:
        case Permit():
            return "allow"
        case Deny():
            return "deny"
        case None:
            return "none"
