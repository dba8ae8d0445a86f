"""Reloads, and the first generation: all or nothing; the last good one stays in force until a newer one takes over.

A generation is assembled where connections are served (`generation/in_force.py`); here only its head is known.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from gateway.admin.state import ReloadOutcome
from gateway.app.configuration import Configuration, Head, waiting_for_restart
from gateway.app.generation.frames import Frame, contents_of, dump
from gateway.app.generation.reading import Read, ReadFailed
from gateway.model.errors import ConfigError
from gateway.settings.gateway import GatewaySettings
from gateway.settings.source.files import Stamp

Take = Callable[[int, AsyncIterator[Frame]], Awaitable[Head]]
"""Puts a generation, by its number, in force wherever connections are served. What its frames raise is passed on, and
then nothing has changed."""

TELL_AGAIN_SECONDS = 600.0
"""How often a fault is told that every further try finds again."""

_logger = logging.getLogger(__name__)


class Reloads:
    """Keeps number and head of the generation that `take` has put in force. `published` are the certificates of the
    inspection's authority, PEM, None where nothing is inspected; `expiries` as in `Head`. `last_reload_time`
    and `taken_time` are Unix time; `reload_seconds` is how long the last attempt took."""

    def __init__(self, first: Configuration, read: Read, take: Take) -> None:
        self._first: Configuration | None = first
        self._read = read
        self._serve_by = take
        self._running = first.head.settings
        self._begun = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._waiting: asyncio.Future[ReloadOutcome] | None = None
        self._told: Sequence[str] = ()
        self._tell_again_at = 0.0
        self.reload_succeeded = True
        self.last_reload_time: float | None = None
        self.reload_seconds: float | None = None
        self.taken_time = 0.0
        self.generation = 0
        self._newest = 1
        self.settings: GatewaySettings = first.head.settings
        self.files: Mapping[Path, Stamp] = first.head.files
        self.rules = 0
        self.published: bytes | None = None
        self.expiries: Mapping[str, float] = {}

    async def begin(self) -> None:
        """Put in force what was read at the start, and drop it: a large policy need not be held twice. Reloads wait
        until this is done."""
        first, self._first = self._first, None
        if first is not None:
            async with contextlib.aclosing(_dumped(first)) as frames:
                await self._take(1, frames)
        self._begun.set()

    async def _take(self, number: int, frames: AsyncIterator[Frame]) -> None:
        taken = await self._serve_by(number, frames)
        self.generation = self._newest = number
        self.settings = taken.settings
        self.files = taken.files
        self.rules = taken.rules
        self.published = None if taken.inspection is None else taken.inspection.certificates
        self.expiries = taken.expiries
        self.taken_time = time.time()
        for what, end in self.expiries.items():
            if end <= self.taken_time and not what.startswith("rule "):  # a rule may have ended since it was read
                _logger.warning("%s: its certificate has expired", what)
        for warning in taken.warnings:
            _logger.warning("%s", warning)
        for key in waiting_for_restart(self.settings, self._running):
            _logger.warning("%s changed: it takes effect at the next start", key)

    async def reload(self) -> ReloadOutcome:
        """Read the files again. Problems are logged and returned, and change nothing. Callers that come before the next
        reading has begun share its outcome."""
        self._told = ()
        return await self._read_again()

    async def _read_again(self) -> ReloadOutcome:
        if self._waiting is None:
            self._waiting = asyncio.ensure_future(self._reload_in_turn())
        return await asyncio.shield(self._waiting)

    async def follow(self) -> bool:
        """The files changed. True: the reload failed and should be retried after a while, since the file at fault may
        be one that is not watched yet: only those in force are."""
        return bool((await self.reload()).problems)

    async def try_again(self) -> bool:
        """As `follow`, though nothing changed since: what is wrong as before is logged once in a while only."""
        return bool((await self._read_again()).problems)

    async def _reload_in_turn(self) -> ReloadOutcome:
        await self._begun.wait()
        async with self._one_at_a_time:
            self._waiting = None
            self.last_reload_time, started_at = time.time(), time.monotonic()
            try:
                return await self._take_over(self._newest + 1)
            except ReadFailed as failure:
                return self._kept(failure.problems)
            except ConfigError as error:
                self._newest += 1  # some workers may have judged by it already: its number is never reused
                return self._kept([str(error)])
            except Exception:  # our fault; it must not end the watch for the next change
                problems = ["internal error: the log has its traceback"]
                if self._is_news(problems):
                    _logger.exception("the policy could not be read")
                return self._kept(problems)
            finally:
                self.reload_seconds = time.monotonic() - started_at

    async def _take_over(self, number: int) -> ReloadOutcome:
        async with contextlib.aclosing(self._read()) as frames:
            await self._take(number, frames)
        self.reload_succeeded = True
        _logger.info("policy generation %d is in force: %d rules", self.generation, self.rules)
        return ReloadOutcome(number)

    def _is_news(self, problems: Sequence[str]) -> bool:
        return problems != self._told or time.monotonic() >= self._tell_again_at

    def _kept(self, problems: Sequence[str]) -> ReloadOutcome:
        self.reload_succeeded = False
        if self._is_news(problems):
            self._told, self._tell_again_at = problems, time.monotonic() + TELL_AGAIN_SECONDS
            for problem in problems:
                _logger.error("%s", problem)
            _logger.error("reload failed: policy generation %d stays in force", self.generation)
        return ReloadOutcome(self.generation, tuple(problems))


async def _dumped(first: Configuration) -> AsyncGenerator[Frame, None]:
    """Pickled in a thread: a huge policy takes seconds, and health checks and signals must not wait for it."""
    frames = map(dump, contents_of(first))
    while (frame := await asyncio.to_thread(next, frames, None)) is not None:
        yield frame
