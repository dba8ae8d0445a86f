"""An open tunnel: two streams joined. What one side sends goes to the other, in order, ends and resets included.

A direction has two forms. Either it writes what its source's transport reads straight into its sink's transport, or,
while it is bulky, a `Splice` moves the bytes and the source's transport does not read. Back-pressure is
`pause_reading`; a chunk costs no task, no await and no allocation of ours.
"""

import asyncio
import sys
import time
from collections.abc import Callable

from gateway.model.reasons import Reason
from gateway.model.record import Ended, Side, Transfer
from gateway.model.roles import Alarm, Deadlines
from gateway.net.splice import Splice, Splices
from gateway.net.stream import Stream

LOOKS = 4  # checks within one idle time-out, so that it is at most a quarter late and never early
LONGEST_LOOK = 60.0  # seconds
NEVER = sys.maxsize  # bytes in one read: under TLS nothing is bulky, the kernel cannot move it
RETRY_AFTER = 32  # times `Splices.bulk` in bytes, until splicing is tried again where it was not possible


class Direction:
    """From `source` to `sink`: receives from the one, feeds the other.

    `_gathered` counts the bytes of large reads, which decide when to splice.
    `_in_kernel`: the source's transport does not read because a splice does, or will from the next turn of the loop.
    """

    __slots__ = (
        "_alarm", "_gathered", "_in_kernel", "_large", "_relay", "_splice", "_transfer", "_write", "is_up", "sink",
        "source"
    )  # fmt: skip

    def __init__(self, relay: "Relay", source: Stream, sink: Stream, is_up: bool) -> None:
        self.source = source
        self.sink = sink
        self.is_up = is_up
        self._relay = relay
        self._transfer = relay.transfer
        self._write = sink.transport.write
        self._large = relay.splices.large if source.is_clear and sink.is_clear else NEVER
        self._gathered = 0
        self._in_kernel = False
        self._splice: Splice | None = None
        self._alarm: Alarm | None = None
        source.receiver = self
        sink.feeder = self

    def begin(self) -> None:
        """Pass on what the source holds already."""
        held, receiver = self.source.peek(), self.source.receiver
        if held and receiver is not None:  # None: beginning the other direction may have ended both
            self.source.consume(len(held))
            receiver.received(held)
        if self.sink.is_congested:  # reported before this was its feeder
            self.congested()
        if self.source.has_ended:
            self.ended()

    def detach(self) -> None:
        self.source.receiver = None
        self.sink.feeder = None
        if self._in_kernel:
            self._leave_kernel()

    def has_rested(self) -> bool:
        """Whether a bound on bytes has kept it from reading since this was last asked."""
        return False

    def count(self, size: int) -> None:
        """`size` bytes more were written to the sink; if negative, queued ones were dropped, earlier ones included."""
        transfer = self._transfer
        if self.is_up:
            transfer.bytes_up = max(0, transfer.bytes_up + size)
        else:
            transfer.bytes_down = max(0, transfer.bytes_down + size)

    # Called by the source.

    def received(self, data: bytes) -> None:
        """The hot path, which repeats `count` to save a call for every chunk."""
        size, transfer = len(data), self._transfer
        if self.is_up:
            transfer.bytes_up += size
        else:
            if transfer.first_byte_at is None:  # else a response's head was it
                transfer.first_byte_at = self._relay.monotonic()
            transfer.bytes_down += size
        self._write(data)
        if size >= self._large:
            self._gather(size)

    def ended(self) -> None:
        """The second end is not sent here: closing the streams sends it, which saves a system call."""
        relay = self._relay
        relay.ended_first = relay.ended_first or (Side.DOWNSTREAM if self.is_up else Side.UPSTREAM)
        queued = self.sink.queued()
        if queued or not relay.directions_over:
            self.sink.end()
        if queued:
            self.sink.transport.set_write_buffer_limits(0)  # `relieved` comes when all is written
        else:
            relay.direction_over()

    def lost(self) -> None:
        self._relay.side_broke(Side.DOWNSTREAM if self.is_up else Side.UPSTREAM)

    # Called by the sink.

    def congested(self) -> None:
        self.source.transport.pause_reading()

    def relieved(self) -> None:
        if self.source.has_ended:
            self._relay.direction_over()
        elif not self._in_kernel and not self._enter_kernel():
            self.source.read_on()

    # From one form to the other.

    def _gather(self, size: int) -> None:
        self._gathered += size
        if not self._in_kernel:
            self._enter_kernel()

    def _enter_kernel(self) -> bool:
        """Splice from the next turn on, if the direction is bulky and all that was read is written. True: it will."""
        if self._gathered < self._relay.splices.bulk or self.sink.queued():
            return False
        self._in_kernel = True
        self.source.transport.pause_reading()
        self._relay.loop.call_soon(self._start_splice)  # within this turn the loop may still deliver what it has read
        return True

    def _start_splice(self) -> None:
        if not self._in_kernel or self.source.has_ended:
            return
        splices = self._relay.splices
        if not self.sink.queued():
            self._splice = splices.start(self.source.fileno(), self.sink.fileno(), self)
        self._gathered = 0 if self._splice is not None else -RETRY_AFTER * splices.bulk
        self._look()

    def _look(self) -> None:
        """Return to user space if nothing moved since the last check, so that quiet tunnels hold no pipe."""
        if self._splice is None or not self._splice.is_moving():
            self._leave_kernel()
            self.source.read_on()
        else:
            self._alarm = self._relay.deadlines.after(self._relay.splices.quiet, self._look)

    def _leave_kernel(self) -> None:
        self._in_kernel = False
        if self._splice is not None:
            self._splice.close()
            self._splice = None
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    # Called by the splice; `count` as well.

    def carried_all(self) -> None:
        self._leave_kernel()
        self.source.eof_received()

    source_failed = lost

    def sink_failed(self) -> None:
        self._relay.side_broke(Side.UPSTREAM if self.is_up else Side.DOWNSTREAM)


Joining = Callable[["Relay", Stream, Stream], tuple[Direction, Direction]]
"""Makes the two directions of a relay between downstream and upstream."""


def join(relay: "Relay", downstream: Stream, upstream: Stream) -> tuple[Direction, Direction]:
    """The directions of a relay whose bytes nothing bounds or watches."""
    return Direction(relay, downstream, upstream, is_up=True), Direction(relay, upstream, downstream, is_up=False)


class Relay:
    """Joins two connected streams until both directions are over, one side breaks or a time-out comes.

    `idle` and `lifetime` are seconds, `lifetime` None is unlimited; a tunnel idles while neither socket takes a byte
    although it may have some.
    `run` leaves both streams reset, unless the tunnel ended in order or `run` was cancelled: then their owners have to
    close them, which tells one of the peers the end of the other. `transfer` is kept up to date; after a cancellation
    its `ended` is the caller's to set.
    """

    __slots__ = (
        "_delivered", "_directions", "_finished", "_idle", "_lifetime", "_lifetime_alarm", "_look_every",
        "_next_look", "_silent_looks", "_streams", "deadlines", "directions_over", "ended_first", "loop", "monotonic",
        "splices", "transfer"
    )  # fmt: skip
    asks_rules = False

    def __init__(
        self,
        downstream: Stream,
        upstream: Stream,
        transfer: Transfer,
        deadlines: Deadlines,
        splices: Splices,
        idle: float,
        lifetime: float | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.transfer = transfer
        self.deadlines = deadlines
        self.splices = splices
        self.monotonic = monotonic
        self.loop = asyncio.get_running_loop()
        self._streams = (downstream, upstream)
        self._idle = idle
        self._look_every = idle / LOOKS if idle < LOOKS * LONGEST_LOOK else LONGEST_LOOK
        self._lifetime = lifetime
        self._finished: asyncio.Future[None] = self.loop.create_future()
        self._directions: tuple[Direction, ...] = ()
        self.directions_over = 0
        self.ended_first: Side | None = None
        self._lifetime_alarm: Alarm | None = None
        self._delivered = 0
        self._silent_looks = 0

    async def run(self, joining: Joining = join) -> None:
        """Once. Raises nothing but its own cancellation."""
        try:
            self._begin(joining)
            await self._finished
        except asyncio.CancelledError:  # whoever cancels it resets both sides
            self._forget_queued()
            raise
        finally:
            self._detach()

    def _begin(self, joining: Joining) -> None:
        downstream, upstream = self._streams
        if downstream.is_lost or upstream.is_lost:
            self.side_broke(Side.DOWNSTREAM if downstream.is_lost else Side.UPSTREAM)
            return
        self._directions = joining(self, downstream, upstream)
        self._next_look = self.deadlines.enlist(self, self._look_every)
        if self._lifetime is not None:
            self._lifetime_alarm = self.deadlines.after(self._lifetime, self._outlived)
        for direction in self._directions:
            direction.begin()

    def _detach(self) -> None:
        """The streams' events go to the streams again; idempotent."""
        if not self._directions:
            return
        for direction in self._directions:
            direction.detach()
        self._directions = ()
        self._next_look.discard(self)
        if self._lifetime_alarm is not None:
            self._lifetime_alarm.cancel()
            self._lifetime_alarm = None  # it holds this relay: each tunnel would be a reference cycle

    # How it ends.

    def direction_over(self) -> None:
        """All bytes of this direction were written, its end included."""
        self.directions_over += 1
        if self.directions_over == len(self._directions) and not self._finished.done():  # done: `run` was cancelled
            self._finish(Ended.CLOSED, self.ended_first, None)

    def side_broke(self, side: Side) -> None:
        """The connection of this side is gone without an orderly end, so the other side's is reset as well."""
        reason = Reason.DOWNSTREAM_RESET if side is Side.DOWNSTREAM else Reason.UPSTREAM_RESET
        self._abort(Ended.RESET, side, reason)

    def cut(self, reason: Reason) -> None:
        """See `record.Tunnel`."""
        self._abort(Ended.RESET, Side.GATEWAY, reason)

    def _outlived(self) -> None:
        self._abort(Ended.TIMEOUT, Side.GATEWAY, Reason.LIFETIME_REACHED)

    def _abort(self, ended: Ended, by: Side, reason: Reason) -> None:
        if self._finished.done():
            return
        self._forget_queued()
        self._finish(ended, by, reason)
        for stream in self._streams:
            stream.abort()

    def _forget_queued(self) -> None:
        for direction in self._directions:
            direction.count(-direction.sink.queued())

    def _finish(self, ended: Ended, by: Side | None, reason: Reason | None) -> None:
        self.transfer.ended, self.transfer.ended_by, self.transfer.reason = ended, by, reason
        self._detach()
        self._finished.set_result(None)

    # Idle: no clock is read for a chunk; counters are compared.

    def expire(self) -> None:
        """It is time to look whether bytes have moved."""
        delivered = self.transfer.bytes_up + self.transfer.bytes_down - sum(stream.queued() for stream in self._streams)
        stands, self._delivered = delivered == self._delivered, delivered
        rested = sum(each.has_rested() for each in self._directions)  # each is asked
        self._silent_looks = self._silent_looks + 1 if stands and not rested else 0
        if self._silent_looks * self._look_every >= self._idle:
            self._abort(Ended.TIMEOUT, Side.GATEWAY, Reason.IDLE_TIMEOUT)
        elif stands and self._streams[0].broke_unnoticed():
            self.side_broke(Side.DOWNSTREAM)
        else:
            if self._silent_looks == 1:
                self._streams[1].keep_alive()
            self._next_look = self.deadlines.enlist(self, self._look_every)
