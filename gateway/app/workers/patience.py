"""Patience with workers that end: how long to wait before a replacement, and when to give up."""

from collections import defaultdict
from dataclasses import dataclass

from gateway.app.workers.crew import CrewFailed


@dataclass(frozen=True, slots=True)
class Patience:
    """One that served for `healthy` seconds counts as healthy; of others at one place `failures` in a row are
    tolerated. Before a replacement there is a `pause` of seconds, doubled with every failure in a row."""

    healthy: float = 30.0
    failures: int = 6
    pause: float = 0.1


class Failures:
    """In a row, at each place."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._in_a_row: dict[int, int] = defaultdict(int)

    def pause_after(self, index: int, lived: float) -> float:
        """Seconds before the place `index` gets another worker; the last one lived for `lived`. Raises `CrewFailed`
        when it is enough."""
        if lived > self._patience.healthy:
            self._in_a_row[index] = 0
        self._in_a_row[index] += 1
        failures = self._in_a_row[index]
        if failures > self._patience.failures:
            raise CrewFailed(f"worker {index} failed {failures} times in a row, the last one after {lived:.1f} s")
        return self._patience.pause * 2.0 ** (failures - 1)
