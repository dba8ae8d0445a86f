"""What the requests of one connection may name, and by which permit each is forwarded.

This is all that differs between absolute form on a proxy port, requests inside a tunnel, in the clear or intercepted,
and requests on a captured connection.
"""

from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from typing import ClassVar
from typing import Protocol as Role

from gateway.exchange.http1.upstream import UpstreamConnection
from gateway.exchange.plan import RequestPlan
from gateway.exchange.upstream import Pool, PoolKey, Shared, pool_key
from gateway.model.addresses import Address
from gateway.model.authority import Authority, parse_authority
from gateway.model.client import Certificate, Client
from gateway.model.decision import Deny, Permit
from gateway.model.errors import DownstreamError, GatewayError, Refused, RefusedUnasked
from gateway.model.intent import Door, Intent, Protocol
from gateway.model.limits.limit import EXCHANGE, REQUEST, Counted
from gateway.model.reasons import Reason
from gateway.model.record import Destination, ExchangeDraft
from gateway.model.roles import Dialer, HeaderFields, Limiter, Meter
from gateway.net.stream import Stream
from gateway.policy.confirm import confirm_host
from gateway.policy.decide import decide
from gateway.policy.index import Rules
from gateway.wire.target import HTTP_PORT


class Identifies(Role):
    """Finds out who the client is."""

    async def identify(self, address: Address, head: HeaderFields, certificate: Certificate | None) -> Client:
        """Raises `DownstreamError` for credentials that are wrong or missing."""
        ...

    def by_address(self, address: Address) -> Client:
        """For a captured client, which does not know of a proxy that takes credentials."""
        ...

    def refusal(self, denial: Deny, client: Client, intent: Intent, rules: Rules, now: float) -> GatewayError:
        """How to refuse a denied client."""
        ...


@dataclass(slots=True)
class Judged:
    """A permitted request. `named` is the host that the request names and that its Host field carries; `key` tells the
    connections that it may go over. `is_doubtful`: only report mode let the tunnel pass that it came in."""

    permit: Permit
    client: Client
    named: Authority
    key: PoolKey
    is_doubtful: bool = False


class Scope(Role):
    """How requests of one connection are judged. `pool` keeps connections between exchanges; its maker closes it."""

    @property
    def pool(self) -> Pool: ...

    @property
    def limiter(self) -> Limiter: ...

    @property
    def counted(self) -> frozenset[Counted]:
        """What an exchange takes a lease for, besides the connection that it may need."""
        ...

    @property
    def usual_port(self) -> int:
        """The port that is meant where Host names none."""
        ...

    @property
    def meter(self) -> Meter | None:
        """The meter of the tunnel that carries the exchanges; None: each lease has its own."""
        ...

    @property
    def dialer(self) -> Dialer[Stream] | None:
        """How destinations are reached; None: in the usual way."""
        ...

    @property
    def is_secure(self) -> bool:
        """Whether requests come inside TLS, and go to nobody who has not proved over TLS who they are."""
        ...

    async def judge(self, plan: RequestPlan, draft: ExchangeDraft, now: float) -> Judged:
        """Whether the request may pass; everything is noted in the draft as it becomes known. Raises `GatewayError`."""
        ...

    def sum_up(self, draft: ExchangeDraft) -> None:
        """Note in the connection's draft what an exchange that is over adds to it."""
        ...


@dataclass(frozen=True, slots=True)
class AnyAuthority:
    """Absolute form on a proxy port: each request names its destination, and is judged like a connection of its own, by
    the rules in force at its time. The target replaces Host (RFC 9112 section 3.2.2)."""

    rules: Callable[[], Rules]
    identifier: Callable[[], Identifies]
    limiter: Limiter
    pool: Pool
    counted: ClassVar[frozenset[Counted]] = EXCHANGE
    usual_port: ClassVar[int] = HTTP_PORT
    meter: ClassVar[None] = None
    dialer: ClassVar[None] = None
    is_secure: ClassVar[bool] = False

    async def judge(self, plan: RequestPlan, draft: ExchangeDraft, now: float) -> Judged:
        """See `Scope`."""
        request, named = plan.request, plan.target.authority
        if named is None:
            raise DownstreamError(Reason.NOT_A_PROXY_REQUEST, f"{request.method[:20]} that names no http:// URL")
        rules = self.rules()
        connection = draft.connection
        draft.generation = connection.generation = rules.generation  # at once: rules that a draft names are kept
        identifier = self.identifier()
        client = draft.client = await identifier.identify(connection.peer[0], request, connection.certificate)
        intent = draft.intent = Intent(Door.ABSOLUTE_FORM, named, Protocol.HTTP)
        decision = draft.decision = decide(client, intent, rules, now)
        if isinstance(decision, Deny):
            raise identifier.refusal(decision, client, intent, rules, now)
        return Judged(decision, client, named, pool_key(client, decision, connection.peer))

    def sum_up(self, draft: ExchangeDraft) -> None:
        """The connection's record says what its last exchange's does; sizes are summed."""
        _add(draft)
        connection = draft.connection
        connection.generation, connection.client, connection.intent = draft.generation, draft.client, draft.intent
        connection.decision, connection.would_deny = draft.decision, draft.would_deny
        connection.would_limit = draft.would_limit
        connection.status, connection.reason, connection.detail = draft.status, draft.reason, draft.detail


@dataclass(frozen=True, slots=True)
class AnyHost(AnyAuthority):
    """A captured connection on its way to `original`: each request names a host in its Host field, always at the port
    that was dialled, and is judged like a connection of its own. No credentials are asked for."""

    original: Destination = field(kw_only=True)

    async def judge(self, plan: RequestPlan, draft: ExchangeDraft, now: float) -> Judged:
        """See `Scope`."""
        rules = self.rules()
        draft.generation = draft.connection.generation = rules.generation
        peer = draft.connection.peer
        client = draft.client = self.identifier().by_address(peer[0])
        address, port = self.original
        named = plan.target.authority or _authority(plan.host, self.usual_port) or Authority(address, port)
        intent = draft.intent = Intent(Door.TRANSPARENT, named, Protocol.HTTP, address)
        if named.port != port or (isinstance(named.host, Address) and named.host != address):
            detail = f"Host {named} on a connection to {Authority(address, port)}"
            raise Refused(Deny(Reason.HOST_MISMATCH, rules.generation, detail=detail))
        decision = draft.decision = decide(client, intent, rules, now)
        if isinstance(decision, Deny):
            raise RefusedUnasked(decision)
        return Judged(decision, client, named, pool_key(client, decision, peer))


@dataclass(slots=True)
class OneAuthority:
    """Inside a tunnel, whose permit holds for all its requests: each must name the tunnel's own host, as `sni` says,
    and its port. The tunnel's lease is held by whoever opened it, and its rules are those that it was opened under.
    `peer` is the tunnel's client, `key` that of all its requests."""

    counted: ClassVar[frozenset[Counted]] = REQUEST
    permit: Permit
    client: Client
    intent: Intent
    rules: Rules
    pool: Pool
    usual_port: int = HTTP_PORT
    is_secure: bool = False
    dialer: Dialer[Stream] | None = None
    peer: InitVar[tuple[Address, int]] = field(kw_only=True)
    limiter: Limiter = field(kw_only=True)
    meter: Meter | None = field(default=None, kw_only=True)
    key: PoolKey = field(init=False)

    def __post_init__(self, peer: tuple[Address, int]) -> None:
        self.key = pool_key(self.client, self.permit, peer)

    def keep(self, upstream: UpstreamConnection) -> None:
        """Have the next request go over this connection."""
        self.pool.give(self.key, upstream)

    def share(self, upstream: Shared) -> None:
        """Have the requests go over this connection."""
        self.pool.share(self.key, upstream)

    def owe(self, failure: GatewayError) -> None:
        """Have the next request fail with what the tunnel's own connection failed with."""
        self.pool.owe(self.key, failure)

    async def judge(self, plan: RequestPlan, draft: ExchangeDraft, now: float) -> Judged:
        """See `Scope`."""
        permit, client, intent = self.permit, self.client, self.intent
        draft.generation, draft.client, draft.intent, draft.decision = permit.generation, client, intent, permit
        named = plan.target.authority or _authority(plan.host, self.usual_port) or intent.authority
        verdict = confirm_host(permit, named, client, intent, self.rules, now)
        if isinstance(verdict, Deny):
            raise Refused(verdict)
        draft.would_deny = verdict
        return Judged(permit, client, named, self.key, draft.connection.would_deny is not None)

    def sum_up(self, draft: ExchangeDraft) -> None:
        """The connection's record describes the tunnel."""
        _add(draft)


def _authority(host: str | None, usual_port: int) -> Authority | None:
    """The authority in a Host field; None without one, as in HTTP/1.0. Raises `DownstreamError`."""
    if host is None:
        return None
    named = parse_authority(host, usual_port)
    if named is None:
        raise DownstreamError(Reason.MALFORMED_AUTHORITY, "Host")
    return named


def _add(draft: ExchangeDraft) -> None:
    """Count the exchange and its bytes. The connection ended in the way in which its last exchange did."""
    connection, transfer = draft.connection, draft.transfer
    connection.answered += 1
    total = connection.transfer
    total.bytes_up += transfer.bytes_up
    total.bytes_down += transfer.bytes_down
    total.first_byte_at = total.first_byte_at or transfer.first_byte_at
    total.ended, total.ended_by, total.reason = transfer.ended, transfer.ended_by, transfer.reason
