"""Watches pods and namespaces and passes changes on: one watch for all processes of a gateway."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from time import monotonic

from gateway.kubernetes.api_client import ApiClient
from gateway.kubernetes.directory import Change, Directory, Drop, Heard, Labelled, Put
from gateway.kubernetes.pods import read_namespace, read_pod, uid_of
from gateway.kubernetes.reflector import Handler, Item, Reflector, Resource, oldest

PODS = Resource("/api/v1/pods", "status.phase!=Succeeded,status.phase!=Failed")
NAMESPACES = Resource("/api/v1/namespaces")
SLICE = 1000
BEHIND = 20_000
"""Changes that may wait for one reader; one that falls further behind gets the whole state instead."""

HEARD_SECONDS = 1.0
LONGEST_SILENCE = 60.0

_logger = logging.getLogger(__name__)


class ClusterWatch:
    """`directory` is the state as the API server last sent it, kept up to date by `run`."""

    def __init__(self, api: ApiClient, stale_after: float, now: Callable[[], float] = monotonic) -> None:
        self._api = api
        self.directory = Directory(now, stale_after)
        self._readers: set[Reader] = set()
        self._listed = asyncio.Event()
        silence = min(LONGEST_SILENCE, stale_after / 2)
        publish, uids, names = self._publish, self.directory.uids, self.directory.namespaces
        pods = Handler(publish, uids, uid_of, _pod_change, gone=Drop)
        namespaces = Handler(
            publish, names, _name_of, lambda item: Labelled(*read_namespace(item)), lambda name: Labelled(name, None)
        )
        self._reflectors = (
            Reflector(api, PODS, pods, silence, now),
            Reflector(api, NAMESPACES, namespaces, silence, now),
        )

    async def run(self) -> None:
        """Returns only by being cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for reflector in self._reflectors:
                    group.create_task(reflector.run())
                group.create_task(self._publish_age())
        finally:
            await self._api.close()

    async def first_list(self, seconds: float) -> bool:
        """Wait for it; False if it did not come in time."""
        try:
            async with asyncio.timeout(seconds):
                await self._listed.wait()
        except TimeoutError:
            return False
        return True

    def reader(self) -> "Reader":
        """The whole state, then its changes. `close` it at the end."""
        reader = Reader(self.directory, self._readers.discard)
        self._readers.add(reader)
        return reader

    async def _publish_age(self) -> None:
        published, is_known = None, False
        while True:
            was_known, is_known = is_known, not self.directory.is_stale
            if was_known and not is_known:
                seconds = self.directory.stale_after
                _logger.error("the API server was not heard for %g s: no pod is known until it is", seconds)
            heard_at = oldest(self._reflectors)
            if heard_at is not None and heard_at != published:
                published = heard_at
                self._publish(Heard(heard_at))
                self._listed.set()
            await asyncio.sleep(HEARD_SECONDS if published is not None else 0.05)

    def _publish(self, change: Change) -> None:
        self.directory.apply(change)
        for reader in self._readers:
            reader.put(change)


def _pod_change(item: Item) -> Change:
    """A pod that has ended counts as gone."""
    pod = read_pod(item)
    return Drop(uid_of(item)) if pod is None else Put(pod)


def _name_of(item: Item) -> str:
    return read_namespace(item)[0]


class Reader:
    """The changes for one process: the whole state, then what changes, in slices. A slow reader gets the whole state
    again rather than ever more changes."""

    def __init__(self, directory: Directory, left: Callable[["Reader"], None]) -> None:
        self._directory = directory
        self._left = left
        self._waiting: list[Change] = []
        self._behind = True
        self._news = asyncio.Event()
        self._news.set()

    def put(self, change: Change) -> None:
        """Queue one change."""
        if self._behind:
            return  # it is part of the whole state that will be sent
        self._waiting.append(change)
        if len(self._waiting) > BEHIND:
            self._waiting.clear()
            self._behind = True
        self._news.set()

    async def __aiter__(self) -> AsyncIterator[Sequence[Sequence[Change]]]:
        """Slices of at most `SLICE` changes, as many as bring it up to date."""
        while True:
            await self._news.wait()
            self._news.clear()
            waiting = self._take()
            yield [waiting[start : start + SLICE] for start in range(0, len(waiting), SLICE)]

    def _take(self) -> Sequence[Change]:
        if self._behind:
            self._behind = False
            return list(self._directory.changes())
        waiting, self._waiting = self._waiting, []
        return waiting

    def close(self) -> None:
        """Take no more changes."""
        self._left(self)
