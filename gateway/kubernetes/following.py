"""Follows a resource of the API: the whole list once, then every change, as the API's own clients do it.

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
from typing import Any, Protocol

from gateway.kubernetes.server import ApiError, ApiServer, Expired

PAGE = 250
"""Objects of one answer: 250 pods are about 2 MB."""

WATCH_SECONDS = 300
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 10.0
HEALTHY_SECONDS = 1.0
FAILURES = 4
"""In a row, without an event between them; then the version to continue from is dropped: a restored server may not know
it, or nothing that can be read follows it."""

_logger = logging.getLogger(__name__)


class Taker(Protocol):
    """Gets a list and its changes. A list comes as pages between `begin` and `complete`: what was not in it is
    gone."""

    def begin(self) -> None:
        """A whole list follows."""
        ...

    def take(self, item: Mapping[str, Any]) -> None:
        """An object as it is now. Raises `ValueError` for what is no object of the kind."""
        ...

    def drop(self, item: Mapping[str, Any]) -> None:
        """An object that is gone. Raises `ValueError` likewise."""
        ...

    def complete(self) -> None:
        """The list was whole."""
        ...


@dataclass(frozen=True, slots=True)
class Resource:
    """What is followed: `path` in the API, and a selection of fields."""

    path: str
    selection: str = ""

    @property
    def parameters(self) -> dict[str, str]:
        """Of every request."""
        return {"fieldSelector": self.selection} if self.selection else {}


class Following:
    """One resource. `heard_at` is the monotonic instant at which the server was last heard, None before the first whole
    list; after `silence` seconds the watch is opened again."""

    def __init__(
        self,
        server: ApiServer,
        resource: Resource,
        taker: Taker,
        silence: float = 60.0,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._server = server
        self._resource = resource
        self._taker = taker
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
                _logger.info("%s is listed anew: %s", self._resource.path, expired)
                self._version = ""
            except ApiError as error:
                self._complain(error)
            if self._now() - began_at < HEALTHY_SECONDS:
                await asyncio.sleep(self._pause * random.uniform(0.5, 1.0))  # noqa: S311  # so that not all come at once
                self._pause = min(2 * self._pause, LONGEST_PAUSE)
            else:
                self._pause = FIRST_PAUSE

    async def _list(self) -> None:
        self._taker.begin()
        token = ""
        while True:
            parameters = {**self._resource.parameters, "limit": str(PAGE)}
            if token:
                parameters["continue"] = token
            page = await self._server.get(self._resource.path, parameters)
            token, version = self._take_page(page)
            if not token:
                break
        self._taker.complete()
        self._version = version
        self._hear()

    def _take_page(self, page: Any) -> tuple[str, str]:
        """The continue token, and the version of the list."""
        metadata = page.get("metadata") if isinstance(page, dict) else None
        if not isinstance(metadata, dict) or not isinstance(metadata.get("resourceVersion"), str):
            raise ApiError(f"{self._resource.path}: a list that is none")
        items = page.get("items")
        for item in items if isinstance(items, list) else ():
            self._tell(self._taker.take, item)
        return str(metadata.get("continue") or ""), metadata["resourceVersion"]

    async def _watch(self) -> None:
        parameters = {
            **self._resource.parameters,
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS + random.randrange(WATCH_SECONDS)),  # noqa: S311  # likewise
        }
        stream, told = self._server.watch(self._resource.path, parameters, self._silence), False
        began_at = self._now()
        async with contextlib.aclosing(stream) as events:
            async for event in events:
                if event:
                    told = True
                    self._obey(event)
                    self._hear()
                else:
                    self.heard_at = self._now()
        if not told and self._now() - began_at < HEALTHY_SECONDS:
            raise ApiError("a watch that ended as soon as it had begun")

    def _obey(self, event: Mapping[str, Any]) -> None:
        item = event["object"]
        match event.get("type"):
            case "ADDED" | "MODIFIED":
                self._tell(self._taker.take, item)
            case "DELETED":
                self._tell(self._taker.drop, item)
        version = (item.get("metadata") or {}).get("resourceVersion")
        if isinstance(version, str) and version:
            self._version = version

    def _tell(self, taken: Callable[[Mapping[str, Any]], None], item: Any) -> None:
        """An object that cannot be read is left out; the others are not affected."""
        try:
            taken(item if isinstance(item, dict) else {})
        except ValueError as error:
            _logger.warning("%s: %s", self._resource.path, error)

    def _hear(self) -> None:
        self.heard_at = self._now()
        self._failures = 0
        if not self._is_well:
            _logger.info("%s is followed again", self._resource.path)
            self._is_well = True

    def _complain(self, error: Exception) -> None:
        """Log once, until it works again."""
        self._failures += 1
        if self._failures % FAILURES == 0:
            self._version = ""
        if self._is_well:
            _logger.error("%s is not followed: %s", self._resource.path, error)
            self._is_well = False


def oldest(followings: Iterable[Following]) -> float | None:
    """Since when all of them are known; None while one has no list yet."""
    instants = [following.heard_at for following in followings]
    known = [instant for instant in instants if instant is not None]
    return min(known) if len(known) == len(instants) else None
