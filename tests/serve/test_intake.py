"""The first bytes in a tunnel."""

import asyncio

from gateway.serve.intake import client_speaks_first
from tests.helpers.streams import send, stream_and_peer


async def test_a_destination_that_has_spoken_already_is_not_waited_for_to_speak_again() -> None:
    """Its greeting may come in the same turn of the loop as the connection."""
    downstream, client = await stream_and_peer()
    upstream, origin = await stream_and_peer()
    with client, origin:
        await send(origin, b"220 ready\r\n")
        await upstream.more()
        async with asyncio.timeout(5):
            assert not await client_speaks_first(downstream, upstream, 60)
        downstream.abort()
        upstream.abort()


async def test_a_client_that_speaks_just_as_the_wait_for_it_begins_is_heard_at_once() -> None:
    """The loop may read its first bytes before anybody has begun to wait; nobody would be woken by them."""
    downstream, client = await stream_and_peer()
    upstream, origin = await stream_and_peer()
    with client, origin:
        asyncio.get_running_loop().call_soon(downstream.data_received, b"\x16")
        async with asyncio.timeout(5):
            assert await client_speaks_first(downstream, upstream, 60)
        downstream.abort()
        upstream.abort()
