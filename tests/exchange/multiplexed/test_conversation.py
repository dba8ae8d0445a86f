"""Requests on one connection of HTTP/2, on real sockets, the client's frames in the test's own hands."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from hpack import Decoder, Encoder

from gateway.exchange.conversation import Patience
from gateway.exchange.multiplexed.conversation import converse_in_streams
from gateway.exchange.scope import Judged, Scope
from gateway.model.decision import Deny
from gateway.model.errors import Refused
from gateway.model.reasons import Reason
from gateway.model.record import ExchangeDraft
from gateway.wire.http.messages import Request
from gateway.wire.http2 import codes
from gateway.wire.http2.frames import Frame, FrameReader, header_frames, settings_frame, window_frame
from gateway.wire.target import Target
from tests.helpers.streams import receive, send, stream_and_peer
from tests.helpers.walk import FakeDialer, KeepingRecorder, build_services
from tests.policy.builders import build
from tests.telemetry.drafts import accepted

GET = Encoder().encode([(":method", "GET"), (":scheme", "https"), (":authority", "a.test"), (":path", "/")])


class NobodyMay:
    """Fulfils `Scope` for requests that are refused."""

    is_verified = False

    async def judge(self, request: Request, target: Target, draft: ExchangeDraft, now: float) -> Judged:
        raise Refused(Deny(Reason.NO_RULE, 1))

    def sum_up(self, draft: ExchangeDraft) -> None:
        """Nothing that matters here."""


@asynccontextmanager
async def client_of(scope: Scope, recorder: KeepingRecorder) -> AsyncIterator["Client"]:
    downstream, sock = await stream_and_peer()
    parts = build_services(build(), FakeDialer(), recorder).exchanges
    talking = asyncio.create_task(
        converse_in_streams(downstream, accepted(), scope, parts, Patience(head=5, idle=5), connects=False)
    )
    with sock:
        try:
            yield Client(sock)
        finally:
            talking.cancel()
            await asyncio.wait([talking])
            downstream.abort()


class Client:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._reader = FrameReader(awaits_preface=False)
        self._come: list[Frame] = []

    async def next(self, *kinds: int) -> Frame:
        """The next frame of these kinds."""
        async with asyncio.timeout(5):
            while True:
                while self._come:
                    frame = self._come.pop(0)
                    if frame.kind in kinds:
                        return frame
                self._come += self._reader.feed(await receive(self.sock))


async def test_a_refusal_waits_for_the_clients_window_like_any_answer() -> None:
    recorder = KeepingRecorder()
    async with client_of(cast("Scope", NobodyMay()), recorder) as client:
        no_window = settings_frame([(codes.INITIAL_WINDOW_SIZE, 0)])
        await send(client.sock, codes.PREFACE + no_window + header_frames(1, GET, True))
        head = await client.next(codes.HEADERS, codes.RST_STREAM)
        assert head.kind == codes.HEADERS
        assert (":status", "403") in Decoder().decode(head.payload)
        await asyncio.sleep(0.05)
        await send(client.sock, window_frame(1, 65535))
        content = await client.next(codes.DATA, codes.RST_STREAM)
        assert content.kind == codes.DATA
        assert b"(no_rule, " in content.payload
        assert content.ends_stream or (await client.next(codes.DATA, codes.RST_STREAM)).ends_stream
    [exchange] = recorder.exchanges
    assert (exchange.status, exchange.reason) == (403, Reason.NO_RULE)
