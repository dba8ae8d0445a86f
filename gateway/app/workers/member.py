"""One worker process as its supervisor sees it."""

import asyncio
import contextlib
import logging
import os
import socket
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Coroutine, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.app.configuration import Materials
from gateway.app.generation.frames import Frame
from gateway.app.live.endless import run_endlessly
from gateway.app.live.limiting import Seat
from gateway.app.live.snapshot import Snapshot
from gateway.app.sockets import Sockets
from gateway.app.workers.channel import Channel, ChannelBroken, Kind, Message
from gateway.app.workers.messages import (
    Answer,
    Question,
    Start,
    Topic,
    decode_number,
    decode_problem,
    decode_snapshot,
    encode_changes,
    encode_number,
)
from gateway.model.errors import ConfigError
from gateway.settings.gateway import GatewaySettings
from gateway.telemetry.flows.ring import Ring
from gateway.telemetry.ledger import Ledger, create_page

UP_BYTES = 16 * 1024 * 1024  # the largest message of a worker: its counts, 10,000 series at most
ANSWER_SECONDS = 10.0
ANSWER_ITEMS = 1_000_000  # more tunnels than a process can have
GRACE_SECONDS = 15.0  # after its drain, for logs that are slow to write
CUT_OFF_SECONDS = 0.001  # for each connection, which is recorded
REAPINGS, REAPING_SECONDS = 20, 0.1
LOOK_SECONDS = 10.0
SILENT_LOOKS = 6
"""Looks in a row without a message, after which its loop counts as hung. Looks and no seconds: while this process does
not run itself, nothing is received either."""
SILENT_LOOKS_AT_FIRST = 30
"""The same before it serves: a machine that is short of CPU needs long to start several processes at once."""

_logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from gateway.kubernetes.watching import ClusterWatch

PROGRAM = (sys.executable, "-P", "-m", "gateway.app.workers.worker")


class Delivery(NamedTuple):
    """A generation for every worker, also for those that are started later. Frames are passed on as they were read."""

    number: int
    frames: Sequence[Frame]


@dataclass(slots=True)
class _Pending:
    items: list[Any] = field(default_factory=list)
    complete: asyncio.Event = field(default_factory=asyncio.Event)


class Member:
    """`generation` is the one in force there, 0 before it serves; `refusal` says why it could not take the last one;
    `fault` why it was given up; `snapshot` are the counts that it reported last. `is_late` is set where nobody waits
    any more for what it does with the last generation, so that the log has to tell."""

    def __init__(self, index: int, process: Process, channel: Channel, ledger: Ledger, seat: Seat, flows: Ring) -> None:
        self._flows = flows
        self.index = index
        self.pid = process.pid
        self.ledger = ledger
        self.seat = seat
        self.generation = 0
        self.refusal = ""
        self.is_late = False
        self.snapshot = Snapshot()
        self.started_at = time.monotonic()
        self.was_told_to_end = False
        self.fault = ""
        self.ended = asyncio.Event()
        self.changed = asyncio.Event()
        self._process = process
        self._channel = channel
        self._giving = asyncio.Lock()
        self._has_pods = asyncio.Event()
        self._questions = 0
        self._asked: dict[int, _Pending] = {}
        self._wanted: Delivery | None = None
        self._unanswered = 0  # generations that were sent and neither taken nor refused yet
        self._silent_looks = 0

    @classmethod
    async def start(
        cls,
        index: int,
        settings: GatewaySettings,
        materials: Materials,
        sockets: Sockets,
        locks: int,
        seat: Seat,
        flows: Ring,
        program: Sequence[str] = PROGRAM,
    ) -> "Member":
        """A new process of the same program, in a session of its own: signals of a terminal are for the supervisor."""
        proxies = tuple((name, sock.fileno()) for name, sock in sockets.proxies[index])
        with ExitStack() as on_failure, ExitStack() as afterwards:
            ours, theirs = socket.socketpair()
            on_failure.callback(ours.close)
            afterwards.callback(theirs.close)
            page = create_page()
            afterwards.callback(os.close, page)
            ledger = Ledger.shared(page, locks)
            start = Start(settings, materials, sockets.addresses(), proxies, page, locks, seat)
            process = await asyncio.create_subprocess_exec(
                *(*program, str(index), str(theirs.fileno())),
                stdin=DEVNULL,
                pass_fds=[theirs.fileno(), page, locks, seat.table, *(descriptor for _, descriptor in proxies)],
                start_new_session=True,
            )
            on_failure.pop_all()
        channel = await Channel.over(ours, UP_BYTES)
        channel.post(Kind.START, start.encode())  # waits for nobody: only who follows a worker notices that it hangs
        return cls(index, process, channel, ledger, seat, flows)

    @property
    def serves(self) -> bool:
        """Whether it lives and has a generation in force."""
        return self.generation > 0 and not self.ended.is_set()

    async def follow(self) -> int:
        """Receive what it sends until it ends. Returns its exit status, or minus the signal that ended it."""
        watching = asyncio.create_task(self._watch_for_hang(), name="hang watch")
        try:
            await self._receive()
            status = await self._process.wait()  # it may hang at its end as well
        finally:
            watching.cancel()
        self._channel.close()
        for asked in self._asked.values():
            asked.complete.set()
        self._has_pods.set()  # for tasks that wait: it ended before it had the pods
        self.ended.set()
        self.changed.set()
        return status

    async def _receive(self) -> None:
        try:
            while (message := await self._channel.receive()) is not None:
                self._silent_looks = 0
                self._handle(message)
        except ChannelBroken as fault:
            self.fault = f"was killed, because it sent {fault}"
            self.kill()
        except Exception:  # a fault of ours, which nobody else would end this worker for
            _logger.exception("worker %d (pid %d): what it sent could not be handled", self.index, self.pid)
            self.fault = "was killed, because what it sent could not be handled"
            self.kill()

    async def _watch_for_hang(self) -> None:
        """Kill it if its loop hangs: nobody else serves its connections, nor those that wait in its sockets."""
        while self._silent_looks < (SILENT_LOOKS if self.serves else SILENT_LOOKS_AT_FIRST):
            await asyncio.sleep(LOOK_SECONDS)
            self._silent_looks += 1
        self.fault = f"did not respond for {'a minute' if self.serves else 'five minutes'} and was killed"
        self.kill()

    def give(self, newest: Delivery) -> Coroutine[Any, Any, None]:
        """Send it a generation, frame by frame as fast as it reads, in the returned coroutine. A worker that has fallen
        behind gets only the newest; those in between are not kept for it."""
        self._wanted = newest
        self.is_late = False
        return self._hand_over()

    async def _hand_over(self) -> None:
        if self._giving.locked():
            return
        async with self._giving:
            await self._has_pods.wait()
            while self._wanted is not None:
                delivery, self._wanted = self._wanted, None
                self._unanswered += 1
                await self._channel.send(Kind.GENERATION, encode_number(delivery.number))
                for frame in delivery.frames:
                    await self._channel.send(Kind.FRAME, frame)
                await self._channel.send(Kind.TAKE)

    async def send_pods(self, pods: "ClusterWatch | None") -> None:
        """Send it the pods before it serves, and from then on all changes; until it is cancelled."""
        if pods is None:
            self._has_pods.set()
        else:
            await run_endlessly(partial(self._send_pods, pods), f"sending the pods to worker {self.index}")

    async def _send_pods(self, pods: "ClusterWatch") -> None:
        reader = pods.reader()
        try:
            async for slices in reader:
                for changes in slices:
                    await self._channel.send(Kind.PODS, encode_changes(changes))
                self._has_pods.set()
        finally:
            reader.close()

    async def wait_for(self, generation: int) -> bool:
        """Wait until this generation is in force there; False if the worker ended before. Raises `ConfigError` if it
        could not take the generation."""
        await self._until(lambda: self.has_answered and (self.generation >= generation or bool(self.refusal)))
        if self.refusal and self.generation < generation:
            raise ConfigError(f"worker {self.index}", self.refusal)
        return self.generation >= generation and self.serves

    async def settle(self) -> None:
        """Wait until it has taken or refused all that it was given, or has ended."""
        await self._until(lambda: self.has_answered)

    @property
    def has_answered(self) -> bool:
        """Whether it has taken or refused all that it was given."""
        return self._wanted is None and self._unanswered <= 0

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not (holds() or self.ended.is_set()):
            self.changed.clear()
            await self.changed.wait()

    async def end(self, seconds: float, kind: Kind = Kind.DRAIN) -> None:
        """Have it drain; one that does not end in time is killed."""
        self.was_told_to_end = True
        try:
            async with asyncio.timeout(seconds + GRACE_SECONDS):
                await self._channel.send(kind, encode_number(seconds))
                await self.ended.wait()
        except TimeoutError:
            self.fault = "did not end in time and was killed"
            self.kill()
            await self.ended.wait()

    async def cut_off(self) -> None:
        """Have it end everything now; one that does not, or has left much unread, is killed."""
        if self.post(Kind.CUT_OFF):
            await self.end(self.ledger.open * CUT_OFF_SECONDS)
        else:
            self.kill()

    async def ask(self, topic: Topic, about: str = "") -> Sequence[Any]:
        """Its answer; empty from one that has ended or takes too long."""
        number = self._questions = self._questions + 1
        asked = self._asked[number] = _Pending()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._channel.send(Kind.ASK, Question(number, topic, about).encode())
                await asked.complete.wait()
        except TimeoutError:
            _logger.warning("worker %d (pid %d) does not answer: it is stopped, or too busy", self.index, self.pid)
            return ()
        finally:
            del self._asked[number]
        return asked.items

    def post(self, kind: Kind) -> bool:
        """Send a message without waiting; False, and nothing is sent, if too much waits unread."""
        return self._channel.post(kind)

    def kill(self) -> None:
        """At once."""
        if self._process.returncode is None:
            self._process.kill()

    async def reap(self) -> None:
        """Once it has ended, reap what it left to this process, as to the first process of a container: inspectors,
        which are of its process group and are killed with it. A large one takes a while to die."""
        with contextlib.suppress(ChildProcessError):
            for _ in range(REAPINGS):
                self._reap_ended()
                await asyncio.sleep(REAPING_SECONDS)

    def _reap_ended(self) -> None:
        """Raises `ChildProcessError` if none is left that may still end."""
        while os.waitpid(-self.pid, os.WNOHANG)[0]:
            pass

    def _handle(self, message: Message) -> None:
        match message.kind:
            case Kind.COUNTS:
                self.snapshot = decode_snapshot(message.body)
            case Kind.TAKEN:
                self.generation = int(decode_number(message.body))
                self._note_outcome("")
            case Kind.KEPT:
                self._note_outcome(decode_problem(message.body))
            case Kind.ANSWER:
                self._collect(Answer.decode(message.body))
            case Kind.FLOWS:
                self._flows.put(message.body)
            case Kind.ALIVE:
                pass
            case _:
                raise ChannelBroken(f"{message.kind.name}, which no worker sends")

    def _note_outcome(self, refusal: str) -> None:
        self.refusal = refusal
        self._unanswered -= 1
        self.changed.set()
        if self.is_late and self.has_answered:
            self.is_late = False
            if refusal:
                _logger.error("worker %d keeps generation %d: %s", self.index, self.generation, refusal)
            else:
                _logger.info("worker %d uses generation %d now", self.index, self.generation)

    def _collect(self, part: Answer) -> None:
        """Nobody waits any more for the answer to a question that has timed out."""
        asked = self._asked.get(part.number)
        if asked is None:
            return
        asked.items.extend(part.items)
        if len(asked.items) > ANSWER_ITEMS:
            raise ChannelBroken("an endless answer")
        if part.is_last:
            asked.complete.set()
