"""The life of one HTTP exchange, written top to bottom.

    read head -> identify -> read intent -> decide -> inspect -> take a lease
              -> resolve + screen + dial, or take a kept connection -> forward -> stream -> record

As with a connection, no byte of the client's reaches the destination before the verdict, and every stage's answer goes
into the draft as it becomes known. A response that has begun is completed or cut off, never ended as if it were whole.
"""

from functools import lru_cache, partial

from gateway.exchange.http1.upstream import UpstreamConnection
from gateway.exchange.inlet import Outlet, check_request
from gateway.exchange.inspected.request import Inspected, inspect_request
from gateway.exchange.inspected.watched import Watched
from gateway.exchange.pacing.debt import budget_spent, wait_for_allowance
from gateway.exchange.pacing.health import heed_retry_after, note_answer, note_failure
from gateway.exchange.pacing.outlet import cut_by, detach, is_resting, paced
from gateway.exchange.parts import Parts
from gateway.exchange.plan import RequestPlan
from gateway.exchange.response import DownstreamSide, ResponsePlan, plan_response
from gateway.exchange.scope import Judged, Scope
from gateway.exchange.upstream import PoolKey, UpstreamSide
from gateway.exchange.websocket.switching import check_not_switched, switch
from gateway.model.authority import Authority
from gateway.model.decision import Permit
from gateway.model.errors import DownstreamError, GatewayError, InternalError, UpstreamError
from gateway.model.limits.limit import CONNECTION
from gateway.model.reasons import Reason
from gateway.model.record import Ended, ExchangeDraft, Side
from gateway.model.roles import Meter
from gateway.net.dialer import send_proxy_header
from gateway.net.stream import LOOK_SECONDS
from gateway.net.tls.contexts import HTTP_2
from gateway.wire.head import parse_traceparent
from gateway.wire.http.messages import Delimiter, Response

_SWITCHING = 101
_ANSWERED = Ended.CLOSED, Side.UPSTREAM
HALF_CLOSED = 10.0
"""Seconds without any byte after which a client that has ended its side counts as gone. Some still listen then, but
most have closed their socket, and TCP shows no difference until something is sent."""


class Exchange:
    """One exchange, from the request's head to the end of the response. `run` once."""

    __slots__ = (
        "_dials",
        "_down",
        "_downstream",
        "_draft",
        "_host",
        "_inlet",
        "_inspected",
        "_meter",
        "_parts",
        "_permit",
        "_plan",
        "_request",
        "_scope",
        "_signal",
        "_up",
        "_upstream",
        "_watched",
    )

    _permit: Permit
    _host: str

    def __init__(
        self, plan: RequestPlan, draft: ExchangeDraft, downstream: DownstreamSide, scope: Scope, parts: Parts
    ) -> None:
        self._plan = plan
        self._request = plan.request
        self._draft = draft
        self._downstream = downstream
        self._inlet = downstream.inlet
        self._signal = downstream.signal
        self._scope = scope
        self._parts = parts
        self._inspected: Inspected | None = None
        self._watched: Watched | None = None
        self._upstream: UpstreamSide | None = None
        self._dials = True
        self._meter: Meter | None = None
        self._up: Outlet | None = None
        self._down: Outlet | None = None

    async def run(self) -> bool:
        """True: another request may follow. Raises `GatewayError`, which the caller answers."""
        plan, draft, parts, scope = self._plan, self._draft, self._parts, self._scope
        draft.path = plan.path
        if parts.draining:
            raise InternalError(Reason.DRAINING)
        now = draft.asked_time = parts.clock.time()
        if parts.traces:
            draft.caller = parse_traceparent(plan.request.values("traceparent"))
        judged = await scope.judge(plan, draft, now)
        permit, key = judged.permit, judged.key
        self._permit = permit
        if plan.loops:
            raise UpstreamError(Reason.PROXY_LOOP, "Via names this gateway")
        inspection = permit.terms.inspection
        if inspection is not None:
            self._inspected = inspect_request(inspection, plan, judged, draft, parts.secrets, scope.is_secure)
        if plan.hops == 0:
            return self._answer_here()
        try:
            if self._inspected is not None:
                await self._show_request(self._inspected, judged)
            self._dials = scope.pool.needs_dial(key)
            counted = scope.counted | CONNECTION if self._dials else scope.counted
            async with scope.limiter.lease(permit, judged.client, counted, self._absence) as lease:
                draft.would_limit = lease.would_limit
                self._meter = scope.meter or lease.meter
                try:
                    keeps = await self._forward(judged)
                except BaseException as failure:
                    self._break_off(failure)
                    raise
                finally:
                    draft.would_limit = draft.would_limit or lease.would_limit  # a budget may be spent by now
                self._count(is_complete=True)
                return keeps
        finally:
            if self._watched is not None:
                self._watched.close()
            if self._meter is not None:
                detach(self._up, self._down)

    def _break_off(self, failure: BaseException) -> None:
        self._count(is_complete=False)
        if self._upstream is not None:
            if self._draft.status is None:
                note_failure(self._parts.breakers, self._permit, self._upstream, failure)
            self._upstream.abort()

    async def _show_request(self, inspected: Inspected, judged: Judged) -> None:
        """Have the inspectors that the rule names judge the request, if it names any."""
        watched = self._watched = inspected.begin_watch(self._parts.watchers, self._signal.ring, self._wait)
        if watched is not None:
            await watched.judge_request(self._plan, judged, self._scope.is_secure, self._inlet)

    def _answer_here(self) -> bool:
        """Answer a request that may go no further (Max-Forwards)."""
        keeps = self._plan.is_persistent and self._inlet.end is not None
        self._downstream.answer_here(self._request, self._plan.passing, keeps)
        self._draft.status = 200
        self._draft.transfer.ended, self._draft.transfer.ended_by = Ended.CLOSED, Side.GATEWAY
        return keeps

    async def _forward(self, judged: Judged) -> bool:
        self._host = _host_field(judged.named, self._scope.usual_port)
        if self._meter is not None:
            deadlines = self._parts.deadlines
            await wait_for_allowance(self._meter, self._permit, self._inlet, self._signal, deadlines, HALF_CLOSED)
        upstream, response = await self._ask(judged)
        status = response.status
        if status == _SWITCHING:
            if self._watched is not None:
                await self._watched.judge_response(plan_response(self._request, response, self._parts.name, None))
            await switch(
                self._downstream, upstream, response, self._plan, self._draft, self._parts, self._permit, self._meter
            )
            return False
        check_not_switched(self._plan, response)
        if self._permit.terms.honour_retry_after:
            heed_retry_after(response, judged.permit, judged.client, self._scope.limiter, self._parts.clock.time())
        is_healthy = note_answer(self._parts.breakers, self._permit, upstream, status)
        last, name = upstream.last_response, self._parts.name
        planned = upstream.last_response = plan_response(self._request, response, name, last)
        if self._watched is not None:
            await self._watched.judge_response(planned)
        keeps = self._begin_delivery(upstream, planned)
        while upstream.inlet.end is None:
            upstream.check()
            await self._wait()
        if self._watched is not None:
            await self._watched.settle()
        transfer = self._draft.transfer
        transfer.ended, transfer.ended_by = _ANSWERED
        self._release(upstream, judged.key if is_healthy and planned.is_persistent else None)
        return keeps

    # The request, until the head of its final response.

    async def _ask(self, judged: Judged) -> tuple[UpstreamSide, Response]:
        """Over a kept connection, if there is one. If the destination was just closing it, a request that may be
        repeated is sent once more over a fresh one (RFC 9112 section 9.3.1). Any other goes only over one that is
        surely open."""
        key = judged.key
        kept = self._scope.pool.take(key, self._plan.is_repeatable)
        if kept is not None:
            try:
                return kept, await self._ask_over(kept)
            except UpstreamError as error:
                if error.reason is not Reason.CONNECTION_TERMINATED or not self._may_repeat(kept):
                    raise
                kept.abort()
        fresh = await self._scope.pool.reach(key, partial(self._dial, key, judged), self._plan.is_repeatable)
        return fresh, await self._ask_over(fresh)

    def _may_repeat(self, upstream: UpstreamSide) -> bool:
        return self._plan.is_repeatable or (upstream.is_unprocessed and self._request.framing.is_empty)

    async def _dial(self, key: PoolKey, judged: Judged) -> UpstreamSide:
        parts, draft = self._parts, self._draft
        if not self._dials:  # new connections are only counted: the lease holds nothing
            async with self._scope.limiter.lease(judged.permit, judged.client, CONNECTION, self._absence) as lease:
                self._dials, draft.would_limit = True, draft.would_limit or lease.would_limit
        if self._scope.dialer is not None:
            reached = await self._scope.dialer.dial(self._permit)
        else:
            reached = await parts.dialer.dial(self._permit)
            send_proxy_header(reached, self._permit, draft.connection.peer)
        if reached.alpn != HTTP_2:  # only what interception dialled speaks it
            return UpstreamConnection(reached, parts.codec.response_reader(parts.bounds), parts.clock.monotonic())
        from gateway.exchange.http2.upstream import open_first_stream  # noqa: PLC0415  # interception has loaded it

        return await open_first_stream(reached, key, self._scope.pool, parts)

    async def _ask_over(self, upstream: UpstreamSide) -> Response:
        draft, inspected = self._draft, self._inspected
        self._upstream = upstream
        draft.dialled, draft.reused = upstream.dialled, upstream.is_reused
        upstream.expect(self._request.method, self._plan.websocket, self._signal.ring)
        self._send(upstream)
        heads = upstream.inlet.heads
        while True:
            while not heads:
                upstream.check()
                await self._wait()
            response = heads.pop(0) if inspected is None else inspected.scrub_head(heads.pop(0))
            if draft.transfer.first_byte_at is None:
                draft.transfer.first_byte_at = self._parts.clock.monotonic()
            if not response.is_interim:
                return response
            if self._request.minor == 1:  # HTTP/1.0 has no interim responses (RFC 9110 section 15.2)
                self._downstream.pass_interim(response, self._parts)

    def _send(self, upstream: UpstreamSide) -> None:
        """The head, and what has arrived of the content."""
        plan, inlet, inspected = self._plan, self._inlet, self._inspected
        fields = None if inspected is None else inspected.fields_for(upstream)
        head = upstream.head(plan, self._host, fields)
        new_outlet = Outlet if inspected is None else inspected.upload
        up = self._up = new_outlet(upstream.stream, inlet, self._request.framing.delimiter is Delimiter.CHUNKED)
        if self._meter is not None:
            paced(up, self._meter.up)
        if plan.websocket:  # what follows waits for the answer
            up.begin(head, b"")
            return
        first = up.opening()
        if inspected is not None:
            inspected.check()
        up.begin(head, first)
        if inlet.end is None:
            inlet.pour_into(up)

    # The response.

    def _begin_delivery(self, upstream: UpstreamSide, planned: ResponsePlan) -> bool:
        """Head and content, which goes on as it arrives. True: the client may send another request."""
        inlet, inspected = upstream.inlet, self._inspected
        stream, framing = self._downstream.stream, planned.framing
        keeps = self._plan.is_persistent and framing is not Delimiter.CLOSE
        keeps = keeps and self._is_sent() and not self._parts.draining
        new_outlet = Outlet if inspected is None else inspected.download
        down = self._down = new_outlet(stream, inlet, framing is Delimiter.CHUNKED)
        if self._meter is not None:
            paced(down, self._meter.down)
        first = down.opening()
        if inspected is not None:
            inspected.check()
        self._draft.status = planned.response.status
        down.begin(self._downstream.head(planned, keeps, self._parts), first)
        if inlet.end is None:
            inlet.pour_into(down)
        return keeps

    def _release(self, upstream: UpstreamSide, key: PoolKey | None) -> None:
        """Keep the connection under `key` if both messages are complete and nothing came after them."""
        if not self._is_sent():
            upstream.abort()
        elif key is not None and upstream.is_clean and isinstance(upstream, UpstreamConnection):
            self._scope.pool.give(key, upstream)
        else:
            upstream.close()

    # Both directions.

    async def _absence(self) -> None:
        """Until the client is gone or sends no more: then nobody need wait for a lease."""
        while not self._inlet.is_absent:
            await self._signal.rings_within(LOOK_SECONDS, self._parts.deadlines)

    async def _wait(self) -> None:
        """Until something happened. Raises if nothing moves for `idle` that may, if the client is gone or probably is,
        or if it sends more than the rule allows or something that an inspector objects to."""
        check_request(self._inlet)
        if self._meter is not None and (pace := cut_by(self._up, self._down)) is not None:
            raise budget_spent(self._permit, pace)
        if self._inspected is not None:
            self._inspected.check()
        idle = self._permit.terms.timeouts.idle
        seconds = min(idle, HALF_CLOSED) if self._may_be_gone() else idle
        rang = await self._signal.rings_within(seconds, self._parts.deadlines, self._moved)
        if not (rang or is_resting(self._up, self._down) or (self._watched is not None and self._watched.is_looking)):
            raise self._too_slow()

    def _is_sent(self) -> bool:
        """Whether the whole request has arrived and was sent on."""
        return self._inlet.end is not None and (self._inspected is None or self._inspected.is_sent)

    def _may_be_gone(self) -> bool:
        """Whether the client sends no more and has nothing left to take."""
        return self._inlet.is_over and not self._downstream.stream.queued()

    def _too_slow(self) -> GatewayError:
        if self._may_be_gone():
            return DownstreamError(Reason.CLIENT_CLOSED, "before its answer was complete")
        if self._down is not None and self._downstream.stream.queued():
            return DownstreamError(Reason.IDLE_TIMEOUT, "the client does not take the answer")
        if self._inlet.end is None and (self._upstream is None or not self._upstream.stream.queued()):
            return DownstreamError(Reason.BODY_TIMEOUT)
        return UpstreamError(Reason.RESPONSE_TIMEOUT)

    def _moved(self) -> int:
        up, down = self._up, self._down
        return (0 if up is None else up.taken) + (0 if down is None else down.taken)

    def _count(self, is_complete: bool) -> None:
        transfer, up, down = self._draft.transfer, self._up, self._down
        if up is not None:
            if self._inspected is not None:
                self._inspected.note_excess(up)
            transfer.bytes_up += up.size if is_complete else up.taken
        if down is not None:
            transfer.bytes_down += down.size if is_complete else down.taken


@lru_cache(maxsize=1024)
def _host_field(named: Authority, usual_port: int) -> str:
    """As it stands in Host (RFC 9110 section 7.2)."""
    return named.uri_host if named.port == usual_port else str(named)
