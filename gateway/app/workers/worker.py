"""A worker process: it serves what its supervisor gives it, and obeys nobody else.

`python -m gateway.app.workers.worker INDEX DESCRIPTOR`, where the descriptor is its end of the channel. A worker that
loses its supervisor drains and ends: nobody would replace it, reload it or count for it.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Sequence
from typing import Any, NamedTuple

import uvloop

from gateway.app.generation.entrances import Entrances
from gateway.app.generation.frames import Frame
from gateway.app.generation.in_force import InForce
from gateway.app.identity.cluster import Cluster, build_directory
from gateway.app.serving import Serving
from gateway.app.workers.channel import Channel, ChannelBroken, Kind, Message
from gateway.app.workers.messages import (
    Answer,
    Question,
    Start,
    Topic,
    decode_changes,
    decode_number,
    encode_number,
    encode_problem,
    encode_snapshot,
)
from gateway.model.errors import ConfigError
from gateway.telemetry.ledger import Ledger
from gateway.telemetry.logs.stderr import log_to_stderr

REPORT_SECONDS = 0.5
ANSWER_ITEMS = 500

_OTHERS_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2)

_logger = logging.getLogger(__name__)


class End(NamedTuple):
    """How to end: see `Serving.end`."""

    seconds: float
    refusing: bool


class _SupervisorGone(Exception):
    pass


class Worker:
    """Obeys what comes down the channel, and reports its counts."""

    def __init__(self, channel: Channel, serving: Serving, in_force: InForce) -> None:
        self._channel = channel
        self._serving = serving
        self._in_force = in_force
        self._has_started = False
        self._answering: set[asyncio.Task[None]] = set()
        self._end: asyncio.Future[End] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Until it is told to end or its supervisor is gone."""
        obeying = asyncio.create_task(self._obey(), name="obey")
        reporting = asyncio.create_task(self._report(), name="report")
        either: set[asyncio.Future[Any]] = {obeying, self._end}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not self._end.done():
            await obeying  # raises its error
        await self._serving.end(*self._end.result())
        for task in (obeying, reporting):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._channel.send(Kind.COUNTS, encode_snapshot(self._serving.snapshot()))
        self._channel.close()

    async def _obey(self) -> None:
        with contextlib.suppress(_SupervisorGone):
            while True:
                await self._handle(await self._receive())
        if not self._end.done():
            _logger.error("the supervisor is gone: draining")
            seconds = self._in_force.settings.drain.timeout if self._in_force.number else 0.0
            self._end.set_result(End(seconds, refusing=True))

    async def _receive(self) -> Message:
        message = await self._channel.receive()
        if message is None:
            raise _SupervisorGone
        return message

    async def _handle(self, message: Message) -> None:
        match message.kind:
            case Kind.GENERATION:
                await self._take(int(decode_number(message.body)))
            case Kind.PODS if (pods := self._in_force.cluster.directory) is not None:
                for change in decode_changes(message.body):
                    pods.apply(change)
            case Kind.REOPEN_LOGS:
                self._serving.recorder.reopen()
            case Kind.ASK:
                answering = asyncio.create_task(self._answer(Question.decode(message.body)), name="answer")
                self._answering.add(answering)
                answering.add_done_callback(self._answering.discard)
            case Kind.RETIRE | Kind.DRAIN:
                self._end_with(End(decode_number(message.body), refusing=message.kind is Kind.DRAIN))
            case Kind.CUT_OFF:
                self._end_with(End(0.0, refusing=True))
                self._serving.connections.cut_off()
            case _:
                raise ChannelBroken(f"a supervisor does not send {message.kind.name} now")

    async def _take(self, number: int) -> None:
        async with contextlib.aclosing(self._frames()) as frames:
            try:
                await self._in_force.take(number, frames)
            except (_SupervisorGone, ChannelBroken):
                raise
            except Exception as error:
                if not self._has_started or self._in_force.number == number:
                    raise  # nothing is in force to keep, or the failed generation is in force in part
                await self._keep(error, frames)
                return
        if not self._has_started and not self._end.done():
            await self._serving.start()
            self._has_started = True
        await self._channel.send(Kind.TAKEN, encode_number(number))

    async def _keep(self, error: Exception, rest: AsyncGenerator[Frame, None]) -> None:
        """Keep what is in force, with all connections, and tell the supervisor why."""
        async for _ in rest:
            pass
        why = str(error)
        if not isinstance(error, ConfigError):
            _logger.error("generation %d stays in force", self._in_force.number, exc_info=error)
            why = "internal error: the log has its traceback"
        await self._channel.send(Kind.KEPT, encode_problem(why))

    async def _frames(self) -> AsyncGenerator[Frame, None]:
        """Those of one generation. Other messages that the supervisor sends in between are obeyed in between."""
        while (message := await self._receive()).kind is not Kind.TAKE:
            if message.kind is Kind.FRAME:
                yield message.body
            else:
                await self._handle(message)

    async def _answer(self, question: Question) -> None:
        """In pieces: the answer may be long, and other messages must get through in between."""
        items: Sequence[object]
        match question.topic:
            case Topic.TUNNELS:
                items = await self._serving.tunnels()
            case Topic.LIMITS:
                items = await self._serving.limits()
            case Topic.CLOSE_TUNNEL:
                items = [await self._serving.close_tunnel(question.about)]
        for start in range(0, len(items), ANSWER_ITEMS):
            part = Answer(question.number, items[start : start + ANSWER_ITEMS], is_last=False)
            await self._channel.send(Kind.ANSWER, part.encode())
        await self._channel.send(Kind.ANSWER, Answer(question.number, (), is_last=True).encode())

    def _end_with(self, end: End) -> None:
        """The first request says until when. Others who serve may end as well while this one retires."""
        if not self._end.done():
            self._end.set_result(end)
        elif end.refusing:
            self._serving.connections.refuse()

    async def _report(self) -> None:
        """Counts are totals since the start, so the next report makes up for one that found no room. The supervisor
        takes a long silence for a hang."""
        reported, has_failed = b"", False
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            try:
                counts = encode_snapshot(self._serving.snapshot())
            except Exception:  # a fault of ours must not look like a hang, which ends all connections
                if not has_failed:
                    _logger.exception("the counts cannot be reported")
                counts, has_failed = reported, True
            if counts == reported:
                self._channel.post(Kind.ALIVE)
            elif self._channel.post(Kind.COUNTS, counts):
                reported = counts


async def work(descriptor: int) -> None:
    """Serve until told to end. `descriptor` is this worker's end of the channel."""
    _keep(descriptor)
    channel = await Channel.over(socket.socket(fileno=descriptor))
    first = await channel.receive()
    if first is None:
        return
    start = Start.decode(first.body)
    _keep(start.page, start.locks, start.seat.table, *(inherited for _, inherited in start.sockets))
    sockets = [(name, socket.socket(fileno=inherited)) for name, inherited in start.sockets]
    kubernetes = start.settings.kubernetes
    pods = build_directory(kubernetes) if start.settings.identity.kubernetes else None
    entrances = Entrances(start.settings, start.materials)
    in_force = InForce(start.listening, entrances, Cluster(kubernetes, pods))
    ledger = Ledger.shared(start.page, start.locks)
    loop = asyncio.get_running_loop()
    serving = Serving(
        loop, start.settings, sockets, in_force, ledger, lambda lines, _: channel.post(Kind.FLOWS, lines), start.seat
    )
    await Worker(channel, serving, in_force).run()


def _keep(*descriptors: int) -> None:
    """Not for the processes that this one starts, such as inspectors."""
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)


def main() -> None:
    """Ignores the gateway's signals: those sent to a terminal or a control group reach every process, and the
    supervisor passes on what they mean."""
    for number in _OTHERS_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    index, descriptor = sys.argv[1:]
    log_to_stderr(f"worker {index}: ")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(work(int(descriptor)))
        except ConfigError as error:  # a line says it all
            sys.exit(f"ERROR worker {index}: {error}")


if __name__ == "__main__":
    main()
