"""Coarse time-outs for every stage of every connection: one wheel and one loop timer for the whole process.

`asyncio.timeout` costs a timer handle in the loop's heap and 13 us a use; here entering and leaving are a set
insertion and removal. The price is coarseness: a deadline rings up to a tick or a 64th of its duration late, whichever
is more, and never early. Far deadlines share slots for that reason: an hour's worth are a few hundred, not 36,000.
"""

import asyncio
import logging
from asyncio import CancelledError
from collections.abc import Callable
from types import TracebackType

from gateway.model.errors import GatewayError
from gateway.model.roles import Waiting

DURATIONS = 1024
TICK = 0.1  # seconds; the shortest time-out that makes sense on a network is several of these

_logger = logging.getLogger(__name__)


class _Alarm:
    """One entry, waiting in a slot of the wheel until it rings or is cancelled."""

    __slots__ = ("_ring", "_slot")

    def __init__(self, wheel: "DeadlineWheel", seconds: float, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._slot = wheel.enlist(self, seconds)

    def expire(self) -> None:
        self._ring()

    def cancel(self) -> None:
        self._slot.discard(self)


class _Within:
    """The block of `DeadlineWheel.within` and its entry in the wheel: cancels the task that entered it and turns the
    cancellation into the error."""

    __slots__ = ("_cancelling", "_error", "_expired", "_seconds", "_slot", "_task", "_wheel")

    def __init__(self, wheel: "DeadlineWheel", seconds: float, error: Callable[[], GatewayError]) -> None:
        self._wheel = wheel
        self._seconds = seconds
        self._error = error
        self._expired = False

    def __enter__(self) -> None:
        task = asyncio.current_task(self._wheel.loop)
        if task is None:
            raise RuntimeError("a deadline needs a task to cancel")
        self._task = task
        self._cancelling = task.cancelling()
        self._slot = self._wheel.enlist(self, self._seconds)

    def expire(self) -> None:
        self._expired = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, exception: BaseException | None, _: TracebackType | None
    ) -> None:
        self._slot.discard(self)
        # A cancellation that somebody else asked for as well stays a cancellation.
        if self._expired and self._task.uncancel() <= self._cancelling and kind is CancelledError:
            raise self._error() from exception


class DeadlineWheel:
    """Fulfils `roles.Deadlines`. The loop timer runs only while something is pending."""

    def __init__(self, loop: asyncio.AbstractEventLoop, tick: float = TICK) -> None:
        self.loop = loop
        self._tick = tick
        self._slots: dict[int, set[Waiting]] = {}
        # For each duration the slot that was found last, and the instant from which on another one is needed.
        self._near: dict[float, tuple[float, set[Waiting]]] = {}
        self._grains: dict[float, int] = {}
        self._turned_to = 0
        self._timer: asyncio.TimerHandle | None = None

    def within(self, seconds: float, error: Callable[[], GatewayError]) -> _Within:
        """As `roles.Deadlines.within`."""
        return _Within(self, seconds, error)

    def after(self, seconds: float, ring: Callable[[], None]) -> _Alarm:
        """As `roles.Deadlines.after`."""
        return _Alarm(self, seconds, ring)

    def enlist(self, waiting: Waiting, seconds: float) -> set[Waiting]:
        """As `roles.Deadlines.enlist`."""
        now = self.loop.time()
        near = self._near.get(seconds)
        slot = near[1] if near is not None and now < near[0] else self._find_slot(now, seconds)
        slot.add(waiting)
        return slot

    def _find_slot(self, now: float, seconds: float) -> set[Waiting]:
        grain = self._grains.get(seconds) or self._grain_of(seconds)
        index = -(-(int((now + seconds) / self._tick) + 1) // grain) * grain
        slot = self._slots.get(index)
        if slot is None:
            slot = self._slots[index] = set()
        if self._timer is None:
            self._turned_to = int(now / self._tick)
            self._timer = self.loop.call_later(self._tick, self._turn)
        if seconds >= self._tick and seconds in self._grains:  # which bounds the durations that are remembered
            self._near[seconds] = index * self._tick - seconds, slot
        return slot

    def _grain_of(self, seconds: float) -> int:
        """Ticks between the slots for deadlines this far away. Remembered for the few durations that a policy has."""
        grain = 1 << max(0, int(seconds / self._tick).bit_length() - 7)
        if len(self._grains) < DURATIONS:
            self._grains[seconds] = grain
        return grain

    def _turn(self) -> None:
        target = int(self.loop.time() / self._tick)
        due = range(self._turned_to + 1, target + 1)
        self._turned_to = target
        for index in due:
            slot = self._slots.pop(index, None)
            while slot:
                self._expire(slot.pop())
        self._timer = self.loop.call_later(self._tick, self._turn) if self._slots else None

    def _expire(self, waiting: Waiting) -> None:
        try:
            waiting.expire()
        except Exception:  # one connection's fault must not stop the others' deadlines
            _logger.exception("an alarm failed")
