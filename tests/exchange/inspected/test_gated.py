"""Content goes into an outlet when its gate lets it, framed as the outlet frames, at the outlet's pace."""

import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from gateway.exchange.http1.inlets import RequestInlet
from gateway.exchange.inlet import Outlet
from gateway.exchange.inspected.gated import GatedOutlet
from gateway.exchange.pacing.outlet import OutletPacing, paced
from gateway.model.inspection.watching import FULL, Sink
from gateway.model.limits.limit import Retry
from gateway.net.stream import Stream
from gateway.wire.http.codec import DEFAULT_BOUNDS, open_codec
from gateway.wire.http.messages import End
from tests.helpers.streams import receive_exactly, stream_and_peer


class HandGate:
    """Lets go of what the test says. Fulfils `watching.Gate`."""

    has_ended = False

    def __init__(self) -> None:
        self.fed = b""
        self.free = 0
        self.is_complete = False
        self.sink: Sink | None = None

    @property
    def waiting(self) -> int:
        return len(self.fed)

    @property
    def is_full(self) -> bool:
        return self.waiting > FULL

    def feed(self, data: bytes) -> None:
        self.fed += data
        self.let_go(0)

    def finish(self) -> None:
        self.is_complete = True
        self.let_go(0)

    def open_to(self, sink: Sink) -> None:
        self.sink = sink

    def let_go(self, size: int) -> None:
        """So many bytes more, and the end if all are gone."""
        assert self.sink is not None
        self.free += size
        data, self.fed = self.fed[: self.free], self.fed[self.free :]
        self.free -= len(data)
        if data:
            self.sink.passed(data)
        if self.is_complete and not self.fed and not self.has_ended:
            self.has_ended = True
            self.sink.ended()


class CountingPace:
    """Fulfils `roles.Pace`."""

    piece = 1 << 20

    def __init__(self) -> None:
        self.spent = 0
        self.seconds = 0.0

    def spend(self, size: int) -> float:
        self.spent += size
        return self.seconds

    def settle(self) -> float:
        return 0.0

    def refuse(self) -> Retry:
        raise AssertionError("no budget is spent")


@dataclass
class Bench:
    upstream: Stream
    inlet: RequestInlet
    gate: HandGate
    gated: GatedOutlet
    pace: CountingPace
    peer: socket.socket

    async def arrived(self, size: int) -> bytes:
        return await receive_exactly(self.peer, size)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    upstream, peer = await stream_and_peer()
    downstream, client = await stream_and_peer()
    inlet = RequestInlet(downstream, open_codec("auto").request_reader(DEFAULT_BOUNDS), lambda: None)
    gate, pace = HandGate(), CountingPace()
    gated = paced(GatedOutlet(Outlet(upstream, inlet, is_chunked=True), gate), pace)
    yield Bench(upstream, inlet, gate, gated, pace, peer)
    for stream in (upstream, downstream):
        stream.abort()
    for each in (peer, client):
        each.close()


async def test_what_is_let_go_at_once_goes_with_the_head_in_the_framing_of_the_outlet(bench: Bench) -> None:
    bench.gate.free = 3
    assert bench.gated.framed(b"abcde") == b"3\r\nabc\r\n"
    assert (bench.gated.size, bench.pace.spent, bench.gate.waiting) == (3, 3, 2)
    bench.gate.free = 2
    assert bench.gated.ending(End()) == b"2\r\nde\r\n0\r\n\r\n"
    assert (bench.gated.size, bench.pace.spent) == (5, 5)


async def test_content_that_is_held_back_keeps_its_exchange_from_idling(bench: Bench) -> None:
    told: list[int] = []
    bench.gated.source.tell = lambda: told.append(bench.gate.waiting)
    bench.gated.write(b"ab")
    bench.gated.write(b"c")
    assert told == [2, 3]
    bench.gate.let_go(3)
    bench.gate.free = 2
    bench.gated.write(b"de")
    assert (told, await bench.arrived(15)) == ([2, 3], b"3\r\nabc\r\n2\r\nde\r\n")


async def test_what_is_let_go_later_is_written_and_the_end_behind_it(bench: Bench) -> None:
    assert bench.gated.framed(b"abcde") == b""
    assert bench.gated.ending(End((("Sum", "1"),))) == b""
    bench.gate.let_go(2)
    bench.gate.let_go(3)
    expected = b"2\r\nab\r\n3\r\ncde\r\n0\r\nSum: 1\r\n\r\n"
    assert await bench.arrived(len(expected)) == expected


async def test_while_its_gate_is_full_the_source_is_not_read(bench: Bench) -> None:
    bench.inlet.attach()
    bench.inlet.pour_into(bench.gated)
    bench.gated.write(b"x" * (FULL + 1))
    assert not bench.inlet._stream.transport.is_reading()
    bench.gated.go_on()
    assert not bench.inlet._stream.transport.is_reading()
    bench.gate.let_go(1)
    bench.gated.go_on()
    assert bench.inlet._stream.transport.is_reading()
    bench.inlet.detach()


async def test_a_pace_that_has_rested_does_not_have_the_source_of_a_full_gate_read(bench: Bench) -> None:
    bench.inlet.attach()
    bench.inlet.pour_into(bench.gated)
    bench.pace.seconds = 60.0
    bench.gated.write(b"x" * (FULL + 2))
    bench.gate.let_go(1)
    pacing = bench.gated.pacing
    assert isinstance(pacing, OutletPacing)
    assert pacing.is_resting
    pacing._go_on()
    assert not bench.inlet._stream.transport.is_reading()
    bench.pace.seconds = 0.0
    bench.gate.let_go(1)
    bench.gated.go_on()
    assert bench.inlet._stream.transport.is_reading()
    bench.inlet.detach()
