"""Connections that turn out to carry requests are handed to `exchange`, with the authority by which each may pass."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from gateway.exchange.conversation import Patience, converse
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
from gateway.policy.plan import REPORT_ONLY, Rules
from gateway.serve.services import Services

CAPTURED_IDLE = 4
"""Connections that a captured one keeps to destinations; for one client the half of it, as `Pool` shares it out."""


class Tunnel(NamedTuple):
    """What a CONNECT came to, by the time its first bytes show requests."""

    permit: Permit
    client: Client
    intent: Intent
    rules: Rules
    upstream: Upstream[Stream]
    meter: Meter | None


class Conversation:
    """Fulfils `record.Tunnel` where the requests in a tunnel are answered: who answers them is called off."""

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
def _shown_as_open(draft: Draft) -> Iterator[None]:
    draft.tunnel = Conversation(draft)
    try:
        yield
    finally:
        draft.tunnel = None


def speaks_requests(permit: Permit, opening: Opening | None) -> bool:
    """Whether each request in the tunnel is judged. What only report mode lets through is observed and relayed
    unchanged: other protocols may begin like HTTP."""
    return opening is not None and opening.protocol is Protocol.HTTP and permit.rule is not REPORT_ONLY


def inspects(permit: Permit, opening: Opening | None) -> ClientHello | None:
    """The TLS hello, if TLS is to be ended here so that each request in it is judged."""
    return opening.hello if opening is not None and permit.terms.inspect else None


async def converse_inside_tls(
    downstream: Stream, draft: Draft, tunnel: Tunnel, hello: ClientHello, services: Services
) -> None:
    """Requests inside TLS, which is ended here; `downstream` holds the client's hello. Raises `DownstreamError`."""
    interception = services.interception()
    if interception is None:  # a reload after the rules were taken
        raise InternalError(Reason.INTERNAL_ERROR, "inspection is not configured any more")
    from gateway.intercept.interception import Inspected  # noqa: PLC0415  # loaded with what was found in force

    with _shown_as_open(draft):
        await interception.converse(downstream, draft, Inspected(*tunnel, hello, services.limiter))


async def converse_openly(downstream: Stream, draft: Draft, services: Services) -> None:
    """Requests in absolute form, the first of which is held by `downstream`."""
    scope = AnyAuthority(services.rules, services.identifier, services.limiter, services.pool)
    timeouts = services.rules().policy.timeouts
    await converse(downstream, draft, scope, services.exchanges, Patience(timeouts.head, timeouts.idle))


async def converse_captured(downstream: Stream, draft: Draft, original: Destination, services: Services) -> None:
    """Requests that were on their way to `original`, the first of which is held by `downstream`.

    The upstream pool is this connection's own: under `resolve: match` another one's may lead elsewhere. There are many
    such pools, and a client that names many hosts is no usual one, so that each keeps the connections of few.
    """
    pool = Pool(services.deadlines, services.clock.monotonic, CAPTURED_IDLE)
    scope = AnyHost(services.rules, services.identifier, services.limiter, pool, original=original)
    timeouts = services.rules().policy.timeouts
    try:
        await converse(downstream, draft, scope, services.exchanges, Patience(timeouts.head, timeouts.idle))
    finally:
        pool.close()


async def converse_in_tunnel(downstream: Stream, draft: Draft, tunnel: Tunnel, services: Services) -> None:
    """Requests inside a tunnel. The upstream pool is its own and begins with the connection that was dialled for it;
    closing that one remains its owner's task."""
    pool = Pool(services.deadlines, services.clock.monotonic)
    limiter = services.limiter
    scope = OneAuthority(
        tunnel.permit, tunnel.client, tunnel.intent, tunnel.rules, pool, limiter=limiter, meter=tunnel.meter
    )
    reader = services.exchanges.codec.response_reader(services.exchanges.bounds)
    first = UpstreamConnection(tunnel.upstream, reader, services.clock.monotonic())
    scope.keep(first, draft.peer)
    timeouts = tunnel.permit.terms.timeouts
    try:
        with _shown_as_open(draft):
            await converse(downstream, draft, scope, services.exchanges, Patience(timeouts.head, timeouts.idle))
    finally:
        pool.close()
