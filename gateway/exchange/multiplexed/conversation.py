"""The requests of one HTTP/2 connection: each is an exchange of its own, as many at once as were agreed.

What a client can make us do is bounded three times: by the streams that it may have open, by those that are still being
ended, and by how often it may do what costs it nothing (`wire.http2.floods`).
"""

import asyncio
import logging
from contextlib import suppress

from gateway.exchange.conversation import wait_until_all_taken
from gateway.exchange.exchange import Exchange
from gateway.exchange.http2.session import Session
from gateway.exchange.http2.upstream import StreamReset
from gateway.exchange.inlet import Signal, check_request
from gateway.exchange.multiplexed.downstream import DownstreamStream
from gateway.exchange.parts import Parts
from gateway.exchange.plan import RequestPlan, kept, plan_request
from gateway.exchange.scope import Scope
from gateway.model.decision import Timeouts
from gateway.model.errors import DownstreamError, GatewayError, InternalError
from gateway.model.reasons import Reason
from gateway.model.record import Draft, ExchangeDraft
from gateway.model.recording.noting import note, note_cut
from gateway.model.roles import Alarm
from gateway.net.stream import Stream
from gateway.wire.http.messages import Request
from gateway.wire.http2.codes import ConnectionFault, ErrorCode
from gateway.wire.http2.connection import HeadCame
from gateway.wire.http2.grpc import is_grpc
from gateway.wire.http2.settings import STREAMS

_TASKS_AT_MOST = 2 * STREAMS

_logger = logging.getLogger(__name__)


async def converse_in_streams(
    downstream: Stream,
    draft: Draft,
    scope: Scope,
    parts: Parts,
    timeouts: Timeouts,
    extended_connect: bool,
    streams: int = STREAMS,
) -> None:
    """As `conversation.converse`. `extended_connect`: the client may ask for WebSockets; `streams`: how many requests
    it may have at once."""
    conversation = _Conversation(downstream, draft, scope, parts, timeouts)
    try:
        await conversation.run(extended_connect, streams)
    finally:
        await conversation.end()


class _Conversation:
    """Fulfils `session.Owner`."""

    def __init__(self, stream: Stream, draft: Draft, scope: Scope, parts: Parts, timeouts: Timeouts) -> None:
        self._connection = draft
        self._scope = scope
        self._parts = parts
        self._timeouts = timeouts
        self._signal = Signal()
        self._streams: set[DownstreamStream] = set()
        self._plan: RequestPlan | None = None
        self._head_alarm: Alarm | None = None
        self._session = Session(stream, True, self, parts.clock.monotonic, parts.bounds.head)

    async def run(self, extended_connect: bool, streams: int) -> None:
        """Serve the client until either side ends."""
        session, parts = self._session, self._parts
        session.attach(extended_connect, streams)
        parts.signals.add(self._signal)
        try:
            while not self._is_over():
                await self._wait()
        finally:
            parts.signals.discard(self._signal)
        if session.fault is not None:
            note(_ended_by(session.fault), self._connection)
        elif not session.is_lost:
            session.flush()
            await wait_until_all_taken(session.stream, self._connection, self._signal, parts, self._timeouts.idle)

    def _is_over(self) -> bool:
        session = self._session
        if session.is_lost or session.fault is not None:
            return True
        if self._parts.draining:
            session.sender.go_away(session.connection.last_stream, ErrorCode.NO_ERROR)
            session.flush_soon()
        return (self._parts.draining or session.peer_leaves) and not self._streams

    async def _wait(self) -> None:
        """Until something happened. Sends GOAWAY to a client that was idle for as long as it may be. One that has not
        even begun has `timeouts.head` for that."""
        if self._streams:
            await self._signal.wait()
            return
        session = self._session
        has_begun = session.connection.has_settings
        seconds = self._timeouts.idle if has_begun else self._timeouts.head
        if await self._signal.rings_within(seconds, self._parts.deadlines) or self._streams:
            return
        if has_begun:
            session.sender.go_away(session.connection.last_stream, ErrorCode.NO_ERROR)
            session.peer_leaves = True
        else:
            self._end_slow("no preface or no SETTINGS")

    async def end(self) -> None:
        """Let nothing begin, and cancel what runs: in the next turn, as a task that never began leaves no record."""
        self._session.sender.go_away(self._session.connection.last_stream, ErrorCode.NO_ERROR)
        tasks = [downstream.task for downstream in self._streams]
        for task in tasks:
            task.get_loop().call_soon(task.cancel)
        try:
            if tasks:
                await asyncio.wait(tasks)
        finally:
            self._session.detach()
            self._session.disown()
            if self._head_alarm is not None:
                self._head_alarm.cancel()

    # Called by the session.

    def head_began(self) -> None:
        """See `Owner`. It has `timeouts.head`, as has one of HTTP/1; one that comes whole costs no alarm."""
        if self._head_alarm is not None:
            self._head_alarm.cancel()
        self._head_alarm = self._parts.deadlines.after(self._timeouts.head, self._check_head)

    def _check_head(self) -> None:
        """The alarm is that of the last head that came in pieces: if one is incomplete, it is this one."""
        session = self._session
        if session.connection.head_since is not None and session.fault is None and not session.is_lost:
            self._end_slow("half a head")

    def _end_slow(self, what: str) -> None:
        detail = f"{what} in {self._timeouts.head:g} s"
        self._session.fail(ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, detail, Reason.HEAD_TIMEOUT))

    def changed(self) -> None:
        """See `Owner`."""
        self._signal.ring()

    def opened(self, session: Session, head: HeadCame) -> None:
        """See `Owner`."""
        if len(self._streams) >= _TASKS_AT_MOST:
            session.refuse(head.stream, ErrorCode.REFUSED_STREAM)
            return
        downstream = DownstreamStream(session, head.stream)
        downstream.inlet.head_came(head.fields, head.ended)
        downstream.task = asyncio.get_running_loop().create_task(self._serve(downstream))
        self._streams.add(downstream)

    # One stream.

    async def _serve(self, downstream: DownstreamStream) -> None:
        clock, connection = self._parts.clock, self._connection
        connection.requests += 1
        draft = ExchangeDraft(connection, connection.requests, clock.monotonic(), clock.time(), http_version="2")
        request = None
        try:
            if self._session.fault is not None:  # it arrived with the fault that ends the connection
                raise _ended_by(self._session.fault)
            if not downstream.inlet.heads:
                check_request(downstream.inlet)
            request = downstream.inlet.heads.pop()
            draft.method = request.method
            plan = plan_request(request, self._parts.via, self._plan)
            self._plan = kept(plan)
            await Exchange(plan, draft, downstream, self._scope, self._parts).run()
            await self._wait_until_taken(downstream)
        except GatewayError as error:
            await self._refuse(downstream, self._cause_of(error), request, draft)
        except asyncio.CancelledError:
            self._note_end(draft)
            raise
        except Exception as bug:
            _logger.exception("exchange %s", draft.exchange_id)
            await self._refuse(downstream, InternalError(Reason.INTERNAL_ERROR, type(bug).__name__), request, draft)
        finally:
            self._close(downstream, draft)

    def _note_end(self, draft: ExchangeDraft) -> None:
        """Note why an exchange ends with its connection."""
        if self._session.fault is not None:
            note(_ended_by(self._session.fault), draft)
        elif self._session.is_lost:
            note(DownstreamError(Reason.DOWNSTREAM_RESET), draft)
        else:
            note_cut(draft, self._connection.reason or Reason.DRAINING)

    def _cause_of(self, error: GatewayError) -> GatewayError:
        """A client that an exchange has lost may have broken the protocol elsewhere on the connection."""
        fault = self._session.fault
        return _ended_by(fault) if fault is not None and isinstance(error, DownstreamError) else error

    async def _wait_until_taken(self, downstream: DownstreamStream) -> None:
        """Until the client has taken what it was sent. Raises `DownstreamError` if it takes nothing for `idle`."""
        while downstream.stream.queued():
            check_request(downstream.inlet)
            idle, deadlines = self._timeouts.idle, self._parts.deadlines
            if not await downstream.signal.rings_within(idle, deadlines, downstream.stream.queued):
                raise DownstreamError(Reason.IDLE_TIMEOUT)

    async def _refuse(
        self, downstream: DownstreamStream, error: GatewayError, request: Request | None, draft: ExchangeDraft
    ) -> None:
        """Answer with an error, or reset the stream."""
        note(error, draft)
        stream, inlet = downstream.stream, downstream.inlet
        if inlet.is_lost or self._session.receivers.get(stream.number) is not inlet:  # it was reset
            stream.drop()
            return
        code = _code_for(error, request, has_begun=draft.status is not None)
        if code is not None:
            stream.code = code
            stream.abort()
            return
        draft.status = downstream.refuse(error, request, self._parts.name, draft.exchange_id)
        with suppress(DownstreamError):  # the record keeps the refusal, also where the client does not read it
            await self._wait_until_taken(downstream)

    def _close(self, downstream: DownstreamStream, draft: ExchangeDraft) -> None:
        downstream.leave()
        self._streams.discard(downstream)
        self._scope.sum_up(draft)
        self._parts.recorder.record_exchange(draft)
        self._signal.ring()


def _ended_by(fault: ConnectionFault) -> DownstreamError:
    return DownstreamError(fault.reason, fault.detail)


def _code_for(error: GatewayError, request: Request | None, has_begun: bool) -> ErrorCode | None:
    """The code to reset the stream with; None to answer instead. A destination's own code is passed on where a response
    was under way, to gRPC clients, and where it says that the request may be repeated."""
    if isinstance(error, StreamReset):
        is_safe = error.code is ErrorCode.REFUSED_STREAM
        if has_begun or is_safe or (request is not None and is_grpc(request)):
            return error.code if error.code is not ErrorCode.NO_ERROR else ErrorCode.CANCEL
    if not has_begun:
        return None
    is_no_fault_of_ours = isinstance(error, DownstreamError) or error.reason is Reason.IDLE_TIMEOUT
    return ErrorCode.CANCEL if is_no_fault_of_ours else ErrorCode.INTERNAL_ERROR
