"""What is remembered of a connection, and of each HTTP exchange on one: a draft that fills as things become known,
sealed once into a record."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, NotRequired, Protocol, TypedDict

from gateway.model.addresses import Address
from gateway.model.client import Certificate, Client, TraceParent
from gateway.model.decision import AddressRefusal, Decision, Permit, WouldDeny
from gateway.model.inspection.watching import Said
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
    """What a relay moved, kept up to date while it runs: payload bytes; `first_byte_at` is monotonic, of upstream's."""

    bytes_up: int = 0
    bytes_down: int = 0
    first_byte_at: float | None = None
    ended: Ended | None = None
    ended_by: Side | None = None
    reason: Reason | None = None


@dataclass(slots=True)
class Dialled:
    """A successful dial: which addresses there were, which were refused, which one was reached. `resolve_seconds`: None
    for a literal. `source`: our address, if a rule chose it. `dialled_at`: the monotonic instant behind resolving."""

    address: Address
    resolved: tuple[Address, ...]
    refused: tuple[AddressRefusal, ...]
    resolve_seconds: float | None
    dial_seconds: float
    source: Address | None = None
    dialled_at: float | None = None


class Packets(NamedTuple):
    """TCP segments of a tunnel's two connections until its relay was over; `out` are those that we sent. None for a
    connection that was gone by then."""

    downstream_out: int | None
    downstream_in: int | None
    upstream_out: int | None
    upstream_in: int | None


Destination = tuple[Address, int]


@dataclass(slots=True)
class TlsSides:
    """An inspected tunnel: what was agreed with the client and with the destination, as far as it got. Versions are
    written `TLSv1.3`. `certificate` is the SHA-256 of the destination's, in hexadecimal digits; its names are as in RFC
    4514."""

    version: str | None = None
    resumed: bool = False
    upstream_version: str | None = None
    upstream_resumed: bool = False
    certificate: str | None = None
    subject: str = ""
    issuer: str = ""


class Tunnel(Protocol):
    """An open tunnel, as far as it can be ended from outside. `asks_rules`: it may still ask the rules that it began
    with for verdicts."""

    @property
    def asks_rules(self) -> bool: ...

    def cut(self, reason: Reason) -> None:
        """Reset both sides, for this reason; idempotent."""
        ...


@dataclass(slots=True)
class Draft:
    """One connection while it lives. Instants are monotonic seconds if they end in `_at`, and Unix seconds if they end
    in `_time`."""

    connection_id: str
    listener: str
    peer: tuple[Address, int]  # the client
    started_at: float
    started_time: float
    original: Destination | None = None  # where a captured connection was on its way to
    sender: tuple[Address, int] | None = None  # who sent the PROXY header that named the client
    certificate: Certificate | None = None  # the client's, verified
    entered: bool = False  # the PROXY header and the TLS handshake that the listener expects are behind it
    generation: int = 0
    client: Client | None = None
    intent: Intent | None = None
    decision: Decision | None = None
    dialled: Dialled | None = None
    status: int | None = None
    opening: Opening | None = None
    would_deny: WouldDeny | None = None
    would_limit: str | None = None
    tls: TlsSides | None = None
    requests: int = 0
    answered: int = 0  # requests that are over, in whatever way
    transfer: Transfer = field(default_factory=Transfer)
    reason: Reason | None = None
    detail: str = ""
    tunnel: Tunnel | None = None  # while it is open
    judged: int = 0  # the last generation by which the open tunnel was judged
    wrong_credentials: int = 0  # attempts with wrong ones, before the last attempt
    packets: Packets | None = None  # counted where a log asks for them
    asked_time: float | None = None  # for traces: the head was there
    caller: TraceParent | None = None  # for traces: the client's span
    opened_at: float | None = None  # for traces: the first bytes were judged
    traced: bool = False  # one of its requests is
    # The facts of its last exchange, and what is alike in the records of all exchanges with these.
    sealed: "tuple[object, ExchangeRecord] | None" = field(default=None, repr=False, compare=False)


@dataclass(slots=True)
class Seen:
    """What the record says of an exchange under a rule with `inspect`: the request's `media_type`, the `query` and
    `headers` that its `log` asks for, the names of the `secrets` that were filled in, what its inspectors `said`."""

    media_type: str = ""
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    secrets: tuple[str, ...] = ()
    said: Said | None = None


@dataclass(slots=True)
class ExchangeDraft:
    """One request and its response while they last. What is not described here is as in `Draft`."""

    connection: Draft
    number: int  # of the connection's requests, from 1
    started_at: float
    started_time: float
    method: str = ""
    path: str = ""  # without query and user information
    generation: int = 0
    client: Client | None = None
    intent: Intent | None = None
    decision: Decision | None = None
    dialled: Dialled | None = None
    reused: bool = False  # it went over a connection that an earlier exchange had dialled, as `dialled` describes
    status: int | None = None
    would_deny: WouldDeny | None = None
    would_limit: str | None = None
    seen: Seen | None = None  # under a rule that inspects
    transfer: Transfer = field(default_factory=Transfer)  # counts content without framing
    reason: Reason | None = None
    detail: str = ""
    asked_time: float | None = None
    caller: TraceParent | None = None
    http_version: str = ""  # `2`, or empty for HTTP/1

    @property
    def exchange_id(self) -> str:
        """The value of `X-Egress-Request-Id` in an answer of ours."""
        return f"{self.connection.connection_id}-{self.number}"


class ConnectionRecord(TypedDict):
    """The one record of one connection, flat. What is not known, or does not apply, has no key.

    `decision` is `allow` once a permit was given and not withdrawn, `deny` where policy refused, `none` where the
    connection ended before a verdict. `*_ms` are milliseconds. It is a dictionary, of which a line is made and encoded
    with half the instructions that an object would take.
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
    peer_address: NotRequired[str]
    peer_port: NotRequired[int]
    identity: NotRequired[str]
    user: NotRequired[str]
    namespace: NotRequired[str]
    service_account: NotRequired[str]
    pod: NotRequired[str]
    workload: NotRequired[str]
    identity_doubt: NotRequired[str]
    spiffe: NotRequired[str]
    certificate: NotRequired[str]
    door: NotRequired[str]
    host: NotRequired[str]
    port: NotRequired[int]
    original_address: NotRequired[str]
    status: NotRequired[int]
    wrong_credentials: NotRequired[int]
    reason: NotRequired[Reason]
    detail: NotRequired[str]
    groups: NotRequired[tuple[str, ...]]
    rule: NotRequired[str]
    rule_file: NotRequired[str]
    rule_line: NotRequired[int]
    also: NotRequired[tuple[str, ...]]
    would_deny: NotRequired[Reason]
    would_deny_rule: NotRequired[str]
    would_limit: NotRequired[str]
    dialled_address: NotRequired[str]
    source_address: NotRequired[str]
    dial_ms: NotRequired[float]
    dns_ms: NotRequired[float]
    resolved: NotRequired[tuple[str, ...]]
    refused: NotRequired[tuple[str, ...]]
    protocol: NotRequired[str]
    sni: NotRequired[str]
    alpn: NotRequired[tuple[str, ...]]
    ja4: NotRequired[str]
    ech: NotRequired[bool]
    first_byte_ms: NotRequired[float]
    downstream_packets_out: NotRequired[int]
    downstream_packets_in: NotRequired[int]
    upstream_packets_out: NotRequired[int]
    upstream_packets_in: NotRequired[int]
    requests: NotRequired[int]
    inspected: NotRequired[bool]
    tls_version: NotRequired[str]
    tls_resumed: NotRequired[bool]
    upstream_tls_version: NotRequired[str]
    upstream_tls_resumed: NotRequired[bool]
    upstream_certificate: NotRequired[str]
    upstream_subject: NotRequired[str]
    upstream_issuer: NotRequired[str]


class ExchangeRecord(TypedDict):
    """The one record of one exchange, flat, beside the `ConnectionRecord` of the same `connection_id`.

    `status` is what the client was told, by the destination or by us. Everything else as in `ConnectionRecord`;
    `total_ms` and `first_byte_ms` count from the request's head. `inspected`: it came inside TLS. `content_type` is the
    request's; `secrets` are names. The rule's `log` asks for `query` and `request_headers`; `annotations` are
    inspectors', by `name.key`.
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
    peer_address: NotRequired[str]
    peer_port: NotRequired[int]
    identity: NotRequired[str]
    user: NotRequired[str]
    namespace: NotRequired[str]
    service_account: NotRequired[str]
    pod: NotRequired[str]
    workload: NotRequired[str]
    identity_doubt: NotRequired[str]
    spiffe: NotRequired[str]
    certificate: NotRequired[str]
    door: NotRequired[str]
    host: NotRequired[str]
    port: NotRequired[int]
    original_address: NotRequired[str]
    http_version: NotRequired[str]
    inspected: NotRequired[bool]
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
    would_limit: NotRequired[str]
    reused: NotRequired[bool]
    dialled_address: NotRequired[str]
    source_address: NotRequired[str]
    dial_ms: NotRequired[float]
    dns_ms: NotRequired[float]
    resolved: NotRequired[tuple[str, ...]]
    refused: NotRequired[tuple[str, ...]]
    first_byte_ms: NotRequired[float]
    content_type: NotRequired[str]
    query: NotRequired[str]
    request_headers: NotRequired[dict[str, str]]
    secrets: NotRequired[tuple[str, ...]]
    annotations: NotRequired[dict[str, str]]


def rule_name(draft: Draft | ExchangeDraft) -> str:
    """The full name of the rule that decided, whichever way; empty if none did."""
    decision = draft.decision
    return "" if decision is None or decision.rule is None else decision.rule.name


def verdict_of(draft: Draft | ExchangeDraft) -> str:
    """`allow`, `deny` or `none`, as `ConnectionRecord.decision` has it."""
    decision = draft.decision
    if decision is None:
        return "none"
    return "allow" if isinstance(decision, Permit) else "deny"
