"""By which door the requests of one connection come: whom each may name, and by which right it goes on.

This is all that differs between absolute form on a proxy port, requests inside a tunnel, clear or intercepted, and
those on a connection that routes led here.
"""

from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from typing import Protocol as Role

from gateway.exchange.http1.upstream import UpstreamConnection
from gateway.exchange.upstream import Pool, Shared, pool_key
from gateway.model.addresses import Address
from gateway.model.authority import Authority, parse_authority
from gateway.model.client import Certificate, Client
from gateway.model.decision import Deny, Permit
from gateway.model.errors import DownstreamError, GatewayError, Refused
from gateway.model.intent import Door, Intent, Protocol
from gateway.model.limits.limit import CONNECTION, EXCHANGE, REQUEST
from gateway.model.reasons import Reason
from gateway.model.record import Destination, ExchangeDraft
from gateway.model.roles import Dialer, HeaderFields, Lease, Limiter, Meter
from gateway.net.stream import Stream
from gateway.policy.confirm import confirm_host
from gateway.policy.decide import decide
from gateway.policy.plan import Rules
from gateway.wire.http.messages import Request
from gateway.wire.target import HTTP_PORT, Target

Presence = Callable[[], Coroutine[Any, Any, None]]
"""Returns once the client is gone."""


class Identifies(Role):
    """Who is asking."""

    async def identify(self, address: Address, head: HeaderFields, certificate: Certificate | None) -> Client:
        """Raises `DownstreamError` for credentials that are wrong or missing."""
        ...

    def by_address(self, address: Address) -> Client:
        """Who never heard of a proxy that takes credentials."""
        ...

    def refusal(self, denial: Deny, client: Client, intent: Intent, rules: Rules, now: float) -> GatewayError:
        """What a denied client is told."""
        ...


class Judged(NamedTuple):
    """May pass. `named` is whom the request names, under which Host it goes on."""

    permit: Permit
    client: Client
    named: Authority


class Scope(Role):
    """`pool` keeps connections between exchanges; who made it closes it."""

    @property
    def pool(self) -> Pool: ...

    @property
    def limiter(self) -> Limiter: ...

    @property
    def usual_port(self) -> int:
        """The one that Host leaves out."""
        ...

    @property
    def meter(self) -> Meter | None:
        """Of the tunnel that carries the exchanges; where there is none, each lease has its own."""
        ...

    @property
    def dialer(self) -> Dialer[Stream] | None:
        """How destinations are reached; None: as everywhere."""
        ...

    @property
    def is_verified(self) -> bool:
        """Whether every connection to a destination is: see `Upstream.verified`."""
        ...

    async def judge(self, request: Request, target: Target, draft: ExchangeDraft, now: float) -> Judged:
        """Who asks for what, and whether it may pass: noted in the draft as it becomes known. Raises `GatewayError`."""
        ...

    def lease(self, judged: Judged, dials: bool, presence: Presence) -> AbstractAsyncContextManager[Lease]:
        """Held while the exchange lasts. `dials`: it needs a connection of its own."""
        ...

    def connection_lease(self, judged: Judged, presence: Presence) -> AbstractAsyncContextManager[object]:
        """For a connection that turns out to be needed later; given back at once, for it is only counted."""
        ...

    def sum_up(self, draft: ExchangeDraft) -> None:
        """What the connection's own record says of an exchange that is over."""
        ...


@dataclass(frozen=True, slots=True)
class AnyAuthority:
    """Absolute form on a proxy port: each request names whom it is for, is judged like a connection of its own, and
    by the rules of its own time. The target replaces Host (RFC 9112 section 3.2.2)."""

    rules: Callable[[], Rules]
    identifier: Callable[[], Identifies]
    limiter: Limiter
    pool: Pool
    meter: None = None
    usual_port: int = HTTP_PORT

    @property
    def dialer(self) -> Dialer[Stream] | None:
        """See `Scope`."""
        return None

    @property
    def is_verified(self) -> bool:
        """See `Scope`."""
        return False

    async def judge(self, request: Request, target: Target, draft: ExchangeDraft, now: float) -> Judged:
        """See `Scope`."""
        if target.authority is None:
            raise DownstreamError(Reason.NOT_A_PROXY_REQUEST, f"{request.method[:20]} that names no http:// URL")
        rules = self.rules()
        connection = draft.connection
        draft.generation = connection.generation = rules.generation  # known at once: they are kept for who is judged
        identifier = self.identifier()
        client = draft.client = await identifier.identify(connection.peer[0], request, connection.certificate)
        intent = draft.intent = Intent(Door.ABSOLUTE_FORM, target.authority, Protocol.HTTP)
        decision = draft.decision = decide(client, intent, rules, now)
        if isinstance(decision, Deny):
            raise identifier.refusal(decision, client, intent, rules, now)
        return Judged(decision, client, target.authority)

    def lease(self, judged: Judged, dials: bool, presence: Presence) -> AbstractAsyncContextManager[Lease]:
        """See `Scope`."""
        counted = EXCHANGE | CONNECTION if dials else EXCHANGE
        return self.limiter.lease(judged.permit, judged.client, counted, presence)

    def connection_lease(self, judged: Judged, presence: Presence) -> AbstractAsyncContextManager[object]:
        """See `Scope`."""
        return self.limiter.lease(judged.permit, judged.client, CONNECTION, presence)

    def sum_up(self, draft: ExchangeDraft) -> None:
        """The connection says of itself what holds of its last exchange; sizes are those of all."""
        _add_bytes(draft)
        connection = draft.connection
        connection.generation, connection.client, connection.intent = draft.generation, draft.client, draft.intent
        connection.decision, connection.would_deny = draft.decision, draft.would_deny
        connection.status, connection.reason, connection.detail = draft.status, draft.reason, draft.detail
        _add_end(draft)


@dataclass(frozen=True, slots=True)
class AnyHost(AnyAuthority):
    """A connection that routes led here, on its way to `original`: each request names a host by its Host field, always
    at the port that was dialled, and is judged like a connection of its own. Nobody is asked for credentials."""

    original: Destination = field(kw_only=True)

    async def judge(self, request: Request, target: Target, draft: ExchangeDraft, now: float) -> Judged:
        """See `Scope`."""
        rules = self.rules()
        draft.generation = draft.connection.generation = rules.generation
        client = draft.client = self.identifier().by_address(draft.connection.peer[0])
        address, port = self.original
        named = target.authority or _host_of(request, self.usual_port) or Authority(address, port)
        intent = draft.intent = Intent(Door.TRANSPARENT, named, Protocol.HTTP, address)
        if named.port != port or (isinstance(named.host, Address) and named.host != address):
            detail = f"Host {named} on a connection to {Authority(address, port)}"
            raise Refused(Deny(Reason.HOST_MISMATCH, rules.generation, detail=detail))
        decision = draft.decision = decide(client, intent, rules, now)
        if isinstance(decision, Deny):
            raise Refused(decision)
        return Judged(decision, client, named)


@dataclass(frozen=True, slots=True)
class OneAuthority:
    """Inside a tunnel, whose permit holds for all its requests: each must name the tunnel's own host, as `sni` says,
    and its port. The tunnel's lease is held by whoever opened it, and its rules are those that it was opened under."""

    permit: Permit
    client: Client
    intent: Intent
    rules: Rules
    pool: Pool
    usual_port: int = HTTP_PORT
    is_verified: bool = False
    dialer: Dialer[Stream] | None = None
    limiter: Limiter = field(kw_only=True)
    meter: Meter | None = field(default=None, kw_only=True)

    def keep(self, upstream: UpstreamConnection, peer: tuple[Address, int]) -> None:
        """Have the next request of `peer` go over this connection."""
        self.pool.give(pool_key(self.client, self.permit, peer), upstream)

    def share(self, upstream: Shared, peer: tuple[Address, int]) -> None:
        """Have the requests of `peer` go over this connection."""
        self.pool.share(pool_key(self.client, self.permit, peer), upstream)

    async def judge(self, request: Request, target: Target, draft: ExchangeDraft, now: float) -> Judged:
        """See `Scope`."""
        draft.generation, draft.client, draft.intent = self.permit.generation, self.client, self.intent
        draft.decision = self.permit
        named = target.authority or _host_of(request, self.usual_port) or self.intent.authority
        verdict = confirm_host(self.permit, named, self.client, self.intent, self.rules, now)
        if isinstance(verdict, Deny):
            raise Refused(verdict)
        draft.would_deny = verdict
        return Judged(self.permit, self.client, named)

    def lease(self, judged: Judged, dials: bool, presence: Presence) -> AbstractAsyncContextManager[Lease]:
        """See `Scope`. Whatever is not counted by request is the tunnel's: its own lease is held already."""
        counted = REQUEST | CONNECTION if dials else REQUEST
        return self.limiter.lease(judged.permit, judged.client, counted, presence)

    def connection_lease(self, judged: Judged, presence: Presence) -> AbstractAsyncContextManager[object]:
        """See `Scope`."""
        return self.limiter.lease(judged.permit, judged.client, CONNECTION, presence)

    def sum_up(self, draft: ExchangeDraft) -> None:
        """The connection's record speaks of the tunnel."""
        _add_bytes(draft)
        _add_end(draft)


def _host_of(request: Request, usual_port: int) -> Authority | None:
    """Whom the Host field names; None without one, as in HTTP/1.0. Raises `DownstreamError`."""
    hosts = request.values("host")
    if not hosts:
        return None
    named = parse_authority(hosts[0], usual_port)
    if named is None:
        raise DownstreamError(Reason.MALFORMED_AUTHORITY, "Host")
    return named


def _add_bytes(draft: ExchangeDraft) -> None:
    total, transfer = draft.connection.transfer, draft.transfer
    total.bytes_up += transfer.bytes_up
    total.bytes_down += transfer.bytes_down
    total.first_byte_at = total.first_byte_at or transfer.first_byte_at


def _add_end(draft: ExchangeDraft) -> None:
    draft.connection.answered += 1
    transfer = draft.connection.transfer
    transfer.ended, transfer.ended_by, transfer.reason = (
        draft.transfer.ended,
        draft.transfer.ended_by,
        draft.transfer.reason,
    )
