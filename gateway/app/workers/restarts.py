"""When an ended worker is replaced: after a pause that doubles with every failure, until the crew gives up."""

import errno
from collections import defaultdict
from dataclasses import dataclass

from gateway.app.workers.crew import CrewFailed

SHORTAGE_SECONDS = 5.0

_SHORTAGES = frozenset((errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE))


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """A worker that served for `healthy` seconds did not fail; at one place `failures` in a row are tolerated. The
    first replacement comes after `pause` seconds, which double with every failure in a row."""

    healthy: float = 30.0
    failures: int = 6
    pause: float = 0.1


class Restarts:
    """Counts the failures in a row at each place."""

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._failures: dict[int, int] = defaultdict(int)

    def pause_after(self, index: int, lived: float) -> float:
        """Seconds before the place `index` gets another worker; the last one lived for `lived`. Raises `CrewFailed`
        after too many failures in a row."""
        if lived > self._policy.healthy:
            self._failures[index] = 0
        self._failures[index] += 1
        failures = self._failures[index]
        if failures > self._policy.failures:
            raise CrewFailed(f"worker {index} failed {failures} times in a row, the last one after {lived:.1f} s")
        return self._policy.pause * 2.0 ** (failures - 1)

    def pause_without(self, index: int, error: OSError) -> float:
        """Seconds until the next attempt if none could be started. Raises like `pause_after`, except where the machine
        has no process, memory or descriptor to give: to give up then would end the other workers' connections, and a
        new start would need even more."""
        return SHORTAGE_SECONDS if error.errno in _SHORTAGES else self.pause_after(index, 0.0)
