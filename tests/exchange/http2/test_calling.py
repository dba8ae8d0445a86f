"""A connection to a destination that speaks HTTP/2, on a real socket."""

import asyncio
import socket
import time

import pytest

from gateway.exchange.http2.calling import Calling
from gateway.model.record import Dialled
from gateway.model.roles import Upstream
from gateway.net.stream import Stream
from gateway.wire.http2.codes import MAX_CONCURRENT_STREAMS
from gateway.wire.http2.frames import settings_frame
from tests.helpers.streams import receive_all, stream_and_peer
from tests.telemetry.drafts import address

NO_STREAMS = settings_frame([(MAX_CONCURRENT_STREAMS, 0)])
DIALLED = Dialled(address("127.0.0.1"), (), (), None, 0.001)


async def test_one_is_closed_in_order_and_at_once() -> None:
    stream, peer = await stream_and_peer()
    with peer:
        calling = Calling(Upstream(DIALLED, stream), time.monotonic)
        await asyncio.sleep(0)
        calling.close()
        said = await receive_all(peer)
        assert said.startswith(b"PRI * HTTP/2.0\r\n\r\n")
        assert said[-17:] == b"\0\0\x08\x07\0\0\0\0\0" + bytes(8)  # GOAWAY
        await until_lost(stream)


async def test_one_whose_destination_takes_nothing_does_not_stay_open_for_ever() -> None:
    stream, peer = await stream_and_peer()
    with peer:
        calling = Calling(Upstream(DIALLED, stream), time.monotonic)
        while stream.queued() < 256 * 1024:  # the kernel takes some megabytes
            stream.write(bytes(64 * 1024))
            await asyncio.sleep(0)
        calling.close()
        await until_lost(stream)
        with pytest.raises(ConnectionResetError):
            await receive_all(peer)


async def test_one_whose_destination_has_ended_it_is_closed_like_any() -> None:
    stream, peer = await stream_and_peer()
    with peer:
        calling = Calling(Upstream(DIALLED, stream), time.monotonic)
        peer.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(5):
            await calling.settled
        assert calling.is_gone
        calling.close()
        await until_lost(stream)


async def test_one_that_takes_no_stream_any_more_is_not_kept_when_its_last_exchange_is_over() -> None:
    stream, peer = await stream_and_peer()
    with peer:
        calling = Calling(Upstream(DIALLED, stream), time.monotonic)
        call = calling.call()
        call.expect("GET", False, lambda: None)
        peer.sendall(NO_STREAMS)
        async with asyncio.timeout(5):
            await calling.settled
        assert not calling.is_gone
        call.close()
        await until_lost(stream)


async def until_lost(stream: Stream) -> None:
    async with asyncio.timeout(5):
        while not stream.is_lost:  # noqa: ASYNC110  # a stream tells its receiver only, and it has none by now
            await asyncio.sleep(0)
