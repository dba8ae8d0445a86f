"""A connection to a destination that speaks HTTP/1; it carries one exchange after the other."""

import os
import re
from base64 import b64encode
from collections.abc import Callable
from math import inf

from gateway.exchange.http1.inlets import ConnectionInlet
from gateway.exchange.plan import Plan
from gateway.exchange.response import Telling
from gateway.model.errors import UpstreamError
from gateway.model.reasons import Reason
from gateway.model.roles import Upstream
from gateway.net.stream import Stream
from gateway.net.tls.alerts import refused_with
from gateway.wire.http.codec import ResponseReader
from gateway.wire.http.messages import MalformedMessage, Response

_KEY_SIZE = 16  # RFC 6455 section 4.1
_KEEPS = re.compile(r"timeout *= *([0-9]{1,6})", re.IGNORECASE)
_UNDER_WAY = 1.0  # seconds

SURE_SECONDS = 1.0
"""Idle for less, a connection is hardly being closed: of the servers that do not say for how long they keep one, the
most impatient (gunicorn) closes it after two seconds."""


def _nobody_waits() -> None:
    """What comes before a request was sent is found when one is sent."""


class ResponseInlet(ConnectionInlet[Response]):
    """Of the destination's side. An answer that ends with the connection is incomplete if TLS ended without
    close_notify (RFC 9112 section 9.8)."""

    __slots__ = ()

    def ended(self) -> None:
        """See `Receiver`."""
        if self._stream.is_cut:
            self.lost()
        else:
            super().ended()

    def lost(self) -> None:
        """See `Receiver`. Who answers without reading all of the request, and closes, resets what is still sent to him:
        his answer may be here unread."""
        last = self._stream.last_words()
        if last:
            self.received(last)
        super().lost()


class UpstreamConnection:
    """Fulfils `UpstreamSide` for HTTP/1. Whoever holds it closes it, or gives it to a pool. `is_reused`: an exchange
    has gone over it, or its dial was recorded elsewhere. `is_verified` as in `Upstream.verified`. `kept_until` is the
    monotonic instant until which the destination has said that it keeps it between two exchanges."""

    __slots__ = (
        "_leave",
        "dialled",
        "dialled_at",
        "idle_since",
        "inlet",
        "is_reused",
        "is_verified",
        "kept_until",
        "reader",
        "stream",
        "telling",
        "websocket_key",
    )

    def __init__(self, upstream: Upstream[Stream], reader: ResponseReader, dialled_at: float) -> None:
        self.stream = upstream.stream
        self.dialled = upstream.dialled
        self.dialled_at = dialled_at
        self.is_reused = False
        self.is_verified = upstream.verified
        self.reader = reader
        self.inlet = ResponseInlet(self.stream, reader, _nobody_waits)
        self.idle_since = dialled_at
        self.kept_until = inf
        self.telling: Telling | None = None
        self.websocket_key = ""
        self._leave: Callable[[], None] | None = None
        self.inlet.join()

    def expect(self, method: str, upgrade: bool, tell: Callable[[], None]) -> None:
        """A request with this method is sent next. Raises `UpstreamError` if an answer is there already."""
        self.inlet.tell = tell
        try:
            self.reader.expect(method, upgrade=upgrade)
        except MalformedMessage as malformed:
            raise UpstreamError(malformed.reason, malformed.detail) from malformed

    def head(self, plan: Plan, host: str, via: str, fields: list[tuple[str, str]] | None) -> bytes:
        """See `UpstreamSide`. For a client of HTTP/2 a WebSocket's handshake is made here (RFC 8441 section 5)."""
        if plan.websocket and plan.request.is_http2:
            self.websocket_key = b64encode(os.urandom(_KEY_SIZE)).decode("ascii")
            fields = [*(plan.passing if fields is None else fields), ("Sec-WebSocket-Key", self.websocket_key)]
        return plan.head(host, via) if fields is None else plan.changed_head(host, via, fields)

    def retire(self) -> None:
        """See `UpstreamSide`. It is never shared."""

    @property
    def is_unprocessed(self) -> bool:
        """See `UpstreamSide`."""
        return False

    @property
    def is_clean(self) -> bool:
        """The last answer is complete, nothing came after it, and another request may be sent."""
        inlet, reader = self.inlet, self.reader
        if inlet.is_over or inlet.is_lost or inlet.fault or self.stream.is_congested:
            return False
        return not (reader.leftover or reader.is_switched)

    def check(self) -> None:
        """Raise `UpstreamError` if no answer can come any more."""
        inlet = self.inlet
        fault = inlet.fault
        if fault is not None and fault.reason is not Reason.RESPONSE_INCOMPLETE:
            raise UpstreamError(fault.reason, fault.detail)
        if inlet.is_over or inlet.is_lost:
            if not inlet.has_begun:
                if self.stream.alert is not None:
                    raise refused_with(self.stream.alert)
                raise UpstreamError(Reason.CONNECTION_TERMINATED, "before it answered")
            raise UpstreamError(Reason.RESPONSE_INCOMPLETE, "closed" if inlet.is_over else "reset")

    def close(self) -> None:
        """Between two exchanges."""
        self.leave_pool()
        self.inlet.tell = _nobody_waits
        self.inlet.part()
        if self.stream.is_lost:
            return
        if self.stream.queued():
            self.stream.abort()
        self.stream.transport.close()

    def abort(self) -> None:
        """During an exchange: an orderly end would make a cut-off upload look complete."""
        self.inlet.part()
        self.stream.abort()

    # Between two exchanges.

    def enter_pool(self, leave: Callable[[], None], now: float) -> None:
        """Whatever the other side sends now closes it. `leave` is called once: it is used again, or closed."""
        self.inlet.tell = self.close
        self.inlet.begin()  # its last client may have paused it, and then its end would go unnoticed
        self.is_reused = True
        self.idle_since = now
        self.kept_until = now + self._patience()
        self._leave = leave

    def is_surely_open(self, now: float) -> bool:
        """Whether a request that may not be repeated can go over it (RFC 9112 section 9.3.1): it is not idle for long,
        and nothing came that would show its end when it is too late."""
        return now - self.idle_since < SURE_SECONDS and not self.stream.has_news()

    def _patience(self) -> float:
        """Seconds, less those for which a request may be under way: it would meet the end of the connection."""
        values = [] if self.telling is None else self.telling.fields.held.get("keep-alive", [])
        seconds = _KEEPS.search(",".join(values))
        return inf if seconds is None else int(seconds[1]) - _UNDER_WAY

    def leave_pool(self) -> None:
        """It is used again, or closed."""
        if self._leave is not None:
            leave, self._leave = self._leave, None
            leave()
