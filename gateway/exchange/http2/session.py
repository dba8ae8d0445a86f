"""One connection of HTTP/2: what arrives on it is handed to the inlets of its streams, and what they write in one turn
of the loop is sent together.

What is held for a slow receiver is bounded by the windows that the sender was given. The connection's window is opened
at once for what arrives on any stream, until `WITHHELD_AT_MOST` is held, so that one slow receiver holds up no other.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from gateway.net.stream import Stream
from gateway.wire.http.messages import Fields
from gateway.wire.http2.codes import ConnectionFault, ErrorCode
from gateway.wire.http2.connection import (
    Connection,
    DataCame,
    Event,
    HeadCame,
    StreamEnded,
    WentAway,
    WindowGrew,
)
from gateway.wire.http2.floods import Kind
from gateway.wire.http2.settings import HEADER_LIST, STREAMS

WITHHELD_AT_MOST = 2 * 1024 * 1024
"""Bytes that arrived and were not taken; beyond them the whole connection is slowed."""
_QUEUED_AT_MOST = 8 * 1024 * 1024  # answers to a peer that sends and does not read

logging.getLogger("hpack").setLevel(logging.WARNING)  # its debug log holds values of fields


class StreamReceiver(Protocol):
    """Receives what arrives on one stream."""

    def head_came(self, fields: Fields, ended: bool) -> None:
        """A head, or trailers."""
        ...

    def data_came(self, data: bytes, size: int, ended: bool) -> None:
        """Content; `size` of the windows is to be given back."""
        ...

    def cut(self, code: ErrorCode, detail: str) -> None:
        """The stream ended early; a detail says what the peer did wrong."""
        ...


class Writer(Protocol):
    """Has content for a stream that waits for window."""

    def pump(self) -> bool:
        """Write what may be written now. True: there is more, but it is another stream's turn."""
        ...


class Owner(Protocol):
    """What a session reports to."""

    def opened(self, session: "Session", head: HeadCame) -> None:
        """The peer opens a stream."""
        ...

    def head_began(self) -> None:
        """A head has begun, and its end did not come with it."""
        ...

    def changed(self) -> None:
        """The state of the connection changed: it is lost or at fault, its peer leaves or has sent its settings."""
        ...


class _Nobody:
    def opened(self, session: "Session", head: HeadCame) -> None:
        session.refuse(head.stream, ErrorCode.REFUSED_STREAM)

    def head_began(self) -> None:
        return

    def changed(self) -> None:
        return


class Session:
    """Fulfils `Receiver` and `Feeder` for the byte stream, which stays its owner's to close.

    `fault` is the peer's, and ends everything. `is_lost`: nobody is there. `peer_leaves`: it takes, or opens, no
    further streams. `heard_at` is the monotonic instant at which something last arrived. `extended_connect` as in
    `server_settings`. `head` is the most bytes that a head may have.
    """

    def __init__(
        self,
        stream: Stream,
        is_server: bool,
        owner: Owner,
        monotonic: Callable[[], float],
        head: int = HEADER_LIST,
    ) -> None:
        self.head = head
        self.connection = Connection(is_server, head)
        self.sender = self.connection.sender
        self.stream = stream
        self.fault: ConnectionFault | None = None
        self.is_lost = False
        self.peer_leaves = False
        self.extended_connect = False
        self.heard_at = monotonic()
        self.receivers: dict[int, StreamReceiver] = {}
        self.waiting: dict[int, Writer] = {}
        self._came: dict[int, list[DataCame]] = {}
        self._is_server = is_server
        self._owner: Owner = owner
        self._monotonic = monotonic
        self._loop = asyncio.get_running_loop()
        self._will_flush = False
        self._will_pump = False
        self._is_congested = False
        self._withheld = 0
        self._deferred = 0

    def attach(self, extended_connect: bool = False, streams: int = STREAMS) -> None:
        """Take over the byte stream, and send what comes first: see `server_settings`."""
        self.extended_connect = extended_connect
        stream = self.stream
        stream.receiver, stream.feeder = self, self
        self.connection.begin(extended_connect, streams)
        held = stream.peek()
        if held:
            stream.consume(len(held))
        self.received(held)
        if stream.is_lost or stream.has_ended:
            self.lost()

    def detach(self) -> None:
        """Receive nothing more from the stream."""
        self.flush()
        self.stream.receiver = self.stream.feeder = None

    def disown(self) -> None:
        """Report nothing any more: else the session and its owner would keep each other alive."""
        self._owner = _Nobody()

    # Called by the stream.

    def received(self, data: bytes) -> None:
        """See `Receiver`."""
        if self.fault is not None or self.is_lost:
            return
        self.heard_at = self._monotonic()
        before = self.connection.head_since
        try:
            self._take(data)
        except ConnectionFault as fault:
            self.fail(fault)
            return
        if self.connection.head_since not in (None, before):
            self._owner.head_began()
        self.flush()

    def _take(self, data: bytes) -> None:
        try:
            for event in self.connection.receive(data, self.heard_at):
                self._dispatch(event)
        finally:  # what came before a fault is valid, unless it is at fault itself
            try:
                while self._came:
                    self._hand_over(next(iter(self._came)))
            finally:
                self._came.clear()

    def ended(self) -> None:
        """See `Receiver`. HTTP/2 has no use for a connection closed on one side only."""
        self.lost()

    def lost(self) -> None:
        """See `Receiver`."""
        self.is_lost = True
        self._cut_all(ErrorCode.CANCEL)
        self._owner.changed()

    def congested(self) -> None:
        """See `Feeder`."""
        self._is_congested = True

    def relieved(self) -> None:
        """See `Feeder`."""
        self._is_congested = False
        self._pump_all()

    def _dispatch(self, event: Event) -> None:
        if isinstance(event, DataCame):
            self._came.setdefault(event.stream, []).append(event)
        elif isinstance(event, HeadCame):
            self._hand_over(event.stream)
            receiver = self.receivers.get(event.stream)
            if event.is_first:
                self._owner.opened(self, event)
            elif receiver is not None:
                receiver.head_came(event.fields, event.ended)
        elif isinstance(event, WindowGrew):
            self._pump(event.stream)
        elif isinstance(event, StreamEnded):
            self._hand_over(event.stream)
            self._cut(event)
        elif isinstance(event, WentAway):
            self._let_go(event)
        else:
            self._pump_soon()
            self._owner.changed()

    def _hand_over(self, number: int) -> None:
        """Content that came in one read on one stream goes on as one piece, as it does with chunks: what a piece costs
        behind here is bounded by no frame, and a read may hold twenty thousand of a single byte."""
        came = self._came.pop(number, None)
        if came is None:
            return
        size, receiver = sum([each.size for each in came]), self.receivers.get(number)
        if receiver is None:
            self.connection.credit_connection(size)
        else:
            data = came[0].data if len(came) == 1 else b"".join([each.data for each in came])
            receiver.data_came(data, size, came[-1].ended)

    def _cut(self, event: StreamEnded) -> None:
        receiver = self.leave(event.stream)
        if receiver is not None:
            receiver.cut(event.code, event.detail)

    def _let_go(self, event: WentAway) -> None:
        """The peer goes away. What it will not process may be tried again elsewhere (RFC 9113 section 6.8)."""
        self.peer_leaves = True
        if not self._is_server:
            for number in [number for number in self.receivers if number > event.last]:
                receiver = self.leave(number)
                if receiver is not None:
                    receiver.cut(ErrorCode.REFUSED_STREAM, "")
        self._owner.changed()

    def fail(self, fault: ConnectionFault) -> None:
        """End everything for a fault of the peer's, and tell it."""
        self.fault = fault.with_traceback(None)  # the traceback holds this session
        self.sender.go_away(self.connection.last_stream, fault.code)
        self._cut_all(fault.code)
        self._owner.changed()
        self.flush()

    def _cut_all(self, code: ErrorCode) -> None:
        for number in list(self.receivers):
            receiver = self.leave(number)
            if receiver is not None:
                receiver.cut(code, "")

    # Called by receivers.

    def leave(self, number: int) -> StreamReceiver | None:
        """Drop what arrives on this stream from now on."""
        self.waiting.pop(number, None)
        return self.receivers.pop(number, None)

    def refuse(self, number: int, code: ErrorCode) -> None:
        """End a stream for a fault of the peer's. It counts like one that was opened only to be reset. Raises
        `ConnectionFault` if there were too many."""
        self.connection.floods.count(Kind.RESET, self.heard_at)
        self.reset(number, code)

    def reset(self, number: int, code: ErrorCode) -> None:
        """End the stream early."""
        if not self.is_lost and self.fault is None:
            self.connection.reset(number, code)
            self.flush_soon()

    def room(self, number: int) -> int:
        """Bytes of content that may be sent on this stream now."""
        return 0 if self._is_congested or self.is_lost else self.sender.room(number)

    def withhold(self, size: int) -> None:
        """So many bytes arrived and were not taken yet. Other streams may go on, within bounds."""
        self._withheld += size
        if self._withheld <= WITHHELD_AT_MOST:
            self.connection.credit_connection(size)
        else:
            self._deferred += size

    def release(self, number: int, size: int, at_once: bool) -> None:
        """What was withheld was taken, or is of no use any more. `at_once`: it did not have to wait."""
        self._withheld -= size
        if self._deferred and self._withheld <= WITHHELD_AT_MOST:
            self.connection.credit_connection(self._deferred)
            self._deferred = 0
        self.connection.credit(number, size, at_once)
        self.flush_soon()

    # Sending.

    def flush_soon(self) -> None:
        """Flush at the end of this turn of the loop, for all that is written in it."""
        if not self._will_flush:
            self._will_flush = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what waits. A peer that reads none of its answers is cut off."""
        self._will_flush = False
        data = self.sender.take()
        if not data or self.is_lost:
            return
        self.stream.write(data)
        if self.stream.queued() > _QUEUED_AT_MOST:
            self.stream.abort()

    def _pump(self, number: int) -> None:
        """Write for one stream. For all, which is 0, only after the whole read: that may hold thousands of updates."""
        writer = self.waiting.get(number)
        if not number or (writer is not None and writer.pump()):
            self._pump_soon()

    def _pump_all(self) -> None:
        """Write for all streams in turn: one that has more goes to the end of the queue, for the next round."""
        self._will_pump = False
        for number, writer in list(self.waiting.items()):
            if self._is_congested or self.sender.window <= 0:
                return
            if self.waiting.pop(number, None) is not None and writer.pump():
                self._pump_soon()
        self.flush_soon()

    def _pump_soon(self) -> None:
        if not self._will_pump:
            self._will_pump = True
            self._loop.call_soon(self._pump_all)
