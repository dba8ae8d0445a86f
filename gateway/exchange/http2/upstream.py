"""A connection to a destination that speaks HTTP/2: one stream for each exchange, many at once."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from gateway.exchange.http2.channel import Channel, StreamInlet
from gateway.exchange.http2.session import Session
from gateway.exchange.inlet import HeadFields
from gateway.exchange.parts import Parts
from gateway.exchange.plan import RequestPlan
from gateway.exchange.response import ResponsePlan
from gateway.exchange.upstream import LONGEST_USE, Pool, PoolKey, UpstreamSide
from gateway.model.errors import UpstreamError
from gateway.model.reasons import Reason
from gateway.model.roles import Deadlines, Upstream
from gateway.net.stream import Stream
from gateway.net.tls.alerts import refused_with
from gateway.wire.http.messages import Response
from gateway.wire.http2.codes import ErrorCode
from gateway.wire.http2.connection import HeadCame
from gateway.wire.http2.messages import ResponseMessage
from gateway.wire.http2.settings import HEADER_LIST, PeerSettings

_LONG_SILENCE = 10.0  # seconds
_SETTLING_SECONDS = 2.0


class StreamReset(UpstreamError):
    """The destination has reset the stream with this code."""

    def __init__(self, reason: Reason, code: ErrorCode) -> None:
        super().__init__(reason, f"stream reset with {code.name}")
        self.code = code


class SharedConnection:
    """Fulfils `upstream.Shared`, and `session.Owner`. Its maker closes it, or the pool that it was given to. `head` is
    as in `Session`."""

    def __init__(self, upstream: Upstream[Stream], monotonic: Callable[[], float], head: int = HEADER_LIST) -> None:
        self.upstream = upstream
        self.idle_since: float | None = monotonic()
        self.settled = asyncio.get_running_loop().create_future()
        self._monotonic = monotonic
        self._dialled_at = monotonic()
        self._is_closed = False
        self._streams = 0
        self.session = Session(upstream.stream, False, self, monotonic, head)
        self.session.attach()

    async def settle(self, deadlines: Deadlines) -> PeerSettings:
        """The destination's settings, or the usual ones if it sends none. Until then nobody knows how many streams it
        takes, and whether WebSockets may be asked for (RFC 8441 section 3)."""
        with (
            suppress(UpstreamError),  # the requests will show what is wrong with the connection
            deadlines.within(_SETTLING_SECONDS, lambda: UpstreamError(Reason.RESPONSE_TIMEOUT)),
        ):
            await asyncio.shield(self.settled)
        return self.session.sender.peer

    @property
    def is_gone(self) -> bool:
        """Nothing can be sent on it any more."""
        return self._is_closed or self.session.is_lost or self.session.fault is not None

    @property
    def has_room(self) -> bool:
        """See `Shared`."""
        session = self.session
        if self.is_gone or session.peer_leaves or self._monotonic() - self._dialled_at > LONGEST_USE:
            return False
        return self._streams < session.sender.peer.streams and session.sender.has_room

    def new_stream(self) -> "UpstreamStream":
        """See `Shared`."""
        self._streams += 1
        self.idle_since = None
        return UpstreamStream(self)

    def stream_closed(self, waited_in_vain: bool) -> None:
        """One of its exchanges is over. `waited_in_vain`: it got no byte of an answer."""
        self._streams -= 1
        now = self._monotonic()
        if waited_in_vain and now - self.session.heard_at > _LONG_SILENCE:
            self.session.peer_leaves = True  # later exchanges need not wait for it
        if not self._streams:
            self.idle_since = now
            if not self.has_room:  # nor will it: each request to a destination that takes no streams would leave one
                self.close()

    def close(self) -> None:
        """See `Shared`."""
        if self._is_closed:
            return
        self._is_closed = True
        session, stream = self.session, self.upstream.stream
        takes_nothing = stream.queued()  # an orderly close would wait for it, possibly for ever
        session.sender.go_away(0, ErrorCode.NO_ERROR)
        session.detach()
        if not session.is_lost:
            session.lost()
        session.disown()
        if takes_nothing:
            stream.abort()
        if not stream.is_lost:
            stream.transport.close()

    # Called by the session.

    def opened(self, session: Session, head: HeadCame) -> None:
        """See `Owner`. Server push is not allowed."""

    def head_began(self) -> None:
        """See `Owner`. Each exchange bounds how long it waits for an answer."""

    def changed(self) -> None:
        """See `Owner`."""
        session = self.session
        if not self.settled.done() and (session.connection.has_settings or self.is_gone):
            self.settled.set_result(None)
        if session.fault is not None and not self._is_closed:
            self.close()


class UpstreamStream:
    """Fulfils `upstream.UpstreamSide` on a stream of its own."""

    def __init__(self, connection: SharedConnection) -> None:
        self.dialled = connection.upstream.dialled
        self.is_verified = connection.upstream.verified
        self.is_reused = True
        self.is_clean = False
        self.last_response: ResponsePlan | None = None
        self._presents = connection.upstream.presents
        self._connection: SharedConnection | None = connection
        self._session = connection.session

    def expect(self, method: str, upgrade: bool, tell: Callable[[], None]) -> None:
        """See `UpstreamSide`."""
        message = ResponseMessage(method, upgrade, self._session.head)
        self.inlet: StreamInlet[Response] = StreamInlet(self._session, 0, message, Reason.MALFORMED_RESPONSE, tell)
        self.stream = Channel(self._session, 0, tell)
        self.stream.opens(self._open)
        self._check_connection()
        if upgrade and not self._session.sender.peer.extended_connect:
            raise UpstreamError(Reason.UPGRADE_FAILED, "the destination has not said that it takes WebSockets")

    def _check_connection(self) -> None:
        """Raise `UpstreamError` if the connection is gone before anything was asked, or takes no streams any more."""
        if self._session.is_lost or self._session.fault is not None or self._session.peer_leaves:
            self._check_alert()
            raise UpstreamError(Reason.CONNECTION_TERMINATED, "before it was asked")

    def _check_alert(self) -> None:
        """Raise `UpstreamError` if the destination has ended TLS with an alert."""
        if self._session.stream.alert is not None:
            raise refused_with(self._session.stream.alert, self._presents)

    def _open(self, number: int) -> None:
        self.inlet.joined(number)
        self._session.receivers[number] = self.inlet

    def head(self, plan: RequestPlan, host: str, fields: list[tuple[str, str]] | None) -> HeadFields:
        """See `UpstreamSide`."""
        return plan.http2_head(host, fields)

    def check(self) -> None:
        """See `UpstreamSide`."""
        inlet = self.inlet
        if inlet.fault is not None:
            raise UpstreamError(inlet.fault.reason, inlet.fault.detail)
        fault = self._session.fault
        if fault is not None:
            raise UpstreamError(Reason.MALFORMED_RESPONSE, fault.detail)
        if not inlet.is_lost:
            return
        if self.is_unprocessed and not inlet.has_begun:
            raise StreamReset(Reason.CONNECTION_TERMINATED, inlet.code)
        if self._session.is_lost:  # with the whole connection; nothing was said of this stream
            raise self._gone()
        raise StreamReset(Reason.RESPONSE_INCOMPLETE if inlet.has_begun else Reason.UPSTREAM_RESET, inlet.code)

    def _gone(self) -> UpstreamError:
        if self.inlet.has_begun:
            return UpstreamError(Reason.RESPONSE_INCOMPLETE, "the connection ended")
        self._check_alert()
        return UpstreamError(Reason.CONNECTION_TERMINATED, "before it answered")

    @property
    def is_unprocessed(self) -> bool:
        """See `UpstreamSide`."""
        return self.inlet.is_lost and self.inlet.code is ErrorCode.REFUSED_STREAM

    def retire(self) -> None:
        """See `UpstreamSide`."""
        self._session.peer_leaves = True

    def close(self) -> None:
        """See `UpstreamSide`."""
        if not self.stream.has_ended:  # the answer came before the whole request was sent
            self.stream.abort()
        self._leave(False)

    def abort(self) -> None:
        """See `UpstreamSide`."""
        if self.inlet.end is None or not self.stream.has_ended:
            self.stream.abort()
        self._leave(not self.inlet.has_begun)

    def _leave(self, waited_in_vain: bool) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        self.inlet.detach()
        connection.stream_closed(waited_in_vain)


async def open_first_stream(reached: Upstream[Stream], key: PoolKey, pool: Pool, parts: Parts) -> UpstreamSide:
    """A stream for the exchange that has dialled; later ones find the connection in the pool."""
    connection = SharedConnection(reached, parts.clock.monotonic, parts.bounds.head)
    try:
        await connection.settle(parts.deadlines)
    except BaseException:
        connection.close()
        raise
    pool.share(key, connection)
    stream = connection.new_stream()
    stream.is_reused = False
    return stream
