"""Switches an exchange to a WebSocket, and relays it.

Between two sides of HTTP/1 it is a tunnel like any other. A client of HTTP/2 has a stream instead (RFC 8441); what it
sends is forwarded as content, to another stream or to the connection that HTTP/1 has left.
"""

from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha1

from gateway.exchange.fields import WEBSOCKET
from gateway.exchange.http1.downstream import DownstreamConnection
from gateway.exchange.http1.inlets import ConnectionInlet
from gateway.exchange.http1.upstream import UpstreamConnection
from gateway.exchange.inlet import Inlet, Outlet, check_request
from gateway.exchange.pacing.debt import budget_spent
from gateway.exchange.pacing.outlet import cut_by, is_resting, paced
from gateway.exchange.parts import Parts
from gateway.exchange.plan import RequestPlan
from gateway.exchange.response import DownstreamSide
from gateway.exchange.upstream import UpstreamSide
from gateway.model.decision import Permit
from gateway.model.errors import InternalError, UpstreamError
from gateway.model.reasons import Reason
from gateway.model.record import Ended, ExchangeDraft, Side
from gateway.model.roles import Meter
from gateway.net.paced_relay import joining_for
from gateway.net.relay import Relay
from gateway.net.stream import Stream
from gateway.wire.http.messages import End, Event, Request, Response

_KEY_SUFFIX = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3


async def switch(
    downstream: DownstreamSide,
    upstream: UpstreamSide,
    response: Response,
    plan: RequestPlan,
    draft: ExchangeDraft,
    parts: Parts,
    permit: Permit,
    meter: Meter | None,
) -> None:
    """A WebSocket is a tunnel from its 101 on (RFC 9110 section 7.8). Raises `GatewayError`."""
    if not plan.websocket or response.upgrade != (WEBSOCKET,):
        raise UpstreamError(Reason.UPGRADE_FAILED, "101 to something that was not asked for")
    _check_accept(upstream, response)
    draft.status = downstream.switch(response, parts)
    if isinstance(downstream, DownstreamConnection) and isinstance(upstream, UpstreamConnection):
        await _relay(downstream, upstream, draft, parts, permit, meter)
    else:
        await Bridge(downstream, upstream, draft, parts, permit, meter).run()


def check_not_switched(plan: RequestPlan, response: Response) -> None:
    """Check an answer that switches nothing. By extended CONNECT any success is the WebSocket (RFC 8441 section 5),
    which an ordinary 200 of HTTP/1 would seem to be. Raises `UpstreamError`."""
    if plan.websocket and plan.request.is_http2 and 200 <= response.status < 300:
        raise UpstreamError(Reason.UPGRADE_FAILED, f"a {response.status} in place of a 101")


def _check_accept(upstream: UpstreamSide, response: Response) -> None:
    """Check the answer to a handshake that we made for a client of HTTP/2, which has none. Raises `UpstreamError`."""
    if not isinstance(upstream, UpstreamConnection) or not upstream.websocket_key:
        return
    digest = sha1((upstream.websocket_key + _KEY_SUFFIX).encode("ascii"), usedforsecurity=False).digest()
    if response.values("sec-websocket-accept") != [b64encode(digest).decode("ascii")]:
        raise UpstreamError(Reason.UPGRADE_FAILED, "Sec-WebSocket-Accept is not that of our key")


async def _relay(
    downstream: DownstreamConnection,
    upstream: UpstreamConnection,
    draft: ExchangeDraft,
    parts: Parts,
    permit: Permit,
    meter: Meter | None,
) -> None:
    client, timeouts = downstream.stream, permit.terms.timeouts
    early_up, early_down = downstream.inlet.leftover, upstream.reader.leftover
    for inlet in (downstream.inlet, upstream.inlet):
        inlet.detach()
        inlet.go_on()
    for stream, early in ((client, early_up), (upstream.stream, early_down)):
        if early:
            stream.data_received(early)  # the stream holds it again, and the relay begins with it
    args = parts.deadlines, parts.splices, timeouts.idle, timeouts.lifetime, parts.clock.monotonic
    relay = Relay(client, upstream.stream, draft.transfer, *args)
    with _shown_as_open(relay, draft):
        await relay.run(joining_for(meter))
    await upstream.stream.aclose()


@contextmanager
def _shown_as_open(relay: Relay, draft: ExchangeDraft) -> Iterator[None]:
    """While the relay runs its connection counts as a tunnel, unless it is inside one, with which it ends."""
    connection = draft.connection
    if connection.tunnel is not None:
        yield
        return
    connection.generation, connection.client, connection.intent = draft.generation, draft.client, draft.intent
    connection.decision, connection.tunnel = draft.decision, relay
    before, connection.dialled = connection.dialled, draft.dialled
    try:
        yield
    finally:
        connection.tunnel, connection.dialled = None, before


class _Raw:
    """Fulfils `inlets.Reader`: no HTTP is parsed any more."""

    def receive(self, data: bytes) -> list[Event]:
        """Whatever arrives."""
        return [data] if data else []

    def receive_end(self) -> list[Event]:
        """The end of all of it."""
        return [End()]


class Bridge:
    """Joins two sides of which at least one is a stream of HTTP/2. `run` once."""

    def __init__(
        self,
        downstream: DownstreamSide,
        upstream: UpstreamSide,
        draft: ExchangeDraft,
        parts: Parts,
        permit: Permit,
        meter: Meter | None,
    ) -> None:
        self._downstream = downstream
        self._upstream = upstream
        self._draft = draft
        self._parts = parts
        self._permit = permit
        self._from_upstream = self._source()
        self._up = paced(Outlet(upstream.stream, downstream.inlet, False), meter.up if meter else None)
        self._down = paced(Outlet(downstream.stream, self._from_upstream, False), meter.down if meter else None)

    def _source(self) -> Inlet[Response]:
        """What the destination sends from here on."""
        upstream = self._upstream
        if not isinstance(upstream, UpstreamConnection):
            return upstream.inlet
        early = upstream.reader.leftover
        upstream.inlet.detach()
        upstream.inlet.go_on()
        inlet: ConnectionInlet[Response] = ConnectionInlet(upstream.stream, _Raw(), self._downstream.signal.ring)
        inlet.take([early] if early else [])
        inlet.attach()
        return inlet

    async def run(self) -> None:
        """Until the destination has ended. Raises `GatewayError`. Its lifetime is that of the inspected tunnel around
        it: nowhere else is HTTP/2 spoken."""
        transfer = self._draft.transfer
        try:
            _pour(self._downstream.inlet, self._up)
            _pour(self._from_upstream, self._down)
            await self._until_over()
        finally:
            transfer.bytes_up, transfer.bytes_down = self._up.taken, self._down.taken
        transfer.bytes_down = self._down.size  # the rest is waited for like that of any answer
        transfer.ended, transfer.ended_by = Ended.CLOSED, Side.UPSTREAM
        self._upstream.close()

    async def _until_over(self) -> None:
        has_passed_end = False
        source = self._from_upstream
        while source.end is None:
            check_request(self._downstream.inlet)
            if source.fault is not None:
                raise UpstreamError(source.fault.reason, source.fault.detail)
            if source.is_lost:
                raise UpstreamError(Reason.UPSTREAM_RESET)
            if (pace := cut_by(self._up, self._down)) is not None:
                raise budget_spent(self._permit, pace)
            stream = self._upstream.stream
            if self._downstream.inlet.end is not None and not has_passed_end and isinstance(stream, Stream):
                has_passed_end = True
                stream.end()
            await self._wait()

    async def _wait(self) -> None:
        idle, deadlines = self._permit.terms.timeouts.idle, self._parts.deadlines
        rang = await self._downstream.signal.rings_within(idle, deadlines, self._moved)
        if not rang and not is_resting(self._up, self._down):
            raise InternalError(Reason.IDLE_TIMEOUT)

    def _moved(self) -> int:
        return self._up.taken + self._down.taken


def _pour(source: Inlet[Request] | Inlet[Response], outlet: Outlet) -> None:
    held = source.held_content()
    if held:
        outlet.write(held)
    if source.end is not None:
        outlet.finish(source.end)
    else:
        source.pour_into(outlet)
