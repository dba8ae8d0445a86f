"""A crew of worker processes: started, replaced when one ends, renewed one after the other, told to end.

Every listening socket stays open here for as long as the gateway lives. A replacement inherits its predecessor's, with
the connections that wait in it, and gets the generation that is in force here, whatever the files say by then.
"""

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.admin.state import Traffic
from gateway.app.configuration import Head, Materials, as_started
from gateway.app.generation.frames import Frame, load
from gateway.app.live.snapshot import Snapshot
from gateway.app.sockets import Sockets
from gateway.app.workers.channel import Kind
from gateway.app.workers.crew import CrewFailed
from gateway.app.workers.member import PROGRAM, Delivery, Member
from gateway.app.workers.restarts import RestartPolicy, Restarts
from gateway.app.workers.roster import Roster
from gateway.app.workers.seats import Seats
from gateway.model.errors import ConfigError
from gateway.settings.gateway import GatewaySettings
from gateway.telemetry.flows.ring import Ring
from gateway.telemetry.ledger import create_locks
from gateway.telemetry.logs.sinks import check_writable
from gateway.telemetry.metrics import Totals

if TYPE_CHECKING:
    from gateway.kubernetes.watching import ClusterWatch

TAKE_SECONDS = 60.0

_logger = logging.getLogger(__name__)


class _Standing(NamedTuple):
    """What a worker that is started now begins with, and the generation that it is given then."""

    settings: GatewaySettings
    materials: Materials
    newest: Delivery | None = None

    def followed_by(self, head: Head, newest: Delivery) -> "_Standing":
        """Once that generation is taken. While changed listeners wait for a restart, so do their certificates."""
        same_listeners = head.settings.listeners == self.settings.listeners
        materials = head.materials if same_listeners else self.materials
        return _Standing(as_started(head.settings, self.settings), materials, newest)


class Fleet:
    """Fulfils `crew.Crew`. `program` is what a worker runs; `pods` reports changes that are sent to all workers."""

    def __init__(
        self,
        settings: GatewaySettings,
        materials: Materials,
        sockets: Sockets,
        flows: Ring | None = None,
        restarts: RestartPolicy | None = None,
        program: Sequence[str] = PROGRAM,
        pods: "ClusterWatch | None" = None,
    ) -> None:
        """Raises `ConfigError` for a log that cannot be written."""
        _check_logs(settings)
        self._standing = _Standing(settings, materials)
        self._flows = flows or Ring()
        self._program = program
        self._pods = pods
        self._sockets = sockets
        self._locks = create_locks()
        self._seats = Seats(self.size)
        self._current: dict[int, Member] = {}
        self._restarts = Restarts(restarts or RestartPolicy())
        self._roster = Roster()  # one reference: other threads read it atomically
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Future[CrewFailed] = asyncio.get_running_loop().create_future()
        self._renewing = asyncio.Lock()
        self._replaced = asyncio.Event()
        self._ending: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def size(self) -> int:
        """See `Crew`."""
        return len(self._sockets.proxies)

    @property
    def generation(self) -> int:
        """See `Crew`."""
        return min((member.generation for member in self._serving()), default=0)

    @property
    def traffic(self) -> Traffic:
        """See `Crew`."""
        return self._roster

    @property
    def is_complete(self) -> bool:
        """See `Crew`."""
        return len(self._serving()) == self.size

    def _serving(self) -> Sequence[Member]:
        """At most one for each place. Other threads call this too, hence the copy."""
        return [member for member in self._current.copy().values() if member.serves]

    # ---------------------------------------------------------------------------------------------- what they judge by

    async def take(self, number: int, frames: AsyncIterator[Frame]) -> Head:
        """See `Crew`. A worker that is stuck is waited for only so long; it takes the generation once it is free."""
        whole = [frame async for frame in frames]
        head = load(whole[0])
        if not isinstance(head, Head):
            raise TypeError("the first frame is not a head")
        _check_logs(head.settings)
        before, newest = self._standing, Delivery(number, whole)
        self._standing = before.followed_by(head, newest)
        self._give(newest)
        try:
            async with asyncio.timeout(TAKE_SECONDS):
                await self._wait_for_all(number)
        except ConfigError:
            self._standing = before
            await self._go_back_to(before.newest)
            raise
        except TimeoutError:
            _logger.warning("after %g s not every worker uses generation %d", TAKE_SECONDS, number)
            self._wait_no_longer()
        return head

    def _give(self, newest: Delivery) -> None:
        for member in self._roster.members:
            self._in_background(member.give(newest))

    async def _go_back_to(self, former: Delivery | None) -> None:
        """One worker could not take what others have taken: all return to the former generation."""
        if former is not None:
            self._give(former)
        try:
            async with asyncio.timeout(TAKE_SECONDS):
                for member in self._roster.members:
                    await member.settle()
        except TimeoutError:
            _logger.warning("after %g s not every worker is back at the former generation", TAKE_SECONDS)
            self._wait_no_longer()

    def _wait_no_longer(self) -> None:
        for member in self._roster.members:
            member.is_late = not member.has_answered

    async def start(self) -> None:
        """See `Crew`."""
        for index in range(self.size):
            try:
                self._put(await self._add(index))
            except OSError as error:
                raise CrewFailed(f"worker {index} cannot be started: {error.strerror}") from error
        serving: asyncio.Future[Any] = asyncio.ensure_future(self._wait_for_all(1))
        await asyncio.wait([serving, self._failed], return_when=asyncio.FIRST_COMPLETED)
        if self._failed.done():
            serving.cancel()
            raise self._failed.result()
        await serving  # raises its error

    async def _wait_for_all(self, generation: int) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for index in self._current:
                    group.create_task(self._wait_for_one(index, generation))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _wait_for_one(self, index: int, generation: int) -> None:
        """If the worker ends meanwhile, wait for its replacement. Raises `ConfigError` if that ends as well (out of
        memory, say) and there is a generation to go back to."""
        lost = 0
        while not await (member := self._current[index]).wait_for(generation):
            lost += 1
            if lost > 1 and generation > 1:
                why = "it ended while taking over the generation, and so did its replacement"
                raise ConfigError(f"worker {index}", why)
            self._replaced.clear()
            if self._current[index] is member:
                await self._replaced.wait()

    # ------------------------------------------------------------------------------------------------ coming and going

    async def _add(self, index: int) -> Member:
        seat = self._seats.take()
        try:
            member = await Member.start(
                index, *self._standing[:2], self._sockets, self._locks, seat, self._flows, self._program
            )
        except BaseException:
            self._seats.leave(seat)
            raise
        self._roster = self._roster.with_one_more(member)
        self._in_background(self._follow(member))
        if self._standing.newest is not None:
            self._in_background(member.give(self._standing.newest))
        if self._ending.done():
            self._in_background(member.end(0.0))
        return member

    def _put(self, member: Member) -> None:
        self._current[member.index] = member
        self._replaced.set()

    async def _follow(self, member: Member) -> None:
        sending = asyncio.create_task(member.send_pods(self._pods))
        status = await member.follow()
        sending.cancel()
        await asyncio.wait([sending])
        self._seats.leave(member.seat)
        self._roster = self._roster.without(member)
        if member.was_told_to_end and not member.fault and status == 0:
            _logger.info("worker %d (pid %d) has ended", member.index, member.pid)
            return
        self._in_background(member.reap())
        missing = member.ledger.accepted - member.snapshot.counters.total
        _logger.error(
            "worker %d (pid %d) %s: %d connections ended with it uncounted, %d records are lost",
            *(member.index, member.pid, member.fault or _described(status), missing, member.ledger.owed),
        )
        try:
            await self._replace(member)
        except CrewFailed as given_up:
            if not self._failed.done():
                self._failed.set_result(given_up)

    async def _replace(self, gone: Member) -> None:
        """Start another one at its place, unless one is there already. Raises `CrewFailed`."""
        index, lived = gone.index, time.monotonic() - gone.started_at if gone.generation else 0.0
        if not self._is_missing(gone):
            return  # no failure of the place: another one serves there
        pause = self._restarts.pause_after(index, lived)
        while self._is_missing(gone):
            await asyncio.wait([self._ending], timeout=pause)
            if self._is_missing(gone):
                try:
                    fresh = await self._add(index)
                    self._put(fresh)
                    _logger.info("worker %d was started anew (pid %d)", index, fresh.pid)
                except OSError as error:
                    if self._ending.done() or self._failed.done():
                        return  # its sockets are closed already
                    _logger.error("worker %d cannot be started: %s", index, error.strerror)  # noqa: TRY400  # that says it all
                    pause = self._restarts.pause_without(index, error)

    def _is_missing(self, gone: Member) -> bool:
        return self._current.get(gone.index) is gone and not self._ending.done()

    async def failure(self) -> CrewFailed:
        """See `Crew`."""
        return await asyncio.shield(self._failed)

    def why_not_renew(self) -> str | None:
        """See `Crew`."""
        if len(self._current) < self.size:
            return "the workers are starting"
        return "the workers are being replaced already" if self._renewing.locked() else None

    async def renew(self) -> str | None:
        """See `Crew`."""
        async with self._renewing:
            for index in range(self.size):
                problem = await self._renew_one(index)
                if problem is not None:
                    return problem
        return None

    async def _renew_one(self, index: int) -> str | None:
        if self._ending.done():
            return "the gateway is draining"
        try:
            _check_logs(self._standing.settings)
            fresh = await self._add(index)
        except (OSError, ConfigError) as error:
            return f"the new worker {index} cannot be started: {getattr(error, 'strerror', error)}"
        try:
            async with asyncio.timeout(TAKE_SECONDS):
                serves = await fresh.wait_for(1)
        except TimeoutError:
            fresh.kill()
            serves = False
        if not serves:
            return f"the new worker {index} did not start to serve: the old one stays"
        old, refusal = self._current[index], fresh.refusal  # of a generation that came meanwhile, and holds at others
        if not refusal:
            self._put(fresh)
        await (fresh if refusal else old).end(self._standing.settings.drain.timeout, Kind.RETIRE)
        return f"the new worker {index}: {refusal}" if refusal else None

    def refuse(self) -> None:
        """See `Crew`. This process serves nothing itself, and `drain` tells the workers."""

    async def drain(self, seconds: float) -> None:
        """See `Crew`."""
        if not self._ending.done():
            self._ending.set_result(None)
        endings = [asyncio.ensure_future(member.end(seconds)) for member in self._roster.members]
        self._sockets.close_proxies()
        await asyncio.gather(*endings)
        while self._tasks:
            await asyncio.wait(self._tasks)

    def cut_off(self) -> None:
        """See `Crew`."""
        for member in self._roster.members:
            self._in_background(member.cut_off())

    def reopen_logs(self) -> None:
        """See `Crew`."""
        for member in self._roster.members:
            if not member.post(Kind.REOPEN_LOGS):
                _logger.error("worker %d does not read its messages: its logs were not reopened", member.index)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ---------------------------------------------------------------------------------------------------- what they did

    def snapshot(self) -> Snapshot:
        """See `Crew`."""
        return self._roster.snapshot()

    def totals(self) -> Totals:
        """See `Crew`."""
        return self._roster.totals({member.index: member.pid for member in self._serving()})


def _check_logs(settings: GatewaySettings) -> None:
    """Raises `ConfigError` as every worker would."""
    for log in settings.telemetry.access_log:
        check_writable(str(log.path))


def _described(status: int) -> str:
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
