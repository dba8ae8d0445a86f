"""A connection to a destination, over which one exchange goes after the other."""

from collections.abc import Callable, Hashable
from typing import Protocol

from gateway.exchange.inlet import Inlet
from gateway.model.errors import UpstreamError
from gateway.model.reasons import Reason
from gateway.model.roles import Upstream
from gateway.net.stream import Stream
from gateway.wire.http.codec import ResponseReader
from gateway.wire.http.messages import MalformedMessage, Response


class Keeper(Protocol):
    """Where it waits between two exchanges."""

    def forget(self, key: Hashable, connection: "UpstreamConnection") -> None:
        """It waits no more."""
        ...


def _nobody_waits() -> None:
    """What comes before a request was sent is found when one is."""


class UpstreamConnection:
    """Whoever holds it closes it, or gives it to a pool. `is_reused`: an exchange has gone over it, or its dial was
    recorded elsewhere."""

    __slots__ = ("_key", "_pool", "dialled", "dialled_at", "idle_since", "inlet", "is_reused", "reader", "stream")

    def __init__(self, upstream: Upstream[Stream], reader: ResponseReader, dialled_at: float) -> None:
        self.stream = upstream.stream
        self.dialled = upstream.dialled
        self.dialled_at = dialled_at
        self.is_reused = False
        self.reader = reader
        self.inlet: Inlet[Response] = Inlet(self.stream, reader, _nobody_waits)
        self.idle_since = dialled_at
        self._pool: Keeper | None = None
        self._key: Hashable = None
        self.inlet.join()

    def expect(self, method: str, upgrade: bool, tell: Callable[[], None]) -> None:
        """A request with this method is sent next. Raises `UpstreamError` if an answer is there already."""
        self.inlet.tell = tell
        self.inlet.begin()
        try:
            self.reader.expect(method, upgrade=upgrade)
        except MalformedMessage as malformed:
            raise UpstreamError(malformed.reason, malformed.detail) from malformed

    @property
    def is_clean(self) -> bool:
        """The last answer is complete, nothing came after it, and another request may be sent."""
        inlet = self.inlet
        return not (inlet.is_over or inlet.is_lost or inlet.fault or self.reader.leftover or self.reader.is_switched)

    def check(self) -> None:
        """Raise `UpstreamError` if no answer can come any more."""
        inlet = self.inlet
        if inlet.fault is not None and not inlet.is_over:
            raise UpstreamError(inlet.fault.reason, inlet.fault.detail)
        if inlet.is_over or inlet.is_lost:
            if not inlet.has_begun:
                raise UpstreamError(Reason.CONNECTION_TERMINATED, "before it answered")
            raise UpstreamError(Reason.RESPONSE_INCOMPLETE, "closed" if inlet.is_over else "reset")

    def close(self) -> None:
        """Where it stands between two exchanges."""
        self.leave_pool()
        self.inlet.part()
        if self.stream.is_lost:
            return
        if self.stream.queued():
            self.stream.abort()
        self.stream.transport.close()

    def abort(self) -> None:
        """In the midst of an exchange: an orderly end would make a cut-off upload look complete."""
        self.inlet.part()
        self.stream.abort()

    # Between two exchanges.

    def enter_pool(self, pool: "Keeper", key: Hashable, now: float) -> None:
        """Whatever comes from the other side now closes it."""
        self.inlet.tell = self.close
        self.is_reused = True
        self.idle_since = now
        self._pool, self._key = pool, key

    def leave_pool(self) -> None:
        """It is used again, or closed."""
        if self._pool is not None:
            self._pool.forget(self._key, self)
            self._pool = None
