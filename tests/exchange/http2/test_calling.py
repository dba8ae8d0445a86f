"""A connection to a destination that speaks HTTP/2, on a real socket."""

import asyncio
import socket
import time

import pytest

from gateway.exchange.http2.calling import Calling
from gateway.model.errors import UpstreamError
from gateway.model.reasons import Reason
from gateway.model.record import Dialled
from gateway.model.roles import Upstream
from gateway.net.stream import Stream
from gateway.wire.http2.codes import ErrorCode
from gateway.wire.http2.frames import goaway_frame, settings_frame
from tests.helpers.streams import receive_all, send, stream_and_peer
from tests.telemetry.drafts import address

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


async def test_one_whose_destination_leaves_at_once_is_asked_nothing() -> None:
    """RFC 9113 section 6.8: no stream is opened after a GOAWAY, and none would be answered."""
    stream, peer = await stream_and_peer()
    with peer:
        await send(peer, settings_frame([]) + goaway_frame(0, ErrorCode.NO_ERROR))
        assert await stream.more()
        calling = Calling(Upstream(DIALLED, stream), time.monotonic)
        with pytest.raises(UpstreamError) as failure:
            calling.call().expect("GET", False, lambda: None)
        assert failure.value.reason is Reason.CONNECTION_TERMINATED
        calling.close()


async def until_lost(stream: Stream) -> None:
    async with asyncio.timeout(5):
        while not stream.is_lost:  # noqa: ASYNC110  # a stream tells its receiver only, and it has none by now
            await asyncio.sleep(0)
