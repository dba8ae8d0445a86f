"""Buckets of one process: dictionaries."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from itertools import islice
from threading import Lock

from gateway.limits.tables.table import KEYS, LISTED, Place, TooManyKeys
from gateway.model.limits.limit import Limit
from gateway.policy.buckets import FRESH, Draw, Now, State, is_fresh

LOOKED_AT = 2  # old buckets at every new one, so that unused ones are dropped without walking over all
LOOKED_AT_WHEN_FULL = 16

Buckets = dict[tuple[str, ...], State]


class MemoryTable:
    """Fulfils `Table`. A limit keeps at most `keys` buckets; those that are fresh again are forgotten."""

    def __init__(self, keys: int = KEYS) -> None:
        self._keys = keys
        self._lock = Lock()
        self._buckets: dict[str, Buckets] = {}

    def locked(self) -> AbstractContextManager[object]:
        """One process, one thread: there is nothing to lock (and `nullcontext` takes longer)."""
        return self._lock

    def read(self, draw: Draw, now: Now) -> State:
        """See `Table`."""
        buckets = self._buckets.get(draw.limit.name)
        if buckets is None:
            buckets = self._buckets[draw.limit.name] = {}
        state = buckets.get(draw.key)
        if state is not None:
            return state
        if buckets:
            _forget(draw.limit, buckets, LOOKED_AT if len(buckets) < self._keys else LOOKED_AT_WHEN_FULL, now)
            if len(buckets) >= self._keys:
                raise TooManyKeys(draw.limit)
        return FRESH

    def write(self, draw: Draw, state: State, now: Now) -> None:
        """See `Table`."""
        buckets = self._buckets[draw.limit.name]
        if state[0] <= 0:  # nothing is held any more; what was drawn of a rate or a budget is younger
            buckets.pop(draw.key, None)
        else:
            buckets[draw.key] = state

    def listed(self) -> Iterable[tuple[Place, State]]:
        """See `Table`."""
        each = LISTED // max(1, len(self._buckets))
        for name, buckets in self._buckets.items():
            for key in islice(reversed(buckets), max(1, each)):
                yield (name, key), buckets[key]


def _forget(limit: Limit, buckets: Buckets, looks: int, now: Now) -> None:
    """Forget some of the oldest buckets that are fresh; the others go to the end, to be looked at last."""
    for key in list(islice(buckets, looks)):
        state = buckets.pop(key)
        if not is_fresh(limit, state, now):
            buckets[key] = state
