"""A connection to a destination that speaks HTTP/1; it carries one exchange after another."""

import os
from base64 import b64encode
from collections.abc import Callable
from math import inf

from gateway.exchange.http1.inlets import ConnectionInlet
from gateway.exchange.plan import RequestPlan
from gateway.exchange.response import ResponsePlan
from gateway.model.errors import UpstreamError
from gateway.model.reasons import Reason
from gateway.model.roles import Upstream
from gateway.net.stream import Stream
from gateway.net.tls.alerts import refused_with
from gateway.wire.http.codec import ResponseReader
from gateway.wire.http.messages import MalformedMessage, Response

_KEY_SIZE = 16  # RFC 6455 section 4.1

SURE_SECONDS = 1.0
"""A connection that was idle for less is hardly being closed, where the server does not say for how long it keeps one:
the most impatient of those servers (gunicorn) waits for two seconds."""


def _nobody_waits() -> None:
    """What arrives before a request was sent is noticed when one is sent."""


class ResponseInlet(ConnectionInlet[Response]):
    """What the destination sends. An answer that ends with the connection is incomplete if TLS ended without
    close_notify (RFC 9112 section 9.8)."""

    __slots__ = ()

    def ended(self) -> None:
        """See `Receiver`."""
        if self._stream.is_cut:
            self.lost()
        else:
            super().ended()

    def lost(self) -> None:
        """See `Receiver`. A server that answers and closes without reading all of the request resets the connection:
        its answer may be here unread."""
        unread = self._stream.received_before_reset()
        if unread:
            self.received(unread)
        super().lost()


class UpstreamConnection:
    """Fulfils `UpstreamSide` for HTTP/1. Whoever holds it closes it, or gives it to a pool. `is_reused`: an exchange
    has gone over it, or its dial was recorded elsewhere. `is_verified` as in `Upstream.verified`. `kept_until` is the
    monotonic instant until which the destination, by its own words, keeps it between two exchanges."""

    __slots__ = (
        "_leave",
        "_presents",
        "dialled",
        "dialled_at",
        "idle_since",
        "inlet",
        "is_reused",
        "is_verified",
        "kept_until",
        "last_response",
        "reader",
        "stream",
        "websocket_key",
    )

    def __init__(self, upstream: Upstream[Stream], reader: ResponseReader, dialled_at: float) -> None:
        self.stream = upstream.stream
        self.dialled = upstream.dialled
        self.dialled_at = dialled_at
        self.is_reused = False
        self.is_verified = upstream.verified
        self._presents = upstream.presents
        self.reader = reader
        self.inlet = ResponseInlet(self.stream, reader, _nobody_waits)
        self.idle_since = dialled_at
        self.kept_until = inf
        self.last_response: ResponsePlan | None = None
        self.websocket_key = ""
        self._leave: Callable[[UpstreamConnection], None] | None = None
        self.inlet.attach()

    def expect(self, method: str, upgrade: bool, tell: Callable[[], None]) -> None:
        """See `UpstreamSide`."""
        self.inlet.tell = tell
        try:
            self.reader.expect(method, upgrade=upgrade)
        except MalformedMessage as malformed:
            raise UpstreamError(malformed.reason, malformed.detail) from malformed

    def head(self, plan: RequestPlan, host: str, fields: list[tuple[str, str]] | None) -> bytes:
        """See `UpstreamSide`. For a client of HTTP/2 a WebSocket's handshake is made here (RFC 8441 section 5)."""
        if plan.websocket and plan.request.is_http2:
            self.websocket_key = b64encode(os.urandom(_KEY_SIZE)).decode("ascii")
            fields = [*(plan.passing if fields is None else fields), ("Sec-WebSocket-Key", self.websocket_key)]
        return plan.head(host) if fields is None else plan.changed_head(host, fields)

    def retire(self) -> None:
        """See `UpstreamSide`. It is never shared."""

    @property
    def is_unprocessed(self) -> bool:
        """See `UpstreamSide`."""
        return False

    @property
    def is_clean(self) -> bool:
        """See `UpstreamSide`."""
        inlet = self.inlet
        if inlet.is_over or inlet.is_lost or inlet.fault or self.stream.is_congested:
            return False
        return self.reader.is_between()

    def check(self) -> None:
        """See `UpstreamSide`."""
        inlet = self.inlet
        fault = inlet.fault
        if fault is not None and fault.reason is not Reason.RESPONSE_INCOMPLETE:
            raise UpstreamError(fault.reason, fault.detail)
        if inlet.is_over or inlet.is_lost:
            if not inlet.has_begun:
                if self.stream.alert is not None:
                    raise refused_with(self.stream.alert, self._presents)
                raise UpstreamError(Reason.CONNECTION_TERMINATED, "before it answered")
            raise UpstreamError(Reason.RESPONSE_INCOMPLETE, "closed" if inlet.is_over else "reset")

    def close(self) -> None:
        """See `UpstreamSide`."""
        self.leave_pool()
        self.inlet.tell = _nobody_waits
        self.inlet.detach()
        if self.stream.is_lost:
            return
        if self.stream.queued():
            self.stream.abort()
        self.stream.transport.close()

    def abort(self) -> None:
        """See `UpstreamSide`."""
        self.inlet.detach()
        self.stream.abort()

    # Between two exchanges.

    def enter_pool(self, leave: Callable[["UpstreamConnection"], None], now: float) -> None:
        """Whatever the destination sends from now on closes it. `leave` is called once it is used again, or closed."""
        self.inlet.tell = self.close
        self.inlet.begin()  # while it is paused, as its last client may have left it, its end would go unnoticed
        self.is_reused = True
        self.idle_since = now
        last = self.last_response
        self.kept_until = inf if last is None else now + last.keeps_for
        if last is not None and last.is_large:
            self.last_response = None
        self._leave = leave

    def is_surely_open(self, now: float) -> bool:
        """Whether a request that may not be repeated can go over it (RFC 9112 section 9.3.1): as far as can be known
        the destination still keeps it, and nothing has arrived unread, such as its end."""
        is_told = self.kept_until < inf
        sure_until = self.kept_until if is_told else self.idle_since + SURE_SECONDS
        return now < sure_until and not self.stream.is_readable()

    def leave_pool(self) -> None:
        """It is used again, or closed."""
        if self._leave is not None:
            leave, self._leave = self._leave, None
            leave(self)
