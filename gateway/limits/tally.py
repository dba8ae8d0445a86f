"""What limits did, in plain integers by limit name: the policy's vocabulary, bounded like other series."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from enum import StrEnum

from gateway.model.limits.limit import Limit
from gateway.policy.buckets import BucketId, Draw

NAMES = 2_000
BUCKETS = 10_000
OTHER_LIMITS = "other"  # no limit has this name: theirs end in a dot and a kind


class Result(StrEnum):
    """What came of being counted by a limit."""

    PASSED = "passed"
    WAITED = "waited"  # in a queue, and then passed
    REFUSED = "refused"
    WOULD_REFUSE = "would_refuse"  # in report mode

    __hash__ = str.__hash__  # an enumeration's own takes longer than the counting


class Tally:
    """`limits` are those that were met, by name, as they are now; `refused` counts refusals of the latest buckets."""

    def __init__(self) -> None:
        self.limits: dict[str, Limit] = {}
        self.refused: dict[BucketId, int] = {}
        self._counts: dict[Result, dict[str, int]] = {result: defaultdict(int) for result in Result}
        self._passed = self._counts[Result.PASSED]

    @property
    def counts(self) -> Counter[tuple[str, str]]:
        """By limit name and result, without zeros; may be asked from another thread."""
        found = Counter[tuple[str, str]]()
        for result, by_name in self._counts.items():
            found.update({(name, result): count for name, count in by_name.copy().items()})
        return found

    def count(self, limits: Iterable[Limit], result: Result) -> None:
        """One more of each."""
        counts = self._counts[result]
        for limit in limits:
            counts[self._label(limit)] += 1

    def count_passed(self, draws: Sequence[Draw]) -> None:
        """One more of the limit of each draw. Nearly every lease comes here, so it is written for speed."""
        passed, known = self._passed, self.limits
        for draw in draws:
            limit = draw.limit
            passed[limit.name if known.get(limit.name) is limit else self._label(limit)] += 1

    def refuse(self, draw: Draw) -> None:
        """The bucket of this draw refused."""
        self.count((draw.limit,), Result.REFUSED)
        bucket = draw.bucket
        if len(self.refused) >= BUCKETS and bucket not in self.refused:
            del self.refused[next(iter(self.refused))]
        self.refused[bucket] = self.refused.get(bucket, 0) + 1

    def _label(self, limit: Limit) -> str:
        if self.limits.get(limit.name) is not limit:
            if len(self.limits) >= NAMES and limit.name not in self.limits:
                return OTHER_LIMITS
            self.limits[limit.name] = limit
        return limit.name
