"""What is remembered of one HTTP exchange: a draft that fills while it goes on, sealed once into a record."""

from dataclasses import dataclass, field
from typing import NotRequired, TypedDict

from gateway.model.client import Client
from gateway.model.decision import Decision, Deny, Permit, WouldDeny
from gateway.model.intent import Intent
from gateway.model.reasons import Reason
from gateway.model.record import Dialled, Draft, Ended, Side, Transfer


@dataclass(slots=True)
class ExchangeDraft:
    """One request and its response while they last. `number` counts the requests of `connection` from 1.

    `path` has no query and no user information. `reused`: it went over a connection to the destination that an earlier
    exchange had opened, whose dial `dialled` tells. `transfer` counts content without framing. Instants as in `Draft`.
    """

    connection: Draft
    number: int
    started_at: float
    started_time: float
    method: str = ""
    path: str = ""
    generation: int = 0
    client: Client | None = None
    intent: Intent | None = None
    decision: Decision | None = None
    dialled: Dialled | None = None
    reused: bool = False
    status: int | None = None
    would_deny: WouldDeny | None = None
    transfer: Transfer = field(default_factory=Transfer)
    reason: Reason | None = None
    detail: str = ""

    @property
    def exchange_id(self) -> str:
        """As in `X-Egress-Request-Id` of an answer of ours."""
        return f"{self.connection.connection_id}-{self.number}"


class ExchangeRecord(TypedDict):
    """The one record of one exchange, flat, beside the `ConnectionRecord` of the same `connection_id`.

    `status` is what the client was told, by the destination or by us. Everything else as in `ConnectionRecord`;
    `total_ms` and `first_byte_ms` count from the request's head.
    """

    time: str
    connection_id: str
    exchange_id: str
    listener: str
    client_address: str
    client_port: int
    method: str
    path: str
    decision: str
    generation: int
    total_ms: float
    bytes_up: int
    bytes_down: int
    ended: Ended
    ended_by: Side
    identity: NotRequired[str]
    user: NotRequired[str]
    door: NotRequired[str]
    host: NotRequired[str]
    port: NotRequired[int]
    status: NotRequired[int]
    reason: NotRequired[Reason]
    detail: NotRequired[str]
    groups: NotRequired[tuple[str, ...]]
    rule: NotRequired[str]
    rule_file: NotRequired[str]
    rule_line: NotRequired[int]
    also: NotRequired[tuple[str, ...]]
    would_deny: NotRequired[Reason]
    would_deny_rule: NotRequired[str]
    reused: NotRequired[bool]
    dialled_address: NotRequired[str]
    dial_ms: NotRequired[float]
    dns_ms: NotRequired[float]
    resolved: NotRequired[tuple[str, ...]]
    refused: NotRequired[tuple[str, ...]]
    first_byte_ms: NotRequired[float]


def verdict_on(draft: ExchangeDraft) -> str:
    """`allow`, `deny` or `none`, as `ConnectionRecord.decision` has it."""
    match draft.decision:
        case Permit():
            return "allow"
        case Deny():
            return "deny"
        case None:
            return "none"
