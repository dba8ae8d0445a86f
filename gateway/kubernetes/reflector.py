"""Lists and watches a resource of the API, like the reflector of Kubernetes' own clients: the whole list once, then
every change.

A watch that ends is resumed where it ended; only when the server has forgotten that version (410 Gone) is the list
asked for again, page by page. See "Efficient detection of changes" in the API concepts of Kubernetes.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

from gateway.kubernetes.api_client import ApiClient, ApiError, Expired
from gateway.kubernetes.directory import Change

PAGE = 250
"""Objects in one answer: 250 pods are about 2 MB."""

WATCH_SECONDS = 300
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 10.0
HEALTHY_SECONDS = 1.0
FAILURES = 4
"""In a row, without an event in between; then the version to resume from is dropped: a restored server may not know it,
or nothing readable may follow it."""

_logger = logging.getLogger(__name__)


Item = Mapping[str, Any]
"""An object as the API has it."""


class Handler:
    """Publishes a list and then its changes. A list comes as items between `begin` and `complete`: what was not in it
    is gone. `known` gives the keys of all objects that are known, `gone` the change that ends one; `key_of` and `read`
    raise `ValueError` for what is not an object of the kind."""

    def __init__(
        self,
        publish: Callable[[Change], None],
        known: Callable[[], set[str]],
        key_of: Callable[[Item], str],
        read: Callable[[Item], Change],
        gone: Callable[[str], Change],
    ) -> None:
        self._publish = publish
        self._known = known
        self._key_of = key_of
        self._read = read
        self._gone = gone
        self._missing: set[str] = set()

    def begin(self) -> None:
        """A whole list follows."""
        self._missing = self._known()

    def take(self, item: Item) -> None:
        """An object as it is now. Raises `ValueError`."""
        change = self._read(item)
        self._missing.discard(self._key_of(item))
        self._publish(change)

    def drop(self, item: Item) -> None:
        """An object that is gone. Raises `ValueError`."""
        self._publish(self._gone(self._key_of(item)))

    def complete(self) -> None:
        """The list is complete."""
        for key in self._missing:
            self._publish(self._gone(key))
        self._missing = set()


@dataclass(frozen=True, slots=True)
class Resource:
    """What is watched: `path` in the API, and a field selector."""

    path: str
    selection: str = ""

    @property
    def parameters(self) -> dict[str, str]:
        """Of every request."""
        return {"fieldSelector": self.selection} if self.selection else {}


class Reflector:
    """Keeps `handler` up to date. `heard_at` is the monotonic instant at which the server was last heard, None before
    the first whole list; after `silence` seconds without a byte the watch is opened again."""

    def __init__(
        self,
        api: ApiClient,
        resource: Resource,
        handler: Handler,
        silence: float = 60.0,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._api = api
        self._resource = resource
        self._handler = handler
        self._silence = silence
        self._now = now
        self._version = ""
        self._pause = FIRST_PAUSE
        self._is_well = True
        self._failures = 0
        self.heard_at: float | None = None

    async def run(self) -> None:
        """Returns only by being cancelled."""
        while True:
            began_at = self._now()
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except Expired as expired:
                _logger.info("listing %s again: %s", self._resource.path, expired)
                self._version = ""
            except ApiError as error:
                self._complain(error)
            if self._now() - began_at < HEALTHY_SECONDS:
                await asyncio.sleep(self._pause * random.uniform(0.5, 1.0))  # noqa: S311  # so that not all come at once
                self._pause = min(2 * self._pause, LONGEST_PAUSE)
            else:
                self._pause = FIRST_PAUSE

    async def _list(self) -> None:
        self._handler.begin()
        token = ""
        while True:
            parameters = {**self._resource.parameters, "limit": str(PAGE)}
            if token:
                parameters["continue"] = token
            page = await self._api.get(self._resource.path, parameters)
            token, version = self._take_page(page)
            if not token:
                break
        self._handler.complete()
        self._version = version
        self._hear()

    def _take_page(self, page: Any) -> tuple[str, str]:
        """The continue token, and the version of the list."""
        metadata = page.get("metadata") if isinstance(page, dict) else None
        if not isinstance(metadata, dict) or not isinstance(metadata.get("resourceVersion"), str):
            raise ApiError(f"{self._resource.path}: the answer is not a list")
        items = page.get("items")
        for item in items if isinstance(items, list) else ():
            self._pass_on(self._handler.take, item)
        return str(metadata.get("continue") or ""), metadata["resourceVersion"]

    async def _watch(self) -> None:
        parameters = {
            **self._resource.parameters,
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS + random.randrange(WATCH_SECONDS)),  # noqa: S311  # likewise
        }
        stream, had_events = self._api.watch(self._resource.path, parameters, self._silence), False
        began_at = self._now()
        async with contextlib.aclosing(stream) as events:
            async for event in events:
                if event:
                    had_events = True
                    self._handle(event)
                    self._hear()
                else:
                    self.heard_at = self._now()
        if not had_events and self._now() - began_at < HEALTHY_SECONDS:
            raise ApiError("the watch ended as soon as it had begun")

    def _handle(self, event: Mapping[str, Any]) -> None:
        item = event["object"]
        match event.get("type"):
            case "ADDED" | "MODIFIED":
                self._pass_on(self._handler.take, item)
            case "DELETED":
                self._pass_on(self._handler.drop, item)
        metadata = item.get("metadata")
        version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
        if isinstance(version, str) and version:
            self._version = version

    def _pass_on(self, handle: Callable[[Item], None], item: Any) -> None:
        """An object that cannot be read is left out; the others are not affected."""
        try:
            handle(item if isinstance(item, dict) else {})
        except ValueError as error:
            _logger.warning("%s: %s", self._resource.path, error)

    def _hear(self) -> None:
        self.heard_at = self._now()
        self._failures = 0
        if not self._is_well:
            _logger.info("%s is watched again", self._resource.path)
            self._is_well = True

    def _complain(self, error: Exception) -> None:
        """Log the first failure only, until it works again."""
        self._failures += 1
        if self._failures % FAILURES == 0:
            self._version = ""
        if self._is_well:
            _logger.error("%s cannot be watched: %s", self._resource.path, error)
            self._is_well = False


def oldest(reflectors: Iterable[Reflector]) -> float | None:
    """When the one that has been silent longest was last heard; None while one has no list yet."""
    instants = [reflector.heard_at for reflector in reflectors]
    known = [instant for instant in instants if instant is not None]
    return min(known) if len(known) == len(instants) else None
