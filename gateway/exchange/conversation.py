"""The requests of one connection, answered one after the other; pipelined requests wait for their turn."""

import asyncio
import logging

from gateway.exchange.exchange import Exchange
from gateway.exchange.http1.downstream import DownstreamConnection
from gateway.exchange.http1.inlets import RequestInlet
from gateway.exchange.inlet import Signal, check_request
from gateway.exchange.parts import Parts
from gateway.exchange.plan import RequestPlan, kept, plan_request
from gateway.exchange.scope import Scope
from gateway.model.decision import Timeouts
from gateway.model.errors import DownstreamError, GatewayError, InternalError
from gateway.model.reasons import Reason
from gateway.model.record import Draft, ExchangeDraft
from gateway.model.recording.noting import ABOUT_CREDENTIALS, note, note_cut
from gateway.net.stream import HOLD_BOUND, Stream
from gateway.wire.http.messages import Delimiter, Request
from gateway.wire.replies import answer_with, status_for

DROPPED_AT_MOST = 64 * 1024
"""Bytes of content that are read and dropped so that a connection whose request was refused can be kept."""

_logger = logging.getLogger(__name__)


async def converse(downstream: Stream, draft: Draft, scope: Scope, parts: Parts, timeouts: Timeouts) -> None:
    """Answer requests until either side ends. A head has `timeouts.head` from its first byte on, which is waited for
    `timeouts.idle`. Closing `downstream` is left to its owner; it is reset where a response broke off. Raises nothing
    but its own cancellation."""
    conversation = _Conversation(downstream, draft, scope, parts, timeouts)
    signal, inlet = conversation.signal, conversation.inlet
    parts.signals.add(signal)
    try:
        inlet.attach()
        if inlet.has_something() or await conversation.comes_next():
            while await conversation.answer() and await conversation.comes_next():
                pass
            if inlet.end is not None or not inlet.has_something():  # a client that still sends may not read meanwhile
                await wait_until_all_taken(downstream, draft, signal, parts, timeouts.idle)
    finally:
        parts.signals.discard(signal)
        inlet.detach()


async def _wait_until_taken(stream: Stream, draft: Draft, signal: Signal, parts: Parts, idle: float) -> None:
    """Wait until the client has taken most of what it was sent. It is reset if it takes nothing for `idle` seconds."""
    stream.feeder = signal
    try:
        rang = await signal.rings_within(idle, parts.deadlines, stream.queued)
    finally:
        stream.feeder = None
    if not rang:
        stream.abort()
        if draft.reason is None:
            note(DownstreamError(Reason.IDLE_TIMEOUT, "the client does not take the answer"), draft)


async def wait_until_all_taken(stream: Stream, draft: Draft, signal: Signal, parts: Parts, idle: float) -> None:
    """Wait until the client has taken everything: closing the connection would allow it less time."""
    if stream.queued():
        await asyncio.sleep(0)  # the loop writes at the end of a turn; mostly nothing is left then
    while stream.queued() and not stream.transport.is_closing():
        stream.feeder = None
        stream.transport.set_write_buffer_limits(0)
        await _wait_until_taken(stream, draft, signal, parts, idle)


class _Conversation:
    __slots__ = ("_connection", "_downstream", "_parts", "_plan", "_scope", "_stream", "_timeouts", "inlet", "signal")

    def __init__(self, stream: Stream, draft: Draft, scope: Scope, parts: Parts, timeouts: Timeouts) -> None:
        self.signal = Signal()
        self.inlet = RequestInlet(stream, parts.codec.request_reader(parts.bounds), self.signal.ring)
        self._stream = stream
        self._connection = draft
        self._scope = scope
        self._parts = parts
        self._timeouts = timeouts
        self._plan: RequestPlan | None = None
        self._downstream = DownstreamConnection(stream, self.inlet, self.signal)

    async def answer(self) -> bool:
        """One request and what becomes of it. True: another may follow."""
        clock, connection = self._parts.clock, self._connection
        connection.requests += 1
        draft = ExchangeDraft(connection, connection.requests, clock.monotonic(), clock.time())
        request = None
        try:
            request = self.inlet.heads.pop() if self.inlet.heads else await self._read_head()
            draft.method = request.method
            plan = plan_request(request, self._parts.via, self._plan, self._scope.is_secure)
            if plan is not self._plan:
                self._plan = kept(plan)
            return await Exchange(plan, draft, self._downstream, self._scope, self._parts).run()
        except GatewayError as error:
            return await self._refuse(error, request, draft)
        except asyncio.CancelledError:
            note_cut(draft, connection.reason or Reason.DRAINING)
            raise
        except Exception as bug:
            _logger.exception("exchange %s", draft.exchange_id)
            return await self._refuse(InternalError(Reason.INTERNAL_ERROR, type(bug).__name__), request, draft)
        finally:
            self._scope.sum_up(draft)
            self._parts.recorder.record_exchange(draft)

    async def _read_head(self) -> Request:
        """The head of the request whose first bytes have come."""
        inlet = self.inlet
        with self._parts.deadlines.within(self._timeouts.head, lambda: DownstreamError(Reason.HEAD_TIMEOUT)):
            while not inlet.heads:
                check_request(inlet)
                await self.signal.wait()
        return inlet.heads.pop()

    async def comes_next(self) -> bool:
        """Whether the client sends another request in time. It is no error if it does not."""
        stream, inlet, parts = self._stream, self.inlet, self._parts
        while stream.queued() > HOLD_BOUND and not inlet.is_lost:
            await _wait_until_taken(stream, self._connection, self.signal, parts, self._timeouts.idle)
            if stream.transport.is_closing():  # what came of further requests is answered to nobody
                return False
        inlet.proceed()
        if inlet.has_something():  # a read may hold thousands of requests that are answered at once: others have a turn
            await asyncio.sleep(0)
            return True
        while not (inlet.is_over or inlet.is_lost or parts.draining):
            if not await self.signal.rings_within(self._timeouts.idle, parts.deadlines):
                return False
            if inlet.has_something():
                return True
        return False

    async def _refuse(self, error: GatewayError, request: Request | None, draft: ExchangeDraft) -> bool:
        """Answer, or cut off the response that had begun. True: another request may follow."""
        note(error, draft)
        if draft.status is not None:
            self._stream.abort()
            return False
        if error.reason is Reason.CLIENT_CLOSED or self.inlet.is_lost:
            return False
        draft.status = status_for(error)
        keeps = self._may_follow(error, request)
        self._stream.write(
            answer_with(
                error,
                self._parts.name,
                draft.exchange_id,
                keeps,
                request.values("accept") if request is not None else (),
                without_content=request is not None and request.method == "HEAD",
            )
        )
        return keeps and await self._drop_content()

    def _may_follow(self, error: GatewayError, request: Request | None) -> bool:
        """Whether another request may follow: not where the rest of this one could be taken for it, nor after what no
        honest client sends."""
        broken = isinstance(error, DownstreamError) and error.reason not in ABOUT_CREDENTIALS
        if request is None or broken or isinstance(error, InternalError):
            return False
        if self._parts.draining or not request.is_persistent:
            return False
        inlet, framing = self.inlet, request.framing
        if inlet.fault is not None or request.pauses or (inlet.end is None and request.expects_continue):
            return False
        return inlet.end is not None or (framing.delimiter is Delimiter.LENGTH and framing.length <= DROPPED_AT_MOST)

    async def _drop_content(self) -> bool:
        """Whether the rest of a refused request came in time."""
        inlet = self.inlet
        try:
            with self._parts.deadlines.within(self._timeouts.head, lambda: DownstreamError(Reason.BODY_TIMEOUT)):
                while inlet.end is None:
                    check_request(inlet)
                    inlet.drop()
                    await self.signal.wait()
        except DownstreamError:  # the client has its answer, and no other request of its is read
            return False
        return True
