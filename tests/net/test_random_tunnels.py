"""Random tunnels over real sockets: half-closes, resets, stalls on both sides, half of them past the splice threshold.

Every byte sent before an orderly end arrives in order. Before a reset TCP promises less: what arrived is a prefix of
what was sent. Afterwards no descriptor, task, alarm or lease is left. Three planted faults show that this is looked at.
"""

import asyncio
import os
import random
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, TypeVar, cast

import pytest

from gateway.model.record import Ended, Side, Transfer
from gateway.net import relay as relay_module
from gateway.net import splice as splice_module
from gateway.net.relay import Relay
from gateway.net.splice import Carried, Splice, Splices
from gateway.net.stream import Stream
from tests.faults.scale import LONG
from tests.helpers.deadlines import HandDeadlines
from tests.helpers.streams import ManyPairs

TUNNELS = 20_000 if LONG else 3_000
AT_ONCE = 32
BULK = 4096
NOISE = random.Random(4).randbytes(4_000_000)


@dataclass(frozen=True, slots=True)
class Part:
    """What one side does: sends `size` bytes from `offset` on, `step` at a time, then ends; rests from reading after
    `stall_at` bytes. It ends by a reset, or half-closes, at once or (`polite`) once the other side has ended."""

    offset: int
    size: int
    step: int
    stall_at: int
    resets: bool
    polite: bool


@dataclass(frozen=True, slots=True)
class Story:
    client: Part
    origin: Part

    @property
    def has_reset(self) -> bool:
        return self.client.resets or self.origin.resets


def stories(count: int, seed: int = 5) -> Iterator[Story]:
    chance = random.Random(seed)
    for number in range(count):
        bulky = number % 2 == 0
        first_is_polite = chance.random() < 0.5
        yield Story(
            _part(chance, bulky, first_is_polite), _part(chance, bulky, not first_is_polite and chance.random() < 0.5)
        )


def _part(chance: random.Random, bulky: bool, polite: bool) -> Part:
    size = chance.randrange(3 * BULK, 16 * BULK) if bulky else chance.randrange(BULK // 2)
    if bulky and chance.random() < 0.01:
        size = chance.randrange(1_000_000, 3_000_000)
    return Part(
        offset=chance.randrange(1_000_000),
        size=size,
        step=max(1, size // chance.randrange(4, 9)),
        stall_at=chance.randrange(2 * size + 1),
        resets=chance.random() < 0.15,
        polite=polite,
    )


class Party(asyncio.Protocol):
    """One side of a tunnel, playing its part and comparing what it gets with the other side's."""

    def __init__(self, part: Part, other: Part) -> None:
        self.part = part
        self.other = other
        self.sent = 0
        self.got = 0
        self.was_told_the_end = False
        self.was_reset = False
        self.corrupted = False
        self.loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[None] = self.loop.create_future()
        self.writable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.loop.call_soon(self.play)

    def play(self) -> None:
        if self.transport.is_closing() or not self.writable:
            return
        if self.sent < self.part.size:
            size = min(self.part.step, self.part.size - self.sent)
            start = self.part.offset + self.sent
            self.sent += size
            self.transport.write(NOISE[start : start + size])
            self.loop.call_soon(self.play)
        elif self.part.resets:
            linger = struct.pack("ii", 1, 0)
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.transport.abort()
        elif self.was_told_the_end or not self.part.polite:
            with suppress(OSError):  # asyncio's own loop raises where a reset came first
                self.transport.write_eof()
            self.leave_if_over()

    def data_received(self, data: bytes) -> None:
        start = self.other.offset + self.got
        self.corrupted = self.corrupted or not NOISE.startswith(data, start)
        if self.got <= self.part.stall_at < self.got + len(data):
            self.transport.pause_reading()
            self.loop.call_later(0.003, self.transport.resume_reading)
        self.got += len(data)

    def eof_received(self) -> bool:
        self.was_told_the_end = True
        self.play()
        self.leave_if_over()
        return True

    def leave_if_over(self) -> None:
        if self.was_told_the_end and self.sent == self.part.size and not self.part.resets:
            self.transport.close()

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        self.play()

    def connection_lost(self, exc: Exception | None) -> None:
        self.was_reset = exc is not None
        self.gone.set_result(None)


class CountingSplices(Splices):
    """Counts how many directions it ever spliced."""

    started = 0

    def start(self, source: int, sink: int, carried: Carried) -> Splice | None:
        splice = super().start(source, sink, carried)
        self.started += splice is not None
        return splice


P = TypeVar("P", bound=asyncio.Protocol)


async def wrap(sock: socket.socket, protocol: P) -> P:
    await asyncio.get_running_loop().connect_accepted_socket(lambda: protocol, sock)
    return protocol


@dataclass(slots=True)
class World:
    """What tunnels share, and what went wrong in them."""

    patience: float
    splices: CountingSplices = field(default_factory=lambda: CountingSplices(bulk=BULK, large=512))
    deadlines: HandDeadlines = field(default_factory=HandDeadlines)
    pairs: ManyPairs = field(default_factory=ManyPairs)
    leases: int = 0
    orderly: int = 0
    wrong: list[str] = field(default_factory=list)

    async def play_at_once(self, stories_left: Iterator[Story]) -> None:
        await asyncio.gather(*(self.play_all(stories_left) for _ in range(AT_ONCE)))

    async def play_all(self, stories_left: Iterator[Story]) -> None:
        for story in stories_left:
            try:
                async with asyncio.timeout(self.patience):
                    await self.play(story)
            except TimeoutError:
                self.wrong.append(f"never over: {story}")

    async def play(self, story: Story) -> None:
        (outer, ours), (theirs, inner) = self.pairs.make(), self.pairs.make()
        downstream, upstream = await wrap(ours, Stream()), await wrap(theirs, Stream())
        client = await wrap(outer, Party(story.client, story.origin))
        origin = await wrap(inner, Party(story.origin, story.client))
        transfer = Transfer()
        try:
            with self.lease():
                await Relay(downstream, upstream, transfer, self.deadlines, self.splices, 3600.0).run()
                await downstream.aclose()
                await upstream.aclose()
            await asyncio.gather(client.gone, origin.gone)
        finally:
            for end in (downstream, upstream, client, origin):
                end.transport.abort()
        self.orderly += not story.has_reset
        self.wrong += (f"{problem}: {story}" for problem in judge(story, client, origin, transfer))

    @contextmanager
    def lease(self) -> Iterator[None]:
        self.leases += 1
        try:
            yield
        finally:
            self.leases -= 1


def judge(story: Story, client: Party, origin: Party, transfer: Transfer) -> Iterator[str]:
    """What is wrong with how it went."""
    if client.corrupted or origin.corrupted:
        yield "bytes altered or out of order"
    if story.has_reset:
        by = {side for side, part in ((Side.DOWNSTREAM, story.client), (Side.UPSTREAM, story.origin)) if part.resets}
        if transfer.ended is not Ended.RESET or transfer.ended_by not in by:
            yield f"{transfer} is not a reset by {by}"
        if any(not party.part.resets and not party.was_reset for party in (client, origin)):
            yield "the reset was not carried"
        if transfer.bytes_up > client.sent or transfer.bytes_down > origin.sent:
            yield f"{transfer} counts more than was sent"
        return
    if (origin.got, client.got) != (story.client.size, story.origin.size):
        yield f"arrived only {origin.got} up and {client.got} down"
    if (transfer.bytes_up, transfer.bytes_down) != (story.client.size, story.origin.size):
        yield f"miscounted: {transfer}"
    if transfer.ended is not Ended.CLOSED or client.was_reset or origin.was_reset:
        yield f"not closed in an orderly way: {transfer}"


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def explore(count: int, patience: float) -> World:
    """Play so many stories, then look what is left of them."""
    world = World(patience)
    await world.play_at_once(stories(AT_ONCE, seed=6))  # what the loop makes once and keeps
    world.splices.started = world.orderly = 0
    before = descriptors()
    await world.play_at_once(stories(count))
    for _ in range(3):
        await asyncio.sleep(0)
    stays = {
        "descriptors": descriptors() - before,
        "tasks": len(asyncio.all_tasks()) - 1,
        "alarms": world.deadlines.pending(),
        "leases": world.leases,
        "splices": world.splices.open,
    }
    world.pairs.close()
    world.wrong += (f"{number} {what} stay" for what, number in stays.items() if number)
    return world


@pytest.mark.timeout(300)
async def test_thousands_of_random_tunnels_carry_every_byte_and_leave_nothing() -> None:
    world = await explore(TUNNELS, patience=30.0)
    assert world.wrong == []
    assert world.splices.started > 0.9 * TUNNELS  # both directions of half of them
    assert world.orderly > TUNNELS / 2


class DropsItsLastChunk(relay_module.Direction):
    """Planted: a chunk is written when the next one comes, and the last one never."""

    __slots__ = ("_kept",)

    def received(self, data: bytes) -> None:
        kept, self._kept = getattr(self, "_kept", b""), data
        super().received(kept if self.is_up else data)


class ForgetsTheHalfClose(relay_module.Direction):
    """Planted: an end is noted and not carried."""

    __slots__ = ()

    def ended(self) -> None:
        if self.is_up:
            return super().ended()
        self._relay.ended_first = self._relay.ended_first or Side.UPSTREAM
        return self._relay.direction_over()


class KeepsItsPipe(Splice):
    """Planted: the pipe is not closed."""

    __slots__ = ()

    kept: ClassVar[list[int]] = []

    def close(self) -> None:
        self.kept.append(os.dup(self._pipe_in))
        super().close()


@pytest.mark.parametrize(
    ("module", "name", "faulty", "found", "patience"),
    [
        (relay_module, "Direction", DropsItsLastChunk, "arrived only", 10.0),
        (relay_module, "Direction", ForgetsTheHalfClose, "never over", 0.5),  # its tunnels do wait that long
        (splice_module, "Splice", KeepsItsPipe, "descriptors stay", 10.0),
    ],
)
async def test_a_planted_fault_is_found(
    module: object, name: str, faulty: type, found: str, patience: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, faulty)
    world = await explore(100, patience)
    for descriptor in KeepsItsPipe.kept:
        os.close(descriptor)
    KeepsItsPipe.kept.clear()
    assert any(found in problem for problem in world.wrong)
