"""What is in force, and how something newer takes over: all or nothing, the last good generation stays until then."""

import asyncio
import contextlib
import gc
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

from gateway.admin.state import ReloadOutcome
from gateway.app.configuration import Configuration, waiting_for_restart
from gateway.app.followers import Follower
from gateway.app.generation.assembler import Assembler, Generation, Whereabouts, build_identifier, same_identities
from gateway.app.generation.frames import Frame, contents_of, load
from gateway.app.generation.reading import Read, ReadFailed
from gateway.app.own_addresses import own_addresses
from gateway.model.addresses import Address
from gateway.model.errors import ConfigError
from gateway.policy.plan import Rules
from gateway.settings.gateway import GatewaySettings
from gateway.settings.source.files import Stamp

_logger = logging.getLogger(__name__)


class PolicyInForce:
    """Holds the snapshot that new connections take. `listening` are the gateway's own sockets, never to be dialled.

    `followers` take what else gateway.yaml says; `retire` is told the rules that a newer generation took over from.
    `last_reload_time` and `taken_time` are Unix time; `reload_seconds` is how long the last attempt took.
    """

    followers: Sequence[Follower] = ()
    retire: Callable[[Rules], None] | None = None

    def __init__(self, first: Configuration, read: Read, listening: frozenset[tuple[Address, int]]) -> None:
        self._read = read
        self._listening = listening
        self._running = first.settings
        self._one_at_a_time = asyncio.Lock()
        self._waiting: asyncio.Future[ReloadOutcome] | None = None
        self.reload_succeeded = True
        self.last_reload_time: float | None = None
        self.reload_seconds: float | None = None
        assembler = Assembler(1, self._whereabouts())
        for content in contents_of(first):
            assembler.take(content)
        generation = assembler.finish()
        self.identifier = build_identifier(generation.head)
        self._take(generation)

    def _take(self, taken: Generation) -> None:
        self.head = taken.head
        self.rules = taken.rules
        self.taken_time = time.time()
        for warning in taken.head.warnings:
            _logger.warning("%s", warning)
        for key in waiting_for_restart(self.settings, self._running):
            _logger.warning("%s changed: it takes effect at the next start", key)

    @property
    def settings(self) -> GatewaySettings:
        """gateway.yaml of the generation in force."""
        return self.head.settings

    @property
    def files(self) -> Mapping[Path, Stamp]:
        """What it was read from, as it was just before."""
        return self.head.files

    def _whereabouts(self) -> Whereabouts:
        return Whereabouts(self._listening, own_addresses())

    async def reload(self) -> ReloadOutcome:
        """Read the files again. What is wrong with them is logged and answered, and changes nothing. Whoever asks while
        one that has not begun yet waits for its turn gets the outcome of that one."""
        if self._waiting is None:
            self._waiting = asyncio.ensure_future(self._reload_in_turn())
        return await asyncio.shield(self._waiting)

    async def _reload_in_turn(self) -> ReloadOutcome:
        async with self._one_at_a_time:
            self._waiting = None
            self.last_reload_time, started_at = time.time(), time.monotonic()
            try:
                return await self._take_over(self.rules.generation + 1)
            except ReadFailed as failure:
                return self._kept(failure.problems)
            except ConfigError as error:
                return self._kept([str(error)])
            except Exception:  # our fault; it must not end the watching for the next change as well
                _logger.exception("the policy could not be read")
                return self._kept(["internal error: the log has its traceback"])
            finally:
                self.reload_seconds = time.monotonic() - started_at

    async def _take_over(self, number: int) -> ReloadOutcome:
        assembler = Assembler(number, await asyncio.to_thread(self._whereabouts))
        async with contextlib.aclosing(self._read()) as frames:
            await _assemble(frames, assembler)
        taken = assembler.finish()
        identifier = self.identifier
        if not same_identities(taken.head, self.head):
            identifier = await asyncio.to_thread(build_identifier, taken.head)
        commits = [follower.prepare(taken.head.settings) for follower in self.followers]
        former, self.identifier = self.rules, identifier
        self._take(taken)
        for commit in commits:
            commit()
        if self.retire is not None:
            self.retire(former)
        self.reload_succeeded = True
        _logger.info("policy generation %d is in force: %d rules", number, taken.head.rules)
        return ReloadOutcome(number)

    def _kept(self, problems: Sequence[str]) -> ReloadOutcome:
        self.reload_succeeded = False
        for problem in problems:
            _logger.error("%s", problem)
        _logger.error("reload failed: policy generation %d stays in force", self.rules.generation)
        return ReloadOutcome(self.rules.generation, tuple(problems))


async def _assemble(frames: AsyncIterator[Frame], assembler: Assembler) -> None:
    """A frame a turn of the loop: connections go on in between.

    Walking over a hundred thousand rules takes the collector long, and there are no cycles among them: it neither
    looks while they come in nor, as they are frozen, ever after.
    """
    try:
        async for frame in frames:
            gc.disable()
            assembler.take(load(frame))
            await asyncio.sleep(0)
    finally:
        gc.freeze()
        gc.enable()
