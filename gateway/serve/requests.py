"""Hands connections that turn out to carry requests to `exchange`, with the scope by which each request is judged."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from gateway.exchange.conversation import converse
from gateway.exchange.http1.upstream import UpstreamConnection
from gateway.exchange.scope import AnyAuthority, AnyHost, OneAuthority
from gateway.exchange.upstream import Pool
from gateway.model.client import Client
from gateway.model.decision import Permit
from gateway.model.errors import InternalError
from gateway.model.intent import ClientHello, Intent, Opening, Protocol
from gateway.model.reasons import Reason
from gateway.model.record import Destination, Draft
from gateway.model.roles import Meter, Upstream
from gateway.net.stream import Stream
from gateway.policy.index import REPORT_ONLY, Rules
from gateway.serve.services import Services

CAPTURED_IDLE = 4
"""Connections that a captured one keeps to destinations; for one client the half of it, as `Pool` shares it out."""


@dataclass(slots=True)
class Tunnel:
    """A connection after the last verdict about it: who may reach what under which terms, and where it leads."""

    permit: Permit
    client: Client
    intent: Intent
    rules: Rules
    upstream: Upstream[Stream]
    meter: Meter | None


class Conversation:
    """Fulfils `record.Tunnel` where requests are answered: to cut it is to cancel the task that answers them."""

    asks_rules = True

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._task = asyncio.current_task()

    def cut(self, reason: Reason) -> None:
        """See `Tunnel`."""
        self._draft.reason = reason
        if self._task is not None:
            self._task.cancel()


@contextmanager
def _shown_as_open(draft: Draft, permit: Permit, services: Services) -> Iterator[None]:
    """While it lives it may be cut, and it is when its lifetime is over."""
    conversation = draft.tunnel = Conversation(draft)
    lifetime, alarm = permit.terms.timeouts.lifetime, None
    if lifetime is not None:
        alarm = services.deadlines.after(lifetime, partial(conversation.cut, Reason.LIFETIME_REACHED))
    try:
        yield
    finally:
        draft.tunnel = None
        if alarm is not None:
            alarm.cancel()


def carries_requests(permit: Permit, opening: Opening) -> bool:
    """Whether each request in the tunnel is to be judged. Under the built-in rule of report mode it is relayed
    unchanged, as other protocols may begin like HTTP."""
    return opening.protocol is Protocol.HTTP and permit.rule is not REPORT_ONLY


async def converse_inside_tls(
    downstream: Stream, draft: Draft, tunnel: Tunnel, hello: ClientHello, services: Services
) -> None:
    """Requests inside TLS, which is terminated here; `downstream` holds the ClientHello. Raises `DownstreamError`."""
    interception = services.interception()
    if interception is None:  # a reload since the rules were taken
        raise InternalError(Reason.INTERNAL_ERROR, "inspection is not configured any more")
    from gateway.intercept.interception import Inspected  # noqa: PLC0415  # loaded by whoever made `interception`

    rights = tunnel.permit, tunnel.client, tunnel.intent, tunnel.rules
    inspected = Inspected(*rights, tunnel.upstream, tunnel.meter, hello, services.limiter)
    with _shown_as_open(draft, tunnel.permit, services):
        await interception.converse(downstream, draft, inspected)


async def converse_absolute_form(downstream: Stream, draft: Draft, services: Services) -> None:
    """Requests in absolute form, the first of which is held by `downstream`."""
    scope = AnyAuthority(services.rules, services.identifier, services.limiter, services.pool)
    await converse(downstream, draft, scope, services.exchanges, services.rules().policy.timeouts)


async def converse_captured(downstream: Stream, draft: Draft, original: Destination, services: Services) -> None:
    """Requests that were on their way to `original`, the first of which is held by `downstream`.

    The pool is this connection's own: under `resolve: match` another's connections may lead to another address. There
    are many such pools, and few clients name many hosts, so each keeps few connections.
    """
    pool = Pool(services.deadlines, services.clock.monotonic, CAPTURED_IDLE)
    scope = AnyHost(services.rules, services.identifier, services.limiter, pool, original=original)
    try:
        await converse(downstream, draft, scope, services.exchanges, services.rules().policy.timeouts)
    finally:
        pool.close()


async def converse_in_tunnel(downstream: Stream, draft: Draft, tunnel: Tunnel, services: Services) -> None:
    """Requests inside a tunnel. Its pool is its own and begins with the connection that was dialled for it, which stays
    its owner's to close."""
    pool = Pool(services.deadlines, services.clock.monotonic)
    rights = tunnel.permit, tunnel.client, tunnel.intent, tunnel.rules
    scope = OneAuthority(*rights, pool, peer=draft.peer, limiter=services.limiter, meter=tunnel.meter)
    reader = services.exchanges.codec.response_reader(services.exchanges.bounds)
    first = UpstreamConnection(tunnel.upstream, reader, services.clock.monotonic())
    scope.keep(first)
    try:
        with _shown_as_open(draft, tunnel.permit, services):
            await converse(downstream, draft, scope, services.exchanges, tunnel.permit.terms.timeouts)
    finally:
        pool.close()
