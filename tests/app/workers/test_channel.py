"""Frames arrive whole and in their order; what nobody reads is bounded."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.app.workers.channel import POST_BYTES, Channel, ChannelBroken, Kind, Message


@asynccontextmanager
async def channel(bound: int = 4 * POST_BYTES) -> AsyncIterator[tuple[Channel, Channel]]:
    one, other = socket.socketpair()
    ends = await Channel.over(one, bound), await Channel.over(other, bound)
    try:
        yield ends
    finally:
        for end in ends:
            end.close()
        await asyncio.sleep(0)


async def test_messages_arrive_as_they_were_sent() -> None:
    async with channel() as (down, up):
        sent = [Message(Kind.FRAME, bytes(size)) for size in (0, 1, 70_000)]
        for message in sent:
            sending = asyncio.create_task(down.send(*message))
            assert await up.receive() == message
            await sending


async def test_the_end_of_the_peer_is_the_end_of_the_stream_also_inside_a_message() -> None:
    one, other = socket.socketpair()
    end = await Channel.over(one)
    other.sendall(b"\x00\x00\x00\x05\x02ab")
    other.close()
    assert await end.receive() is None
    await end.send(Kind.TAKE)  # is lost, and no error: the peer's end shows where it is read
    end.close()


@pytest.mark.parametrize(
    ("said", "fault"),
    [(b"\x00\x00\x10\x01\x02", "a message of 4097 bytes"), (b"\x00\x00\x00\x00\xff", "a message of an unknown kind")],
)
async def test_what_no_peer_of_ours_sends_is_refused_before_it_is_held(said: bytes, fault: str) -> None:
    one, other = socket.socketpair()
    end = await Channel.over(one, bound=4096)
    with other:
        other.sendall(said)
        with pytest.raises(ChannelBroken, match=fault):
            await end.receive()
    end.close()


async def test_a_peer_that_does_not_read_makes_send_wait_and_post_drop() -> None:
    async with channel() as (down, up):
        assert down.post(Kind.FRAME, bytes(2 * POST_BYTES))
        assert not down.post(Kind.REOPEN_LOGS)
        sending = asyncio.create_task(down.send(Kind.DRAIN))
        await asyncio.sleep(0)
        assert not sending.done()
        assert [(await up.receive() or Message(Kind.TAKEN, b"")).kind for _ in range(2)] == [Kind.FRAME, Kind.DRAIN]
        await sending
        assert down.post(Kind.REOPEN_LOGS)
