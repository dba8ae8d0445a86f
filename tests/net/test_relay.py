"""Open tunnels on real sockets, in user space and spliced."""

import asyncio
import random
import socket
from collections.abc import Callable

import psutil
import pytest

from gateway.model.reasons import Reason
from gateway.model.record import Ended, Side, Transfer
from gateway.net.relay import Relay
from gateway.net.splice import Splices
from tests.helpers.deadlines import HandDeadlines
from tests.helpers.streams import receive, receive_all, receive_exactly, reset, send, stream_and_peer
from tests.helpers.tunnel import Tunnel, kernel_form, open_tunnel, user_form

BULK = random.Random(1).randbytes(3_000_000)

forms = pytest.mark.parametrize("form", [user_form, kernel_form])
Form = Callable[[], Splices]


async def warm(tunnel: Tunnel) -> int:
    """Bytes in both directions, enough for `kernel_form` to splice both. Answers how many went each way."""
    for _ in range(4):
        await send(tunnel.client, b"u" * 2048)
        await receive_exactly(tunnel.origin, 2048)
        await send(tunnel.origin, b"d" * 2048)
        await receive_exactly(tunnel.client, 2048)
    assert tunnel.splices.open == (0 if tunnel.splices.descriptors.are_scarce() else 2)
    return 4 * 2048


@forms
async def test_bytes_and_both_ends_are_carried_both_ways_and_counted(form: Form) -> None:
    async with open_tunnel(form()) as tunnel:
        warmed = await warm(tunnel)
        up, down = (
            asyncio.ensure_future(send(tunnel.client, BULK)),
            asyncio.ensure_future(send(tunnel.origin, BULK[7:])),
        )
        got_up, got_down = await asyncio.gather(
            receive_exactly(tunnel.origin, len(BULK)), receive_exactly(tunnel.client, len(BULK) - 7)
        )
        assert got_up == BULK
        assert got_down == BULK[7:]
        await asyncio.gather(up, down)
        tunnel.client.shutdown(socket.SHUT_WR)
        assert await receive(tunnel.origin) == b""
        tunnel.origin.shutdown(socket.SHUT_WR)
        assert await receive(tunnel.client) == b""
        assert await tunnel.over() == Transfer(
            warmed + len(BULK), warmed + len(BULK) - 7, 17.5, Ended.CLOSED, Side.DOWNSTREAM, None
        )


@forms
@pytest.mark.parametrize("first", [Side.DOWNSTREAM, Side.UPSTREAM])
async def test_after_one_side_ended_the_other_still_sends_all_it_has(form: Form, first: Side) -> None:
    async with open_tunnel(form()) as tunnel:
        await warm(tunnel)
        one, other = (tunnel.client, tunnel.origin) if first is Side.DOWNSTREAM else (tunnel.origin, tunnel.client)
        await send(one, b"question")
        one.shutdown(socket.SHUT_WR)
        assert await receive_all(other) == b"question"
        assert not tunnel.running.done()
        answering = asyncio.ensure_future(send(other, BULK))
        assert await receive_exactly(one, len(BULK)) == BULK
        await answering
        other.close()
        assert await receive(one) == b""
        transfer = await tunnel.over()
        assert (transfer.ended, transfer.ended_by, transfer.reason) == (Ended.CLOSED, first, None)


@forms
async def test_an_end_does_not_overtake_the_bytes_before_it(form: Form) -> None:
    async with open_tunnel(form()) as tunnel:
        await warm(tunnel)
        await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(send(tunnel.client, BULK[:500_000]))), 5)
        tunnel.client.shutdown(socket.SHUT_WR)
        for _ in range(20):
            await asyncio.sleep(0)
        assert await receive_all(tunnel.origin) == BULK[:500_000]
        tunnel.origin.close()
        assert (await tunnel.over()).ended is Ended.CLOSED


@forms
@pytest.mark.parametrize(
    ("side", "reason"), [(Side.DOWNSTREAM, Reason.DOWNSTREAM_RESET), (Side.UPSTREAM, Reason.UPSTREAM_RESET)]
)
async def test_a_reset_of_one_side_resets_the_other(form: Form, side: Side, reason: Reason) -> None:
    async with open_tunnel(form()) as tunnel:
        warmed = await warm(tunnel)
        breaking, other = (tunnel.client, tunnel.origin) if side is Side.DOWNSTREAM else (tunnel.origin, tunnel.client)
        reset(breaking)
        with pytest.raises(ConnectionResetError):
            await receive(other)
        assert await tunnel.over() == Transfer(warmed, warmed, 17.5, Ended.RESET, side, reason)


@forms
async def test_a_side_that_breaks_while_it_is_written_to_ends_the_tunnel(form: Form) -> None:
    async with open_tunnel(form()) as tunnel:
        await warm(tunnel)
        sending = asyncio.ensure_future(send(tunnel.client, BULK * 10))
        await receive_exactly(tunnel.origin, 100_000)
        tunnel.origin.close()  # unread bytes: the kernel resets
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await sending
        transfer = await tunnel.over()
        assert (transfer.ended, transfer.reason) == (Ended.RESET, Reason.UPSTREAM_RESET)
        assert 100_000 <= transfer.bytes_up < 10 * len(BULK)


@forms
async def test_a_slow_reader_makes_the_sender_wait_and_memory_stays_bounded(form: Form) -> None:
    async with open_tunnel(form()) as tunnel:
        data = BULK * 20
        before = psutil.Process().memory_info().rss
        sending = asyncio.ensure_future(send(tunnel.client, data))
        await asyncio.wait([sending], timeout=0.5)
        assert not sending.done()
        assert tunnel.upstream.queued() < 64 * 1024 + 256_000
        assert tunnel.transfer.bytes_up < len(data) / 2
        assert psutil.Process().memory_info().rss - before < 8_000_000
        assert await receive_exactly(tunnel.origin, len(data)) == data
        await sending
        assert tunnel.transfer.bytes_up == len(data)


async def test_what_was_held_before_goes_first() -> None:
    downstream, client = await stream_and_peer()
    upstream, origin = await stream_and_peer()
    with client, origin:
        await send(client, b"hello, ")
        await send(origin, b"220 ready")
        client.shutdown(socket.SHUT_WR)
        while await downstream.more():
            pass
        while not upstream.peek():
            await upstream.more()
        transfer = Transfer()
        relay = Relay(downstream, upstream, transfer, HandDeadlines(), user_form(), 60.0, None)
        running = asyncio.ensure_future(relay.run())
        assert await receive_all(origin) == b"hello, "
        origin.close()
        await running
        assert (transfer.bytes_up, transfer.bytes_down, transfer.ended) == (7, 9, Ended.CLOSED)
        assert transfer.first_byte_at is not None
        await downstream.aclose()
        await upstream.aclose()
        assert await receive_all(client) == b"220 ready"


async def test_a_side_that_was_lost_before_the_relay_began_ends_it_at_once() -> None:
    downstream, client = await stream_and_peer()
    upstream, origin = await stream_and_peer()
    with client:
        reset(origin)
        assert not await upstream.more()
        transfer = Transfer()
        await Relay(downstream, upstream, transfer, HandDeadlines(), user_form(), 60.0, None).run()
        assert (transfer.ended, transfer.ended_by, transfer.reason) == (
            Ended.RESET,
            Side.UPSTREAM,
            Reason.UPSTREAM_RESET,
        )
        with pytest.raises(ConnectionResetError):
            await receive(client)


@forms
async def test_an_idle_tunnel_is_reset_by_the_gateway_when_nothing_moved_for_long_enough(form: Form) -> None:
    async with open_tunnel(form(), idle=100.0) as tunnel:
        await warm(tunnel)
        tunnel.deadlines.advance(99.0)
        await send(tunnel.client, b"x")
        await receive_exactly(tunnel.origin, 1)
        tunnel.deadlines.advance(99.0)
        assert not tunnel.running.done()
        tunnel.deadlines.advance(26.0)
        transfer = await tunnel.over()
        assert (transfer.ended, transfer.ended_by, transfer.reason) == (
            Ended.TIMEOUT,
            Side.GATEWAY,
            Reason.IDLE_TIMEOUT,
        )
        for end in (tunnel.client, tunnel.origin):
            with pytest.raises(ConnectionResetError):
                await receive(end)


async def test_a_tunnel_without_a_byte_idles_from_its_start() -> None:
    async with open_tunnel(user_form(), idle=100.0) as tunnel:
        await asyncio.sleep(0)
        tunnel.deadlines.advance(99.9)
        assert tunnel.transfer.ended is None
        tunnel.deadlines.advance(0.1)
        assert (await tunnel.over()).reason is Reason.IDLE_TIMEOUT


@forms
async def test_a_peer_that_reads_nothing_counts_as_idle_and_what_it_did_not_take_is_not_counted(form: Form) -> None:
    async with open_tunnel(form(), idle=100.0) as tunnel:
        sending = asyncio.ensure_future(send(tunnel.client, BULK * 10))
        await asyncio.wait([sending], timeout=0.3)
        tunnel.deadlines.advance(25.0)
        queued, written = tunnel.upstream.queued(), tunnel.transfer.bytes_up
        tunnel.deadlines.advance(100.0)
        transfer = await tunnel.over()
        assert (transfer.reason, transfer.bytes_up) == (Reason.IDLE_TIMEOUT, written - queued)
        with pytest.raises(ConnectionResetError):
            await sending


async def test_a_silent_upstream_is_probed_by_the_kernel() -> None:
    async with open_tunnel(user_form()) as tunnel:
        await warm(tunnel)
        sock = tunnel.upstream.transport.get_extra_info("socket")
        assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        tunnel.deadlines.advance(121.0)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


@forms
async def test_a_lifetime_ends_a_busy_tunnel(form: Form) -> None:
    async with open_tunnel(form(), lifetime=10.0) as tunnel:
        warmed = await warm(tunnel)
        tunnel.deadlines.advance(9.9)
        await warm(tunnel)
        tunnel.deadlines.advance(0.1)
        assert await tunnel.over() == Transfer(
            2 * warmed, 2 * warmed, 17.5, Ended.TIMEOUT, Side.GATEWAY, Reason.LIFETIME_REACHED
        )


@forms
async def test_a_tunnel_that_ends_earlier_leaves_no_alarm_for_its_lifetime(form: Form) -> None:
    async with open_tunnel(form(), lifetime=10.0) as tunnel:
        await warm(tunnel)
        tunnel.client.close()
        tunnel.origin.close()
        await tunnel.over()
        assert tunnel.deadlines.pending() == 0


@forms
async def test_a_cancelled_relay_leaves_true_counts_and_the_streams_to_their_owner(form: Form) -> None:
    async with open_tunnel(form()) as tunnel:
        warmed = await warm(tunnel)
        tunnel.running.cancel()
        await asyncio.wait([tunnel.running])
        assert tunnel.transfer == Transfer(warmed, warmed, 17.5)
        assert tunnel.downstream.receiver is tunnel.upstream.receiver is None
        assert tunnel.downstream.feeder is tunnel.upstream.feeder is None


async def test_what_a_side_had_not_taken_when_the_relay_was_cancelled_is_not_counted() -> None:
    async with open_tunnel(user_form()) as tunnel:
        sending = asyncio.ensure_future(send(tunnel.client, BULK * 10))
        await asyncio.wait([sending], timeout=0.3)
        queued, written = tunnel.upstream.queued(), tunnel.transfer.bytes_up
        tunnel.running.cancel()
        await asyncio.wait([tunnel.running])
        assert queued
        assert tunnel.transfer.bytes_up == written - queued
        with pytest.raises(ConnectionResetError):
            await sending


async def test_the_first_byte_of_a_response_stays_the_first_when_a_tunnel_follows_its_head() -> None:
    async with open_tunnel(user_form()) as tunnel:
        tunnel.transfer.first_byte_at = 3.5
        await send(tunnel.origin, b"x")
        await receive_exactly(tunnel.client, 1)
        assert tunnel.transfer.first_byte_at == 3.5


async def test_bytes_that_a_loop_delivers_after_reading_was_paused_come_before_what_is_spliced() -> None:
    async with open_tunnel(kernel_form()) as tunnel:
        await asyncio.sleep(0)
        receiver = tunnel.downstream.receiver
        assert receiver is not None
        receiver.received(b"a" * 5000)
        receiver.received(b"b" * 5000)  # in the same turn: handing over has begun
        await send(tunnel.client, b"c" * 5000)
        assert await receive_exactly(tunnel.origin, 15000) == b"a" * 5000 + b"b" * 5000 + b"c" * 5000
        assert tunnel.splices.open == 1


async def test_an_end_that_comes_while_it_is_being_cancelled_is_no_fault() -> None:
    downstream, client = await stream_and_peer()
    upstream, origin = await stream_and_peer()
    with client, origin:
        relay = Relay(downstream, upstream, Transfer(), HandDeadlines(), user_form(), 60.0, None)
        running = asyncio.ensure_future(relay.run())
        await asyncio.sleep(0)
        running.cancel()
        downstream.eof_received()
        upstream.eof_received()
        with pytest.raises(asyncio.CancelledError):
            await running
        upstream.abort()
        downstream.abort()


async def test_a_side_that_took_too_little_before_the_tunnel_began_is_not_sent_more() -> None:
    """As a client that has not read earlier answers when it is switched to another protocol."""
    downstream, client = await stream_and_peer()
    upstream, origin = await stream_and_peer()
    with client, origin:
        while not downstream.is_congested:
            downstream.write(bytes(64 * 1024))
            await asyncio.sleep(0)
        before = downstream.queued()
        relay = Relay(downstream, upstream, Transfer(), HandDeadlines(), user_form(), 3600.0)
        running = asyncio.ensure_future(relay.run())
        sending = asyncio.ensure_future(send(origin, bytes(20_000_000)))
        await asyncio.wait([sending], timeout=0.3)
        assert not sending.done()
        assert downstream.queued() <= before
        for task in (sending, running):
            task.cancel()
        await asyncio.wait([sending, running])
        downstream.abort()
        upstream.abort()


async def test_what_a_side_had_not_taken_before_the_tunnel_began_is_not_subtracted_from_what_went_through_it() -> None:
    downstream, client = await stream_and_peer()
    upstream, origin = await stream_and_peer()
    with client:
        while not downstream.is_congested:
            downstream.write(bytes(64 * 1024))
            await asyncio.sleep(0)
        relay = Relay(downstream, upstream, transfer := Transfer(), HandDeadlines(), user_form(), 3600.0)
        running = asyncio.ensure_future(relay.run())
        reset(origin)
        await asyncio.wait_for(running, 20)
        assert (transfer.reason, transfer.bytes_up, transfer.bytes_down) == (Reason.UPSTREAM_RESET, 0, 0)
