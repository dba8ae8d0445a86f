"""One side of a connection: peeked at and answered at first, then handed to a receiver, such as a relay.

What arrives is held until it is consumed. Reading pauses while `bound` bytes or more are held and nobody waits for
more, so that a peer can make us hold no more than what was asked for plus one read of the loop (256 kB on uvloop).
"""

import asyncio
import os
import select
import struct
from collections.abc import Callable
from contextlib import suppress
from socket import IPPROTO_TCP, SO_KEEPALIVE, SO_LINGER, SOL_SOCKET, TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL
from typing import Protocol, cast

from gateway.model.addresses import Address, parse_address

HOLD_BOUND = 64 * 1024
LINGER_SECONDS = 2.0
LOOK_SECONDS = 1.0
"""Between looks at whether a peer is gone of which nothing is read."""

KEEP_ALIVE = (
    (SOL_SOCKET, SO_KEEPALIVE, 1),
    (IPPROTO_TCP, TCP_KEEPIDLE, 60),  # below the idle time-outs of the usual load balancers and NATs
    (IPPROTO_TCP, TCP_KEEPINTVL, 15),
    (IPPROTO_TCP, TCP_KEEPCNT, 4),
)
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_LAST_READS = 4


class Receiver(Protocol):
    """Takes what arrives on a stream that was handed over."""

    def received(self, data: bytes) -> None:
        """The next bytes."""
        ...

    def ended(self) -> None:
        """No byte follows; the stream can still be written to."""
        ...

    def lost(self) -> None:
        """The connection is gone."""
        ...


class Feeder(Protocol):
    """Writes to a stream's transport, with back-pressure."""

    def congested(self) -> None:
        """More is queued than the peer takes: pause."""
        ...

    def relieved(self) -> None:
        """The peer has taken (nearly) all that was queued."""
        ...


class Stream(asyncio.Protocol):
    """Fulfils `roles.ByteStream` on an event loop's transport; TCP_NODELAY is set by the loop.

    With `receiver` None the stream itself holds what arrives. `has_ended`: the peer's orderly end arrived. `is_clear`:
    the socket carries just what is read and written here, so that the kernel may move it; not so under TLS.
    `is_congested`: more is queued than the peer takes; its feeder is told when that begins and when it is over.
    `is_cut`: TLS ended without `close_notify`, which anybody on the path can bring about. `alert` is the TLS alert with
    which the peer ended the connection after the handshake.
    """

    __slots__ = (
        "_bound",
        "_connected",
        "_discards",
        "_held",
        "_lingers",
        "_waiter",
        "_wrote",
        "alert",
        "feeder",
        "has_ended",
        "is_clear",
        "is_congested",
        "is_cut",
        "is_lost",
        "receiver",
        "transport",
        "was_reset",
    )

    transport: asyncio.Transport

    def __init__(self, bound: int = HOLD_BOUND, connected: Callable[["Stream"], None] | None = None) -> None:
        self.receiver: Receiver | None = None
        self.feeder: Feeder | None = None
        self.alert: str | None = None
        self.has_ended = False
        self.is_clear = True
        self.is_congested = False
        self.is_cut = False
        self.is_lost = False
        self.was_reset = False
        self._bound = bound
        self._connected = connected
        self._held = b""
        self._waiter: asyncio.Future[bool] | None = None
        self._wrote = False
        self._discards = False
        self._lingers = False

    # Called by whoever serves the connection.

    def peek(self) -> bytes:
        """All that is held and not yet consumed; empty if nothing."""
        return self._held

    def consume(self, size: int) -> None:
        """Drop the first `size` held bytes."""
        self._held = self._held[size:]
        if len(self._held) < self._bound:
            self.read_on()

    async def more(self) -> bool:
        """Wait until more is held than now; False at the end of the stream. One waiter at a time."""
        if self.has_ended or self.is_lost:
            return False
        self.read_on()
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiter = waiter
        try:
            return await waiter
        finally:
            if self._waiter is waiter:  # a cancelled waiter gets here a turn later, when another may wait already
                self._waiter = None

    async def absence(self) -> None:
        """Wait until the peer ends its side; what it sends meanwhile is held until it is consumed."""
        while not (self.has_ended or self.is_lost or self.ended_unnoticed()):
            if len(self._held) < self._bound:
                await self.more()
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._next_event()

    def write(self, data: bytes) -> None:
        """Queue bytes for the peer; dropped if the connection is gone."""
        if not self.is_lost:
            self._wrote = True
            self.transport.write(data)

    def close(self) -> bool:
        """Close in order; idempotent. False, and nothing is closed, while the peer may still be reading what was
        written: to close with input unread would reset the connection and lose that (RFC 9112 section 9.6)."""
        if self.is_lost or self.transport.is_closing():
            return True
        if self.queued() or (self._wrote and not self.has_ended):
            return False
        self.transport.close()
        return True

    async def aclose(self) -> None:
        """Close in order, after `LINGER_SECONDS` at the latest; idempotent."""
        if self.close():
            return
        try:
            await self._linger()
        finally:
            if self.queued():
                self.abort()
            self.transport.close()

    def abort(self) -> None:
        """Reset: drop what is queued and send RST. Idempotent, and without effect after an orderly close."""
        if self.is_lost or self.transport.is_closing():
            return
        self.transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()

    def mark_written(self) -> None:
        """Something was written to the socket past this stream: `aclose` waits until the peer could read it."""
        self._wrote = True

    def keep_alive(self) -> None:
        """Let the kernel probe a silent peer. Accepted connections inherit this from their listener's socket."""
        if self.is_lost:
            return
        sock = self.transport.get_extra_info("socket")
        for level, option, value in KEEP_ALIVE:
            sock.setsockopt(level, option, value)

    # Called by relays as well.

    def read_on(self) -> None:
        """Let the transport read again."""
        if not self.has_ended:  # uvloop would read, and report, the end again
            self.transport.resume_reading()

    def end(self) -> None:
        """Send the end after what is queued; the peer can still send."""
        try:
            self.transport.write_eof()
        except OSError:  # the peer has reset: uvloop reports it by `connection_lost`, asyncio's own loop raises
            return

    def queued(self) -> int:
        """Bytes written to the transport that the socket has not taken."""
        return 0 if self.is_lost else self.transport.get_write_buffer_size()

    def fileno(self) -> int:
        """The socket's descriptor, which is the transport's; -1 if the connection is gone."""
        return -1 if self.is_lost else self.transport.get_extra_info("socket").fileno()

    def is_readable(self) -> bool:
        """Whether the socket has something that the loop has not reported yet: bytes, the peer's end, a reset."""
        if self.is_lost:
            return True
        poll = select.poll()
        poll.register(self.fileno(), select.POLLIN | select.POLLRDHUP)
        return bool(poll.poll(0))

    def broke_unnoticed(self) -> bool:
        """Whether the connection broke while nothing is read of it, for which the loop has no eye."""
        return self._happened_unnoticed(0)  # an error is told all the same, and so is the orderly end of both sides

    def ended_unnoticed(self) -> bool:
        """The same, or whether the peer has ended its side."""
        return self._happened_unnoticed(select.POLLRDHUP)

    def _happened_unnoticed(self, asked: int) -> bool:
        if self.is_lost or self.transport.is_reading():
            return False
        poll = select.poll()
        poll.register(self.fileno(), asked)
        return any(told & (select.POLLERR | asked) for _, told in poll.poll(0))

    def own_address(self) -> Address | None:
        """The address of our end, without zone; None if the connection is gone."""
        name = self.transport.get_extra_info("sockname")
        return None if name is None else parse_address(cast("str", name[0]).partition("%")[0])

    def received_before_reset(self) -> bytes:
        """For a receiver that is being told of the loss: see the function. Under TLS it has been given all already."""
        return received_before_reset(self.transport) if self.was_reset and self.is_clear else b""

    # What the transport tells.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # of a stream it is one
        self.transport = transport
        if self._connected is not None:
            self._connected(self)

    def data_received(self, data: bytes) -> None:
        if self.receiver is not None:
            self.receiver.received(data)
        elif not self._discards:
            self._hold(data)

    def eof_received(self) -> bool:
        self.has_ended = True
        if self._waiter is not None:
            self._wake(more=False)
        if self.receiver is not None:
            self.receiver.ended()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self.was_reset = exc is not None
        if self._waiter is not None:
            self._wake(more=False)
        if self.receiver is not None:
            self.receiver.lost()

    def pause_writing(self) -> None:
        self.is_congested = True
        if self.feeder is not None:
            self.feeder.congested()

    def resume_writing(self) -> None:
        self.is_congested = False
        if self._discards:
            self._wake(more=False)
        if self.feeder is not None:
            self.feeder.relieved()

    def _hold(self, data: bytes) -> None:
        self._held = self._held + data if self._held else data
        asked_for = self._waiter is not None and not self._waiter.done()
        if not asked_for and len(self._held) >= self._bound:
            self.transport.pause_reading()
        self._wake(more=True)

    def _wake(self, more: bool) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(more)

    async def _next_event(self) -> bool:
        """True: bytes came. False: the end came or, while lingering, the queue was written or time ran out."""
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiter = waiter
        try:
            return await waiter
        finally:
            if self._waiter is waiter:
                self._waiter = None

    async def _linger(self) -> None:
        """Send the end, and drop what arrives until the peer has taken everything and ended as well."""
        self._discards = True
        self._held = b""
        self.end()
        self.transport.set_write_buffer_limits(0)
        self.read_on()
        self._lingers = True
        alarm = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._stop_lingering)
        try:
            while self._lingers and not self.is_lost and (self.queued() or not self.has_ended):
                await self._next_event()
        finally:
            alarm.cancel()

    def _stop_lingering(self) -> None:
        self._lingers = False
        self._wake(more=False)


def received_before_reset(transport: asyncio.Transport) -> bytes:
    """What the peer sent before it reset the connection, at most some 256 kB: the loop reads no more once a write has
    met the reset. To be called within `connection_lost`, while the descriptor is still open."""
    chunks: list[bytes] = []
    try:
        descriptor = transport.get_extra_info("socket").fileno()
        while len(chunks) < _LAST_READS and (chunk := os.read(descriptor, HOLD_BOUND)):
            chunks.append(chunk)
    except OSError:  # that is all, or the reset itself
        pass
    return b"".join(chunks)
