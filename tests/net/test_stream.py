"""The byte stream on real sockets."""

import asyncio
import socket
from collections.abc import Callable

import pytest

from gateway.net import stream as stream_module
from gateway.net.stream import HOLD_BOUND, Stream
from tests.helpers.streams import receive, receive_all, reset, send, stream_and_peer


async def settled(stream: Stream, size: int) -> None:
    """Wait until the stream holds `size` bytes."""
    while len(stream.peek()) < size:
        assert await stream.more()


async def until_lost(stream: Stream) -> None:
    while not stream.is_lost:  # noqa: ASYNC110 - it is told to nobody but the relay
        await asyncio.sleep(0)


async def test_what_is_peeked_stays_and_only_consume_takes() -> None:
    stream, peer = await stream_and_peer()
    with peer:
        await send(peer, b"head|rest")
        await settled(stream, 9)
        assert stream.peek() == stream.peek() == b"head|rest"
        stream.consume(5)
        assert stream.peek() == b"rest"
        stream.consume(4)
        assert stream.peek() == b""
        await stream.aclose()


async def test_more_waits_for_bytes_beyond_those_held() -> None:
    stream, peer = await stream_and_peer()
    with peer:
        await send(peer, b"one")
        await settled(stream, 3)
        waiting = asyncio.ensure_future(stream.more())
        await asyncio.sleep(0)
        assert not waiting.done()
        await send(peer, b"two")
        assert await waiting
        assert stream.peek() == b"onetwo"
        await stream.aclose()


async def test_more_tells_the_end_and_what_came_before_it_stays() -> None:
    stream, peer = await stream_and_peer()
    with peer:
        await send(peer, b"last")
        peer.shutdown(socket.SHUT_WR)
        while await stream.more():
            pass
        assert stream.peek() == b"last"
        assert stream.has_ended
        assert not stream.was_reset
        stream.write(b"answer")
        assert await receive(peer) == b"answer"
        await stream.aclose()


async def test_a_reset_is_an_end_that_was_reset_tells_apart() -> None:
    stream, peer = await stream_and_peer()
    reset(peer)
    assert not await stream.more()
    assert stream.was_reset
    assert not stream.has_ended
    stream.write(b"into the void")
    await stream.aclose()
    stream.abort()


async def test_a_break_is_seen_while_nothing_is_read_and_an_orderly_end_is_none() -> None:
    for breaks in (True, False):
        stream, peer = await stream_and_peer()
        stream.transport.pause_reading()
        await send(peer, b"unread")
        assert not stream.broke_unnoticed()
        if breaks:
            reset(peer)
        else:
            stream.end()
            assert await receive_all(peer) == b""
            peer.close()
        assert stream.broke_unnoticed() is breaks
        stream.transport.resume_reading()
        assert not stream.broke_unnoticed()  # it is going to be told
        await stream.aclose()


async def test_a_cancelled_wait_leaves_the_stream_usable() -> None:
    stream, peer = await stream_and_peer()
    with peer:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stream.more(), 0.01)
        await send(peer, b"late")
        await settled(stream, 4)
        await stream.aclose()


async def test_reading_pauses_at_the_bound_until_something_is_consumed() -> None:
    stream, peer = await stream_and_peer(bound=1000)
    with peer:
        await send(peer, b"x" * 1000)
        while len(stream.peek()) < 1000:  # noqa: ASYNC110 - to wait for more would read on
            await asyncio.sleep(0)
        assert not stream.transport.is_reading()
        stream.consume(1)
        assert stream.transport.is_reading()
        await stream.aclose()


async def test_an_unread_peer_can_make_the_stream_hold_one_read_beyond_the_bound_at_most() -> None:
    stream, peer = await stream_and_peer(bound=1000)
    with peer:
        flood = asyncio.ensure_future(send(peer, b"x" * 8_000_000))
        done, _ = await asyncio.wait([flood], timeout=0.2)
        assert not done
        assert 1000 <= len(stream.peek()) < 1000 + 256_000
        flood.cancel()
        stream.abort()


async def test_who_asks_for_more_gets_it_beyond_the_bound() -> None:
    stream, peer = await stream_and_peer(bound=10)
    with peer:
        await send(peer, b"x" * 10)
        await settled(stream, 10)
        await send(peer, b"y")
        assert await stream.more()
        assert stream.peek() == b"x" * 10 + b"y"
        await stream.aclose()


async def test_closing_flushes_what_is_queued() -> None:
    stream, peer = await stream_and_peer()
    with peer:
        data = bytes(range(256)) * 40_000
        stream.write(data)
        assert stream.queued()
        closing = asyncio.ensure_future(stream.aclose())
        assert await receive_all(peer) == data
        peer.close()
        await closing
        await until_lost(stream)


async def test_closing_over_unread_input_does_not_reset_the_answer_away() -> None:
    stream, peer = await stream_and_peer(bound=1000)
    with peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        flood = asyncio.ensure_future(send(peer, b"x" * 3_000_000))
        await settled(stream, 1000)
        stream.write(b"431")
        closing = asyncio.ensure_future(stream.aclose())
        await flood
        assert await receive_all(peer) == b"431"
        peer.close()
        await closing


async def test_closing_does_not_wait_for_ever_for_a_peer_that_keeps_its_side_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream_module, "LINGER_SECONDS", 0.05)
    stream, peer = await stream_and_peer()
    with peer:
        stream.write(b"bye")
        await asyncio.wait_for(stream.aclose(), 5)
        await until_lost(stream)
        assert await receive_all(peer) == b"bye"


async def test_closing_resets_a_peer_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "LINGER_SECONDS", 0.05)
    stream, peer = await stream_and_peer()
    with peer:
        stream.write(b"x" * 20_000_000)
        await asyncio.wait_for(stream.aclose(), 5)
        await until_lost(stream)
        with pytest.raises(ConnectionResetError):
            await receive_all(peer)


async def test_closing_that_is_cancelled_while_it_waits_closes_all_the_same() -> None:
    stream, peer = await stream_and_peer()
    with peer:
        stream.write(b"bye")
        closing = asyncio.ensure_future(stream.aclose())
        assert await receive_all(peer) == b"bye"  # so it waits for the peer's end
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        await until_lost(stream)


async def test_a_stream_with_bytes_that_a_relay_has_queued_does_not_close_at_once() -> None:
    stream, peer = await stream_and_peer()
    with peer:
        while not stream.queued():
            stream.transport.write(bytes(64 * 1024))
        assert not stream.close()
        assert not stream.transport.is_closing()
        stream.abort()


async def test_a_stream_closes_at_once_unless_the_peer_may_still_be_reading() -> None:
    stream, peer = await stream_and_peer()
    with peer:
        stream.write(b"answer")
        assert not stream.close()
        assert not stream.transport.is_closing()
        peer.shutdown(socket.SHUT_WR)
        assert not await stream.more()
        assert stream.close()
        assert stream.transport.is_closing()
        assert stream.close()
        assert await receive_all(peer) == b"answer"


async def test_a_stream_that_was_never_written_to_closes_without_waiting() -> None:
    stream, peer = await stream_and_peer()
    with peer:
        closing = stream.aclose()
        with pytest.raises(StopIteration):
            closing.send(None)
        await stream.aclose()
        assert await receive(peer) == b""


async def test_abort_sends_a_reset() -> None:
    stream, peer = await stream_and_peer()
    with peer:
        stream.write(b"x")
        stream.abort()
        stream.abort()
        with pytest.raises(ConnectionResetError):
            await receive_all(peer)
        assert not await stream.more()
        await stream.aclose()


async def test_abort_after_an_orderly_close_does_not_turn_it_into_a_reset() -> None:
    stream, peer = await stream_and_peer()
    with peer:
        stream.write(b"whole")
        peer.shutdown(socket.SHUT_WR)
        assert not await stream.more()
        await stream.aclose()
        stream.abort()
        assert await receive_all(peer) == b"whole"


async def test_small_writes_are_not_delayed_and_a_silent_peer_can_be_probed() -> None:
    stream, peer = await stream_and_peer()
    with peer:
        sock = stream.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        stream.keep_alive()
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
        await stream.aclose()
        await until_lost(stream)
        stream.keep_alive()


async def test_who_waits_is_told_though_another_who_was_called_off_is_only_leaving() -> None:
    """As where a lease was waited for, which looks whether the client is still there, and the dial fails at once."""
    stream, peer = await stream_and_peer()
    with peer:
        looking = asyncio.ensure_future(stream.absence())
        await asyncio.sleep(0)
        looking.cancel()
        asyncio.get_running_loop().call_later(0.05, peer.send, b"x")
        async with asyncio.timeout(5):
            assert await stream.more()
        stream.abort()


@pytest.mark.parametrize("leave", [reset, socket.socket.close])
async def test_a_peer_that_has_sent_more_than_is_held_is_missed_when_it_leaves(
    leave: Callable[[socket.socket], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "LOOK_SECONDS", 0.05)
    stream, peer = await stream_and_peer()
    await send(peer, bytes(2 * HOLD_BOUND))
    await settled(stream, HOLD_BOUND)
    absence = asyncio.ensure_future(stream.absence())
    await asyncio.sleep(0.2)
    assert not absence.done()
    leave(peer)
    async with asyncio.timeout(5):
        await absence
    assert (stream.has_ended, stream.is_lost) == (False, False)  # the loop does not read, and was not told
    stream.abort()


class Listening:
    """Fulfils `Receiver`."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.heard: list[bytes | str] = []

    def received(self, data: bytes) -> None:
        self.heard.append(data)

    def ended(self) -> None:
        self.heard.append("ended")

    def lost(self) -> None:
        self.heard += [self.stream.received_before_reset(), "lost"]


async def test_what_a_peer_has_said_before_its_reset_can_be_heard_although_a_write_met_that_first() -> None:
    stream, peer = await stream_and_peer()
    listening = stream.receiver = Listening(stream)
    stream.write(b"that nobody reads")
    peer.send(b"last words")
    peer.close()  # over unread input: a reset
    stream.write(b"what meets it")
    await until_lost(stream)
    assert listening.heard == [b"last words", "lost"]


async def test_a_stream_is_congested_until_its_peer_has_taken_what_waited() -> None:
    stream, peer = await stream_and_peer()
    said: list[bool] = []
    with peer:
        while True not in said:
            stream.write(bytes(64 * 1024))
            await asyncio.sleep(0)
            said.append(stream.is_congested)
        while stream.queued():
            await receive(peer)
        assert stream.is_congested is False
        stream.abort()
