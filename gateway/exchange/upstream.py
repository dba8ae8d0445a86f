"""A connection to a destination, over which one exchange goes after the other, and where it waits in between.

It is used again only for the same client, under the same rule of the same generation, for the same host and port: it
then leads where a dial would lead, with the same permit. One that a PROXY header opened is its client connection's own.
"""

from collections.abc import Callable, Hashable

from gateway.exchange.inlet import Inlet
from gateway.exchange.response import Telling
from gateway.model.addresses import Address
from gateway.model.client import Client
from gateway.model.decision import Permit
from gateway.model.errors import UpstreamError
from gateway.model.reasons import Reason
from gateway.model.roles import Alarm, Deadlines, Upstream
from gateway.net.stream import Stream
from gateway.wire.http.codec import ResponseReader
from gateway.wire.http.messages import MalformedMessage, Response

IDLE_SECONDS = 15.0
LONGEST_USE = 120.0  # seconds from the dial
IDLE_AT_MOST = 1000
IDLE_FOR_ONE_KEY = 32


def _nobody_waits() -> None:
    """What comes before a request was sent is found when one is."""


class ResponseInlet(Inlet[Response]):
    """Of the destination's side. An answer that lasts until the connection ends is not whole where TLS ended without a
    goodbye (RFC 9112 section 9.8)."""

    __slots__ = ()

    def ended(self) -> None:
        """See `Receiver`."""
        if self._stream.is_cut:
            self.lost()
        else:
            super().ended()


class UpstreamConnection:
    """Whoever holds it closes it, or gives it to a pool. `is_reused`: an exchange has gone over it, or its dial was
    recorded elsewhere. `is_verified` as in `Upstream.verified`."""

    __slots__ = (
        "_key",
        "_pool",
        "dialled",
        "dialled_at",
        "idle_since",
        "inlet",
        "is_reused",
        "is_verified",
        "reader",
        "stream",
        "telling",
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
        self.telling: Telling | None = None
        self._pool: Pool | None = None
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

    def enter_pool(self, pool: "Pool", key: Hashable, now: float) -> None:
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


def pool_key(client: Client, permit: Permit, peer: tuple[Address, int]) -> Hashable:
    """All that has to be the same; `peer` only where the destination was told of it. Labels are no key: whom they
    describe is told by the other facts."""
    who = client.address, client.source, client.user, client.namespace, client.service_account, client.pod
    told = peer if permit.terms.proxy_protocol is not None else None
    return (
        who,
        client.spiffe,
        client.certificate,
        client.known,
        permit.rule.name,
        permit.generation,
        permit.authority,
        told,
    )


class Pool:
    """Idle connections, the one used last first. Whoever made it closes it.

    Each is dropped when it ends, says something unasked, or waits too long; and in time also while it is used, so that
    a changed answer of the name servers takes effect.
    """

    def __init__(self, deadlines: Deadlines, monotonic: Callable[[], float]) -> None:
        self._deadlines = deadlines
        self._monotonic = monotonic
        self._idle: dict[Hashable, list[UpstreamConnection]] = {}
        self._count = 0
        self._alarm: Alarm | None = None

    def __len__(self) -> int:
        return self._count

    def __contains__(self, key: Hashable) -> bool:
        return key in self._idle

    def take(self, key: Hashable) -> UpstreamConnection | None:
        """One that still stands; the caller gives it back or closes it."""
        waiting = self._idle.get(key)
        if waiting is None:
            return None
        connection = waiting[-1]
        connection.leave_pool()
        return connection

    def give(self, key: Hashable, connection: UpstreamConnection) -> None:
        """Keep one between two exchanges, or close it where there is no room or it has been used for long."""
        waiting = self._idle.setdefault(key, [])
        too_old = self._monotonic() - connection.dialled_at > LONGEST_USE
        if too_old or self._count >= IDLE_AT_MOST or len(waiting) >= IDLE_FOR_ONE_KEY:
            if not waiting:
                del self._idle[key]
            connection.close()
            return
        waiting.append(connection)
        self._count += 1
        connection.enter_pool(self, key, self._monotonic())
        if self._alarm is None:
            self._alarm = self._deadlines.after(IDLE_SECONDS, self._sweep)

    def close(self) -> None:
        """Close all that wait."""
        for connection in self._all():
            connection.close()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def forget(self, key: Hashable, connection: UpstreamConnection) -> None:
        """It leaves, in whatever way."""
        waiting = self._idle[key]
        waiting.remove(connection)
        self._count -= 1
        if not waiting:
            del self._idle[key]

    def _all(self) -> list[UpstreamConnection]:
        return [connection for waiting in self._idle.values() for connection in waiting]

    def _sweep(self) -> None:
        """Close what has waited for long: one waits at most twice that time."""
        self._alarm = None
        long_ago = self._monotonic() - IDLE_SECONDS
        for connection in self._all():
            if connection.idle_since <= long_ago:
                connection.close()
        if self._count:
            self._alarm = self._deadlines.after(IDLE_SECONDS, self._sweep)
