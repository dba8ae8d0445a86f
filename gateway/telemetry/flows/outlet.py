"""Passes a worker's flows to the ring, wherever that is."""

from collections.abc import Callable

from gateway.telemetry.counters import FLOWS, NO_ROOM, SENT, Counters

Pass = Callable[[bytes, int], bool]
"""Takes whole lines, and how many they are; False: there was no room for them."""


class FlowOutlet:
    """Fulfils `sinks.Sink`. What finds no room is dropped and counted: connections never wait for observers."""

    def __init__(self, pass_on: Pass, counters: Counters) -> None:
        self._pass_on = pass_on
        self._counters = counters
        counters.deliver(FLOWS, SENT, 0)
        counters.deliver(FLOWS, NO_ROOM, 0)

    def put(self, lines: bytes | bytearray, count: int) -> None:
        """See `Sink`."""
        self._counters.deliver(FLOWS, SENT if self._pass_on(bytes(lines), count) else NO_ROOM, count)

    def reopen(self) -> None:
        """Nothing to open."""

    def close(self, timeout: float) -> None:
        """Nothing is queued here."""
