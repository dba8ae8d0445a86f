"""A tunnel whose bytes are bounded, on real sockets: what earlier ones moved too much is waited for."""

import asyncio
import gc
import weakref
from math import inf

import pytest

from gateway.model.limits.limit import Retry
from gateway.model.reasons import Reason
from gateway.model.record import Side, Transfer
from gateway.model.roles import Meter, Pace
from gateway.net.paced_relay import joining_for
from gateway.net.relay import LONGEST_LOOK, Relay
from gateway.net.splice import Splices
from tests.helpers.deadlines import HandDeadlines
from tests.helpers.streams import receive_exactly, reset, send, stream_and_peer
from tests.helpers.tunnel import kernel_form, run, user_form

DEBT = 0.4  # seconds
HELLO = b"what came before the tunnel"


class InDebt:
    """Fulfils `roles.Pace`: there is something to be waited for at first, and nothing afterwards."""

    piece = 1 << 20

    def __init__(self) -> None:
        self.spent = 0

    def spend(self, size: int) -> float:
        self.spent += size
        return 0.0

    def settle(self) -> float:
        return DEBT

    def refuse(self) -> Retry:
        raise AssertionError("no budget is spent")


class Broke(InDebt):
    """Nothing may move any more."""

    def __init__(self) -> None:
        super().__init__()
        self.refused = 0

    def settle(self) -> float:
        return inf

    def refuse(self) -> Retry:
        self.refused += 1
        return Retry(60.0)


class DeepInDebt(InDebt):
    """After every byte there is an hour to be waited for."""

    def spend(self, size: int) -> float:
        return 3600.0

    def settle(self) -> float:
        return 0.0


class Metered:
    """Fulfils `roles.Meter`."""

    def __init__(self, up: Pace | None, down: Pace | None) -> None:
        self.up = up
        self.down = down


@pytest.mark.parametrize("splices", [user_form(), kernel_form()], ids=["user", "kernel"])
@pytest.mark.parametrize("held", [b"", HELLO], ids=["nothing held", "a hello held"])
async def test_a_debt_is_waited_for_before_anything_new_is_read(splices: Splices, held: bytes) -> None:
    downstream, client = await stream_and_peer()
    upstream, origin = await stream_and_peer()
    with client, origin:
        if held:
            await send(client, held)
            await downstream.more()
        pace = InDebt()
        meter: Meter = Metered(pace, None)
        relay = Relay(downstream, upstream, Transfer(), HandDeadlines(), splices, 3600.0)
        loop = asyncio.get_running_loop()
        begun_at = loop.time()
        running = asyncio.ensure_future(run(relay, downstream, upstream, joining_for(meter)))
        await asyncio.sleep(0)
        assert downstream.receiver is not None  # it has begun
        assert await receive_exactly(origin, len(held)) == held
        await send(client, b"more")
        assert await receive_exactly(origin, 4) == b"more"
        assert loop.time() - begun_at >= DEBT - 0.01
        assert pace.spent == len(held) + 4
        running.cancel()
        await asyncio.wait([running])


async def test_a_spent_budget_ends_a_tunnel_and_is_counted_once_though_it_bounds_both_directions() -> None:
    downstream, client = await stream_and_peer()
    upstream, origin = await stream_and_peer()
    with client, origin:
        pace, transfer = Broke(), Transfer()
        relay = Relay(downstream, upstream, transfer, HandDeadlines(), user_form(), 3600.0)
        await run(relay, downstream, upstream, joining_for(Metered(pace, pace)))
        assert (transfer.ended_by, transfer.reason) == (Side.GATEWAY, Reason.BUDGET_SPENT)
        assert pace.refused == 1


async def test_a_tunnel_that_is_over_is_not_held_until_its_debt_would_be_paid() -> None:
    downstream, client = await stream_and_peer()
    upstream, origin = await stream_and_peer()
    with client, origin:
        relay = Relay(downstream, upstream, Transfer(), HandDeadlines(), user_form(), 3600.0)
        pace = InDebt()
        running = asyncio.ensure_future(relay.run(joining_for(Metered(pace, None))))
        await asyncio.sleep(0)
        relay.cut(Reason.IDLE_TIMEOUT)
        await running
        held = weakref.ref(pace)
        del relay, running, pace
        gc.collect()
        assert held() is None


@pytest.mark.parametrize("splices", [user_form(), kernel_form()], ids=["user", "kernel"])
async def test_a_client_that_is_gone_is_noticed_before_its_debt_is_paid(splices: Splices) -> None:
    downstream, client = await stream_and_peer()
    upstream, origin = await stream_and_peer()
    with client, origin:
        deadlines, transfer = HandDeadlines(), Transfer()
        relay = Relay(downstream, upstream, transfer, deadlines, splices, 3600.0)
        running = asyncio.ensure_future(run(relay, downstream, upstream, joining_for(Metered(DeepInDebt(), None))))
        await send(client, HELLO)
        assert await receive_exactly(origin, len(HELLO)) == HELLO
        reset(client)
        deadlines.advance(3 * LONGEST_LOOK)
        await running
        assert (transfer.ended_by, transfer.reason) == (Side.DOWNSTREAM, Reason.DOWNSTREAM_RESET)
        with pytest.raises(ConnectionResetError):
            await receive_exactly(origin, 1)


class Slow(InDebt):
    """After the first bytes there is something to be waited for, and nothing later."""

    def spend(self, size: int) -> float:
        self.spent += size
        return DEBT if self.spent == size else 0.0

    def settle(self) -> float:
        return 0.0


@pytest.mark.parametrize("both", [False, True], ids=["one way", "both ways"])
@pytest.mark.parametrize("splices", [user_form(), kernel_form()], ids=["user", "kernel"])
async def test_a_tunnel_does_not_idle_while_it_makes_up_for_its_bytes_and_may_from_then_on(
    splices: Splices, both: bool
) -> None:
    downstream, client = await stream_and_peer()
    upstream, origin = await stream_and_peer()
    with client, origin:
        deadlines, transfer = HandDeadlines(), Transfer()
        relay = Relay(downstream, upstream, transfer, deadlines, splices, idle=4.0)
        meter = Metered(Slow(), Slow() if both else None)
        running = asyncio.ensure_future(run(relay, downstream, upstream, joining_for(meter)))
        await send(client, HELLO)
        assert await receive_exactly(origin, len(HELLO)) == HELLO
        if both:
            await send(origin, HELLO)
            assert await receive_exactly(client, len(HELLO)) == HELLO
        deadlines.advance(40.0)
        await asyncio.sleep(2 * DEBT)
        assert not running.done()
        deadlines.advance(4.0)
        await asyncio.sleep(0)
        assert transfer.reason is None
        deadlines.advance(1.0)
        reason = transfer.reason
        running.cancel()
        await asyncio.wait([running])
        assert reason is Reason.IDLE_TIMEOUT
