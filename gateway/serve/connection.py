"""The life of one connection, written top to bottom. Read this file first.

    accept -> enter -> identify -> read intent -> decide -> take a lease
           -> resolve + screen + dial -> confirm SNI -> relay, or answer requests -> record

Every stage's answer goes into the draft as it becomes known, so that a connection which is cut off half-way still
leaves a truthful record. No byte of the client's reaches the destination before the last verdict.
"""

import asyncio
import logging
from collections.abc import Coroutine
from functools import partial
from typing import Any

from gateway.model.decision import Deny, Permit, WouldDeny
from gateway.model.errors import DownstreamError, GatewayError, InternalError, Refused
from gateway.model.intent import Opening, Protocol
from gateway.model.limits.limit import TUNNEL
from gateway.model.reasons import Reason
from gateway.model.record import Destination, Draft, Packets
from gateway.model.recording.noting import note_cut
from gateway.model.roles import Upstream
from gateway.net.dialer import send_proxy_header
from gateway.net.kernel.segments import segments_of
from gateway.net.paced_relay import joining_for
from gateway.net.relay import Relay
from gateway.net.stream import Stream
from gateway.net.tls.late_hello import LateHello
from gateway.net.tls.second_hello import Watch, watch_for, watched
from gateway.policy.confirm import confirm
from gateway.policy.decide import decide
from gateway.policy.index import REPORT_ONLY
from gateway.serve.capture import intent_by_address, intent_by_name, read_first_bytes, refuse_loop
from gateway.serve.entrance import enter
from gateway.serve.intake import await_head, begins_exchange, client_speaks_first, read_head, read_intent, read_opening
from gateway.serve.refuse import asks_again, refuse
from gateway.serve.requests import (
    Tunnel,
    carries_requests,
    converse_absolute_form,
    converse_captured,
    converse_in_tunnel,
    converse_inside_tls,
)
from gateway.serve.services import Services
from gateway.wire.head import RequestHead, parse_traceparent
from gateway.wire.replies import established

ATTEMPTS = 8  # requests on one connection; only a 407 keeps one open for the next

_logger = logging.getLogger(__name__)


async def serve_connection(downstream: Stream, draft: Draft, services: Services) -> None:
    """From accept to record. Closes `downstream`; raises nothing but its own cancellation."""
    try:
        for left in reversed(range(ATTEMPTS)):
            may_ask_again = await _attempt(downstream, draft, services, is_last=not left)
            if not may_ask_again or not await asks_again(downstream, draft, services):
                break
    except asyncio.CancelledError:
        note_cut(draft, draft.reason or Reason.DRAINING)
        downstream.abort()
        raise
    finally:
        services.recorder.record(draft)
    if not downstream.close():
        await downstream.aclose()


async def _attempt(downstream: Stream, draft: Draft, services: Services, is_last: bool) -> bool:
    """One request and all that follows from it. True: it was refused, and the client may try again here."""
    head = None
    try:
        if not draft.entered:
            entrance = services.entrance(draft.listener)
            if entrance is not None:  # most listeners have nothing before the first request
                await enter(downstream, draft, entrance, services)
            draft.entered = True
        if draft.original is not None:
            await _walk_captured(draft.original, downstream, draft, services)
            return False
        head = read_head(downstream, services) or await await_head(downstream, services)
        if begins_exchange(head):
            await converse_absolute_form(downstream, draft, services)
            return False
        downstream.consume(head.size)
        await _walk(head, downstream, draft, services)
        return False
    except GatewayError as error:
        return refuse(error, head, downstream, draft, services, is_last)
    except Exception as bug:
        _logger.exception("connection %s", draft.connection_id)
        return refuse(InternalError(Reason.INTERNAL_ERROR, type(bug).__name__), head, downstream, draft, services)


async def _walk(head: RequestHead, downstream: Stream, draft: Draft, services: Services) -> None:
    if services.draining:
        raise InternalError(Reason.DRAINING)
    now = draft.asked_time = services.clock.time()
    if services.traces:
        draft.caller = parse_traceparent(head.values("traceparent"))
    rules = services.rules()
    draft.generation = rules.generation

    identifier = services.identifier()
    client = draft.client = await identifier.identify(draft.peer[0], head, draft.certificate)
    intent = draft.intent = read_intent(head)
    decision = draft.decision = decide(client, intent, rules, now)
    if isinstance(decision, Deny):
        raise identifier.refusal(decision, client, intent, rules, now)
    async with services.limiter.lease(decision, client, TUNNEL, downstream.absence) as lease:
        draft.would_limit = lease.would_limit
        upstream = await services.dialer.dial(decision)
        draft.dialled = upstream.dialled
        try:
            _establish(downstream, draft, head)
            if decision.terms.protocol is not Protocol.TCP and await _shows_opening(decision, downstream, upstream):
                opening = draft.opening = await read_opening(downstream, services, decision.terms.timeouts.client_hello)
                draft.would_deny = _confirmed(confirm(decision, opening, client, intent, rules, now))
                if services.traces:
                    draft.opened_at = services.clock.monotonic()
            await _carry(Tunnel(decision, client, intent, rules, upstream, lease.meter), downstream, draft, services)
        except asyncio.CancelledError:
            upstream.stream.abort()  # an orderly end would make a cut-off upload look complete
            raise
        finally:
            draft.would_limit = lease.would_limit  # a budget may be spent by now
            if not upstream.stream.close():
                await upstream.stream.aclose()


async def _walk_captured(original: Destination, downstream: Stream, draft: Draft, services: Services) -> None:
    """The client asked no proxy, so there is no 200, and its first bytes are judged before the dial."""
    if services.draining:
        raise InternalError(Reason.DRAINING)
    now = services.clock.time()
    rules = services.rules()
    draft.generation = rules.generation

    client = draft.client = services.identifier().by_address(draft.peer[0])
    intent = draft.intent = intent_by_address(original)
    refuse_loop(original, rules)
    opening = draft.opening = await read_first_bytes(downstream, intent, client, rules, now, services)
    if opening is not None:
        if opening.protocol is Protocol.HTTP:
            return await converse_captured(downstream, draft, original, services)
        intent = draft.intent = intent_by_name(opening, intent)
    if services.traces:
        draft.asked_time = services.clock.time()
    decision = draft.decision = decide(client, intent, rules, now)
    if isinstance(decision, Deny):
        raise Refused(decision)
    if opening is not None:
        draft.would_deny = _confirmed(confirm(decision, opening, client, intent, rules, now))
    async with services.limiter.lease(decision, client, TUNNEL, downstream.absence) as lease:
        draft.would_limit = lease.would_limit
        upstream = await services.dialer.dial(decision)
        draft.dialled = upstream.dialled
        try:
            await _carry(Tunnel(decision, client, intent, rules, upstream, lease.meter), downstream, draft, services)
        except asyncio.CancelledError:
            upstream.stream.abort()
            raise
        finally:
            draft.would_limit = lease.would_limit  # a budget may be spent by now
            if not upstream.stream.close():
                await upstream.stream.aclose()


def _carry(tunnel: Tunnel, downstream: Stream, draft: Draft, services: Services) -> Coroutine[Any, Any, None]:
    """After the last verdict about the connection as a whole: each request is judged by itself, in the clear or inside
    TLS; anything else is relayed unchanged."""
    permit, opening = tunnel.permit, draft.opening
    send_proxy_header(tunnel.upstream, permit, draft.peer)  # before the client's first byte
    if opening is not None and opening.hello is not None and permit.terms.inspect:
        return converse_inside_tls(downstream, draft, tunnel, opening.hello, services)
    if opening is not None and carries_requests(permit, opening):
        return converse_in_tunnel(downstream, draft, tunnel, services)
    return _relay(tunnel, downstream, draft, services)


def _establish(downstream: Stream, draft: Draft, head: RequestHead) -> None:
    if downstream.was_reset:
        raise DownstreamError(Reason.CLIENT_CLOSED, "before the destination was reached")
    downstream.write(established(head.minor))
    draft.status = 200


async def _shows_opening(permit: Permit, downstream: Stream, upstream: Upstream[Stream]) -> bool:
    """Whether there are first bytes to judge. Under the built-in rule of report mode they are only observed: it lets
    server-first protocols pass as well, because no rule could have said `tcp` for them."""
    if permit.rule is not REPORT_ONLY:
        return True
    return await client_speaks_first(downstream, upstream.stream, permit.terms.timeouts.client_hello)


def _confirmed(verdict: Deny | WouldDeny | None) -> WouldDeny | None:
    """What report mode set aside, if anything. Raises `Refused` for a denial."""
    if isinstance(verdict, Deny):
        raise Refused(verdict)
    return verdict


async def _relay(tunnel: Tunnel, downstream: Stream, draft: Draft, services: Services) -> None:
    permit, upstream = tunnel.permit, tunnel.upstream.stream
    timeouts = permit.terms.timeouts
    watch = _watch_for(tunnel, draft, services)
    relay = Relay(
        downstream,
        upstream,
        draft.transfer,
        services.deadlines,
        services.splices,
        timeouts.idle,
        timeouts.lifetime,
        services.clock.monotonic,
    )
    draft.tunnel = relay
    try:
        await relay.run(watched(joining_for(tunnel.meter), watch))
        if services.counts_packets:
            unknown = (None, None)
            draft.packets = Packets(*(segments_of(downstream) or unknown), *(segments_of(upstream) or unknown))
    finally:
        draft.tunnel = None
    if watch is not None and watch.refused is not None:
        raise Refused(watch.refused)


def _watch_for(tunnel: Tunnel, draft: Draft, services: Services) -> Watch | None:
    """A watch for what must still be judged while bytes are relayed: a second ClientHello, or a first one that was not
    waited for."""
    if draft.opening is None and tunnel.permit.rule is not REPORT_ONLY:
        return None
    deny, limit = partial(_denial, tunnel.permit), services.bounds.client_hello
    if draft.opening is not None:
        return watch_for(draft.opening.hello, limit, deny)
    return LateHello(partial(_judge_late, tunnel, draft, services), deny, limit)


def _denial(permit: Permit, reason: Reason, detail: str) -> Deny:
    return Deny(reason, permit.generation, permit.rule, permit.groups, detail=detail)


def _judge_late(tunnel: Tunnel, draft: Draft, services: Services, opening: Opening) -> Deny | None:
    """Judge by the rules in force now: those that the tunnel began with may have been taken down."""
    draft.opening = opening
    now = services.clock.time()
    verdict = confirm(tunnel.permit, opening, tunnel.client, tunnel.intent, services.rules(), now)
    if isinstance(verdict, Deny):
        return verdict
    draft.would_deny = verdict
    return None
