"""What limits did, in plain integers by limit name: the policy's vocabulary, bounded like other series."""

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum

from gateway.model.limits.limit import Limit

NAMES = 2_000
OTHER_LIMITS = "other"  # no limit has this name: theirs have a kind behind a dot, or "quota" before


class Result(StrEnum):
    """What came of being counted by a limit."""

    PASSED = "passed"
    WAITED = "waited"  # in a queue, and then passed
    REFUSED = "refused"
    WOULD_REFUSE = "would_refuse"  # in report mode


class Tally:
    """`waiting` are now in a queue."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.waiting = 0
        self._names: set[str] = set()

    def count(self, limits: Iterable[Limit], result: Result) -> None:
        """One more of each."""
        for limit in limits:
            self.counts[self._label(limit.name), result] += 1

    def _label(self, name: str) -> str:
        if name not in self._names:
            if len(self._names) >= NAMES:
                return OTHER_LIMITS
            self._names.add(name)
        return name
