"""Buckets of one process: dictionaries."""

from collections import OrderedDict
from collections.abc import Iterable
from contextlib import AbstractContextManager
from itertools import islice
from threading import Lock

from gateway.limits.tables.table import KEYS, LISTED, TooManyKeys, has_room
from gateway.model.limits.limit import Limit
from gateway.policy.buckets import FRESH, BucketId, Draw, Now, State, is_fresh

LOOKED_AT = 2  # old buckets for every new one, so that unused ones are dropped without walking over all
LOOKED_AT_WHEN_FULL = 64

Key = tuple[str, ...]


class MemoryTable:
    """Fulfils `Table`. A limit keeps at most `keys` buckets; those that are fresh again are forgotten."""

    def __init__(self, keys: int = KEYS) -> None:
        self._keys = keys
        self._lock = Lock()
        self._buckets: dict[str, _Buckets] = {}

    def locked(self) -> AbstractContextManager[object]:
        """One process, one thread: there is nothing to lock (and `nullcontext` takes longer)."""
        return self._lock

    def read(self, draw: Draw, now: Now) -> State:
        """See `Table`."""
        buckets = self._buckets.get(draw.limit.name)
        if buckets is None:
            buckets = self._buckets[draw.limit.name] = _Buckets()
        state = buckets.states.get(draw.key)
        if state is not None:
            return state
        buckets.make_room(draw, self._keys, now)
        return FRESH

    def write(self, draw: Draw, state: State, now: Now) -> None:
        """See `Table`."""
        buckets = self._buckets[draw.limit.name]
        if state[0] <= 0:  # nothing is held any more; the instants of rates and budgets are above 0
            buckets.forget(draw.key)
        else:
            buckets.keep(draw, state)

    def forget(self, draw: Draw) -> None:
        """Keep nothing of it."""
        if draw.limit.name in self._buckets:
            self._buckets[draw.limit.name].forget(draw.key)

    def listed(self, also: Iterable[BucketId] = ()) -> Iterable[tuple[BucketId, State]]:
        """See `Table`."""
        for bucket in also:
            name, key = bucket
            yield bucket, self._buckets[name].states.get(key, FRESH) if name in self._buckets else FRESH
        each = LISTED // max(1, len(self._buckets))
        for name, buckets in self._buckets.items():
            for key in islice(reversed(buckets.states), max(1, each)):
                yield (name, key), buckets.states[key]


class _Buckets:
    """The buckets of one limit: their states, the last ones looked at at the end; which client was the first to ask for
    each; and how many each client has. (A plain dictionary is slow to find its first item once many of the first were
    taken out.)"""

    __slots__ = ("_clients", "_counts", "states")

    def __init__(self) -> None:
        self.states: OrderedDict[Key, State] = OrderedDict()
        self._clients: dict[Key, str] = {}
        self._counts: dict[str, int] = {}

    def keep(self, draw: Draw, state: State) -> None:
        key, client = draw.key, draw.client
        if key not in self.states:
            self._clients[key] = client
            self._counts[client] = self._counts.get(client, 0) + 1
        self.states[key] = state

    def forget(self, key: Key) -> None:
        if self.states.pop(key, None) is None:
            return
        client = self._clients.pop(key)
        self._counts[client] -= 1
        if not self._counts[client]:
            del self._counts[client]

    def make_room(self, draw: Draw, keys: int, now: Now) -> None:
        """Forget some of the oldest that are fresh. Raises `TooManyKeys` if even then no more may be kept."""
        self._look_at_oldest(draw.limit, LOOKED_AT if self._has_room(draw, keys) else LOOKED_AT_WHEN_FULL, now)
        if not self._has_room(draw, keys):
            raise TooManyKeys(draw.limit)

    def _has_room(self, draw: Draw, keys: int) -> bool:
        return has_room(len(self.states), self._counts.get(draw.client, 0), keys)

    def _look_at_oldest(self, limit: Limit, looks: int, now: Now) -> None:
        """Forget those that are fresh. The others go to the end, to be looked at last."""
        for key in list(islice(self.states, looks)):
            if is_fresh(limit, self.states[key], now):
                self.forget(key)
            else:
                self.states.move_to_end(key)
