"""A connection to a destination that speaks HTTP/2, on a real socket."""

import asyncio
import contextlib
import socket
import struct
import time
from typing import cast

import pytest
from hpack import Encoder

from gateway.exchange.http2.channel import Channel
from gateway.exchange.http2.upstream import SharedConnection, open_first_stream
from gateway.model.errors import UpstreamError
from gateway.model.reasons import Reason
from gateway.model.record import Dialled
from gateway.model.roles import Upstream
from gateway.net.stream import Stream
from gateway.wire.http.codec import Bounds
from gateway.wire.http2.codes import ENABLE_CONNECT_PROTOCOL, MAX_CONCURRENT_STREAMS, MAX_HEADER_LIST_SIZE, ErrorCode
from gateway.wire.http2.frames import goaway_frame, header_frames, settings_frame
from tests.helpers.streams import receive, receive_all, send, stream_and_peer
from tests.helpers.walk import FakeDialer, KeepingRecorder, build_services
from tests.policy.builders import build
from tests.telemetry.drafts import address

REQUEST = [(":method", "GET"), (":scheme", "https"), (":authority", "a.test"), (":path", "/")]
NO_STREAMS = settings_frame([(MAX_CONCURRENT_STREAMS, 0)])
DIALLED = Dialled(address("127.0.0.1"), (), (), None, 0.001)


async def test_one_is_closed_in_order_and_at_once() -> None:
    stream, peer = await stream_and_peer()
    with peer:
        connection = SharedConnection(Upstream(DIALLED, stream), time.monotonic)
        await asyncio.sleep(0)
        connection.close()
        said = await receive_all(peer)
        assert said.startswith(b"PRI * HTTP/2.0\r\n\r\n")
        assert said[-17:] == b"\0\0\x08\x07\0\0\0\0\0" + bytes(8)  # GOAWAY
        await until_lost(stream)


async def test_one_whose_destination_takes_nothing_does_not_stay_open_for_ever() -> None:
    stream, peer = await stream_and_peer()
    with peer:
        connection = SharedConnection(Upstream(DIALLED, stream), time.monotonic)
        while stream.queued() < 256 * 1024:  # the kernel takes some megabytes
            stream.write(bytes(64 * 1024))
            await asyncio.sleep(0)
        connection.close()
        await until_lost(stream)
        with pytest.raises(ConnectionResetError):
            await receive_all(peer)


async def test_one_whose_destination_has_ended_it_is_closed_like_any() -> None:
    stream, peer = await stream_and_peer()
    with peer:
        connection = SharedConnection(Upstream(DIALLED, stream), time.monotonic)
        peer.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(5):
            await connection.settled
        assert connection.is_gone
        connection.close()
        await until_lost(stream)


async def test_one_that_takes_no_stream_any_more_is_not_kept_when_its_last_exchange_is_over() -> None:
    stream, peer = await stream_and_peer()
    with peer:
        connection = SharedConnection(Upstream(DIALLED, stream), time.monotonic)
        request = connection.new_stream()
        request.expect("GET", False, lambda: None)
        peer.sendall(NO_STREAMS)
        async with asyncio.timeout(5):
            await connection.settled
        assert not connection.is_gone
        request.close()
        await until_lost(stream)


async def test_one_whose_destination_leaves_at_once_is_asked_nothing() -> None:
    """RFC 9113 section 6.8: no stream is opened after a GOAWAY, and none would be answered."""
    stream, peer = await stream_and_peer()
    with peer:
        await send(peer, settings_frame([]) + goaway_frame(0, ErrorCode.NO_ERROR))
        assert await stream.more()
        connection = SharedConnection(Upstream(DIALLED, stream), time.monotonic)
        with pytest.raises(UpstreamError) as failure:
            connection.new_stream().expect("GET", False, lambda: None)
        assert failure.value.reason is Reason.CONNECTION_TERMINATED
        connection.close()


@pytest.mark.parametrize(("bound", "passes"), [(2048, False), (128 * 1024, True)])
async def test_the_bound_of_heads_holds_for_answers_and_the_destination_is_told(bound: int, passes: bool) -> None:
    """Also a higher one than what holds if none is given."""
    fields = [(f"x-{number}", "-" * 1000) for number in range(100 if passes else 3)]
    answer = header_frames(1, Encoder().encode([(":status", "200"), *fields]), ends=True)
    stream, peer = await stream_and_peer()
    services, changed = build_services(build(), FakeDialer(), KeepingRecorder()), asyncio.Event()
    services.exchanges.follow("gw", Bounds(bound))
    key = address("127.0.0.1"), "key"
    with peer:
        await send(peer, settings_frame([]))
        request = await open_first_stream(Upstream(DIALLED, stream), key, services.pool, services.exchanges)
        request.expect("GET", False, changed.set)
        cast("Channel", request.stream).begin(REQUEST, b"", ())
        told = await receive(peer)
        assert struct.pack(">HL", MAX_HEADER_LIST_SIZE, bound) in told
        await send(peer, answer)
        async with asyncio.timeout(5):
            await changed.wait()
        with contextlib.nullcontext() if passes else pytest.raises(UpstreamError) as failure:
            request.check()
        assert failure is None or failure.value.reason is Reason.RESPONSE_HEAD_TOO_LARGE
        assert len(request.inlet.heads) == passes
        services.pool.close()


@pytest.mark.parametrize("offered", [True, False])
async def test_a_web_socket_is_asked_for_once_the_destination_has_offered_it(offered: bool) -> None:
    """RFC 8441 section 3, also of the connection that is dialled for it."""
    stream, peer = await stream_and_peer()
    services = build_services(build(), FakeDialer(), KeepingRecorder())
    key = address("127.0.0.1"), "key"
    with peer:
        first = open_first_stream(Upstream(DIALLED, stream), key, services.pool, services.exchanges)
        async with asyncio.TaskGroup() as group:
            opening = group.create_task(first)
            await receive(peer)
            await send(peer, settings_frame([(ENABLE_CONNECT_PROTOCOL, 1)] * offered))
        request = opening.result()
        with contextlib.nullcontext() if offered else pytest.raises(UpstreamError) as failure:
            request.expect("GET", True, lambda: None)
        assert failure is None or failure.value.reason is Reason.UPGRADE_FAILED
        request.expect("GET", False, lambda: None)
        services.pool.close()


async def test_nobody_shares_one_before_it_is_known_how_many_streams_it_takes() -> None:
    """Else all that wait for a connection would have their streams on this one, and most of them refused."""
    stream, peer = await stream_and_peer()
    services = build_services(build(), FakeDialer(), KeepingRecorder())
    key = address("127.0.0.1"), "key"
    with peer:
        first = open_first_stream(Upstream(DIALLED, stream), key, services.pool, services.exchanges)
        async with asyncio.TaskGroup() as group:
            group.create_task(first)
            await receive(peer)
            assert services.pool.take(key) is None
            await send(peer, settings_frame([(MAX_CONCURRENT_STREAMS, 2)]))
        assert services.pool.take(key) is not None
        assert services.pool.take(key) is None
        services.pool.close()


async def test_one_that_is_given_up_before_it_is_settled_is_closed() -> None:
    stream, peer = await stream_and_peer()
    services = build_services(build(), FakeDialer(), KeepingRecorder())
    key = address("127.0.0.1"), "key"
    with peer:
        opening = asyncio.create_task(
            open_first_stream(Upstream(DIALLED, stream), key, services.pool, services.exchanges)
        )
        await receive(peer)
        opening.cancel()
        await asyncio.wait([opening])
        await until_lost(stream)


async def until_lost(stream: Stream) -> None:
    async with asyncio.timeout(5):
        while not stream.is_lost:  # noqa: ASYNC110  # a stream tells its receiver only, and it has none by now
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("presents", "reason"), [(False, Reason.UPSTREAM_WANTS_CERTIFICATE), (True, Reason.UPSTREAM_TLS_ALERT)]
)
async def test_one_that_ends_over_a_certificate_of_ours_wants_one_if_it_saw_none(
    presents: bool, reason: Reason
) -> None:
    stream, peer = await stream_and_peer()
    with peer:
        connection = SharedConnection(Upstream(DIALLED, stream, presents=presents), time.monotonic)
        stream.alert = "bad certificate"
        connection.session.lost()
        with pytest.raises(UpstreamError) as refusal:
            connection.new_stream().expect("GET", False, lambda: None)
        connection.close()
    assert refusal.value.reason is reason
