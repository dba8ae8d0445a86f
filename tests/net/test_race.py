import asyncio
from collections.abc import Iterable

import pytest

from gateway.model.addresses import Address
from gateway.model.errors import UpstreamError
from gateway.model.reasons import Reason
from gateway.net.race import AT_ONCE, interleave, race
from gateway.net.stream import Stream
from tests.net.parts import addresses

ONE, TWO, THREE = addresses("203.0.113.1", "203.0.113.2", "203.0.113.3")
LONG = 60.0


class CountedStream(Stream):
    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


class Network:
    """Attempts succeed when their gate opens and fail if their address says so."""

    def __init__(self, failing: dict[Address, Reason] | None = None) -> None:
        self.failing = failing or {}
        self.gates: dict[Address, asyncio.Event] = {}
        self.streams: dict[Address, CountedStream] = {}
        self.running = 0

    async def connect(self, address: Address) -> CountedStream:
        self.gates[address] = asyncio.Event()
        if address in self.failing:
            raise UpstreamError(self.failing[address], str(address))
        self.running += 1
        try:
            await self.gates[address].wait()
        finally:
            self.running -= 1
        self.streams[address] = CountedStream()
        return self.streams[address]

    async def started(self, count: int) -> None:
        async with asyncio.timeout(2):
            while len(self.gates) < count:  # noqa: ASYNC110 # what is waited for is the subject's own doing
                await asyncio.sleep(0)


async def settle() -> None:
    """Give cancelled tasks the turns of the loop that they need to end."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_the_families_alternate_with_ipv6_first() -> None:
    four, six = addresses("203.0.113.1", "203.0.113.2"), addresses("2001:db8::1", "2001:db8::2", "2001:db8::3")

    assert interleave(four + six) == [six[0], four[0], six[1], four[1], six[2]]
    assert interleave(four) == list(four)


async def test_a_fast_first_address_is_the_only_one_tried() -> None:
    network = Network()
    racing = asyncio.create_task(race([ONE, TWO], network.connect, LONG))
    await network.started(1)
    network.gates[ONE].set()

    assert await racing == (ONE, network.streams[ONE])
    assert list(network.gates) == [ONE]


async def test_a_slow_address_does_not_hold_up_the_next_and_is_given_up_when_that_wins() -> None:
    network = Network()
    racing = asyncio.create_task(race([ONE, TWO, THREE], network.connect, 0.01))
    await network.started(3)
    network.gates[THREE].set()

    assert (await racing)[0] == THREE
    await settle()
    assert network.running == 0
    assert list(network.streams) == [THREE]


async def test_a_failure_starts_the_next_attempt_at_once() -> None:
    network = Network(failing={ONE: Reason.CONNECTION_REFUSED})
    racing = asyncio.create_task(race([ONE, TWO], network.connect, LONG))
    await network.started(2)
    network.gates[TWO].set()

    assert (await racing)[0] == TWO


async def test_of_two_that_connect_at_once_the_first_wins_and_the_other_is_closed() -> None:
    network = Network()
    racing = asyncio.create_task(race([ONE, TWO], network.connect, 0.0))
    await network.started(2)
    network.gates[TWO].set()
    network.gates[ONE].set()

    assert (await racing)[0] == ONE
    await settle()
    assert not network.streams[ONE].aborted
    assert network.streams[TWO].aborted


async def test_a_race_that_is_cancelled_when_somebody_just_connected_closes_that_one() -> None:
    network = Network()
    racing = asyncio.create_task(race([ONE, TWO], network.connect, 0.0))
    await network.started(2)
    network.gates[TWO].set()
    while TWO not in network.streams:  # noqa: ASYNC110 # one turn of the loop at a time: the race must not see it yet
        await asyncio.sleep(0)
    racing.cancel()

    with pytest.raises(asyncio.CancelledError):
        await racing
    await settle()
    assert network.streams[TWO].aborted
    assert network.running == 0


async def test_never_more_than_a_few_attempts_are_under_way() -> None:
    many = addresses(*(f"203.0.113.{last}" for last in range(64)))
    network = Network()
    racing = asyncio.create_task(race(many, network.connect, 0.0))
    await network.started(AT_ONCE)
    await asyncio.sleep(0.02)
    assert network.running == AT_ONCE

    racing.cancel()
    await asyncio.wait([racing])
    await settle()
    assert network.running == 0


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        ([Reason.CONNECTION_UNROUTABLE, Reason.CONNECTION_REFUSED, Reason.DNS_TIMEOUT], Reason.CONNECTION_REFUSED),
        ([Reason.CONNECTION_UNROUTABLE, Reason.CONNECTION_UNROUTABLE], Reason.CONNECTION_UNROUTABLE),
    ],
)
async def test_when_all_fail_the_most_telling_failure_is_told(reasons: Iterable[Reason], told: Reason) -> None:
    failing = dict(zip((ONE, TWO, THREE), reasons, strict=False))

    with pytest.raises(UpstreamError) as caught:
        await race(list(failing), Network(failing).connect, LONG)
    assert caught.value.reason is told
