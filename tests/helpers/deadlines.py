"""Time-outs that pass when a test says so."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from gateway.model.errors import GatewayError
from gateway.model.roles import Waiting


class HandAlarm:
    """One pending call."""

    def __init__(self, at: float, ring: Callable[[], None]) -> None:
        self.at = at
        self.ring = ring
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class _HandSlot(set[Waiting]):
    """The slot of one alarm."""

    def __init__(self, waiting: Waiting, alarm: HandAlarm) -> None:
        super().__init__((waiting,))
        self._alarm = alarm

    def discard(self, element: object) -> None:
        super().discard(element)
        self._alarm.cancel()


class HandDeadlines:
    """Fulfils `roles.Deadlines` with a clock that only `advance` moves; `within` never expires."""

    def __init__(self) -> None:
        self.now = 0.0
        self._alarms: list[HandAlarm] = []

    def within(self, seconds: float, error: Callable[[], GatewayError]) -> AbstractContextManager[None]:
        return nullcontext()

    def after(self, seconds: float, ring: Callable[[], None]) -> HandAlarm:
        alarm = HandAlarm(self.now + seconds, ring)
        self._alarms.append(alarm)
        return alarm

    def enlist(self, waiting: Waiting, seconds: float) -> set[Waiting]:
        return _HandSlot(waiting, self.after(seconds, waiting.expire))

    def pending(self) -> int:
        """How many alarms could still ring."""
        self._alarms = [alarm for alarm in self._alarms if not alarm.cancelled]
        return len(self._alarms)

    def advance(self, seconds: float) -> None:
        """Ring what is due on the way, each alarm at its own instant."""
        end = self.now + seconds
        while self.pending() and (first := min(self._alarms, key=lambda alarm: alarm.at)).at <= end:
            self._alarms.remove(first)
            self.now = first.at
            first.ring()
        self.now = end
