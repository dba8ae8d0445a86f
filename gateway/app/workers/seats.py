"""The workers' slots in the limits table that they share. Its memory lives as long as the supervisor."""

import errno
import logging

from gateway.app.live.limiting import Seat
from gateway.limits.tables.shared import SLOTS, SharedTable, TableLocked, create_table

_logger = logging.getLogger(__name__)


class Seats:
    """Gives each worker a slot that no other living worker has, also while one replaces another."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._descriptor = create_table()
        self._table = SharedTable(self._descriptor, SLOTS - 1)
        self._free = list(reversed(range(SLOTS - 1)))  # a stack: a slot that was used already has its memory
        self._left: list[int] = []

    def take(self) -> Seat:
        """Raises OSError if there are more workers than slots."""
        self._clear()
        if not self._free:
            raise OSError(errno.EUSERS, f"no more than {SLOTS - 1} workers can share limits")
        return Seat(self._descriptor, self._free.pop(), self._workers)

    def leave(self, seat: Seat) -> None:
        """The worker has ended: give back what it held."""
        self._left.append(seat.slot)
        self._clear()

    def _clear(self) -> None:
        while self._left:
            try:
                self._table.clear(self._left[0])
            except TableLocked:  # by a worker that is stopped (SIGSTOP)
                _logger.warning("the limits table is locked: what an ended worker held is given back later")
                return
            self._free.append(self._left.pop(0))
