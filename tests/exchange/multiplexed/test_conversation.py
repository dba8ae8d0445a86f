"""Requests on one connection of HTTP/2, on real sockets, the client's frames in the test's own hands."""

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import cast

import pytest
from hpack import Decoder, Encoder

from gateway.exchange.multiplexed.conversation import converse_in_streams
from gateway.exchange.parts import Parts
from gateway.exchange.plan import RequestPlan
from gateway.exchange.scope import Judged, Scope
from gateway.exchange.upstream import pool_key
from gateway.model.client import Client
from gateway.model.decision import Deny, Timeouts
from gateway.model.errors import Refused
from gateway.model.reasons import Reason
from gateway.model.record import Draft, Ended, ExchangeDraft, Side
from gateway.net import stream as stream_module
from gateway.net.stream import Stream
from gateway.wire.http2 import codes
from gateway.wire.http2.frames import Frame, FrameReader, frame, header_frames, settings_frame, window_frame
from tests.helpers.deadlines import HandDeadlines
from tests.helpers.streams import receive, send, stream_and_peer
from tests.helpers.walk import FakeDialer, KeepingRecorder, build_services
from tests.policy.builders import build
from tests.telemetry.drafts import accepted, address, asked, permit_of

PSEUDO = [(":method", "GET"), (":scheme", "https"), (":authority", "a.test"), (":path", "/")]
GET = Encoder().encode(PSEUDO)
POST = Encoder().encode([(":method", "POST"), *PSEUDO[1:]])
LITTLE = 16 * 1024
PATIENT = Timeouts(head=5, idle=5)
IMPATIENT = Timeouts(head=0.6, idle=5)
OPENING = codes.PREFACE + settings_frame([])
HALF_A_HEAD = frame(codes.HEADERS, codes.END_STREAM, 3, GET)


class NobodyMay:
    """Fulfils `Scope` for requests that are refused."""

    is_secure = False

    async def judge(self, plan: RequestPlan, draft: ExchangeDraft, now: float) -> Judged:
        raise Refused(Deny(Reason.NO_RULE, 1))

    def sum_up(self, draft: ExchangeDraft) -> None:
        """Nothing that matters here."""


@asynccontextmanager
async def client_of(
    scope: Scope, recorder: KeepingRecorder, timeouts: Timeouts = PATIENT
) -> AsyncIterator["PlainClient"]:
    """Its connection is closed when the conversation is over, as its owner does it."""
    downstream, sock = await stream_and_peer(held=LITTLE)
    parts, draft = build_services(build(), FakeDialer(), recorder).exchanges, accepted()

    async def serve() -> None:
        await converse_in_streams(downstream, draft, scope, parts, timeouts, extended_connect=False)
        await downstream.aclose()

    serving = asyncio.create_task(serve())
    with sock:
        try:
            yield PlainClient(sock, parts, draft, downstream, serving)
        finally:
            serving.cancel()
            await asyncio.wait([serving])
            downstream.abort()
            assert serving.cancelled() or serving.exception() is None


class PlainClient:
    """Without TLS."""

    def __init__(
        self, sock: socket.socket, parts: Parts, draft: Draft, downstream: Stream, serving: "asyncio.Task[None]"
    ) -> None:
        self.sock = sock
        self.parts = parts
        self.draft = draft
        self.downstream = downstream
        self.serving = serving
        self._reader = FrameReader(awaits_preface=False)
        self._come: list[Frame] = []

    async def next(self, *kinds: int) -> Frame:
        """The next frame of these kinds."""
        async with asyncio.timeout(60):
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
        assert dict(Decoder().decode(head.payload, raw=True))[b":status"] == b"403"
        await asyncio.sleep(0.05)
        await send(client.sock, window_frame(1, 65535))
        content = await client.next(codes.DATA, codes.RST_STREAM)
        assert content.kind == codes.DATA
        assert b"(no_rule, " in content.payload
        assert content.ends_stream or (await client.next(codes.DATA, codes.RST_STREAM)).ends_stream
    [exchange] = recorder.exchanges
    assert (exchange.status, exchange.reason) == (403, Reason.NO_RULE)


@pytest.mark.parametrize(("size", "kept"), [(100, 1), (30_000, 0)])
async def test_no_plan_of_a_large_request_is_kept_while_the_connection_waits(size: int, kept: int) -> None:
    async with client_of(cast("Scope", NobodyMay()), KeepingRecorder()) as client:
        block = Encoder().encode([*PSEUDO, ("x", "-" * size)])
        await send(client.sock, OPENING + header_frames(1, block, True))
        while not (await client.next(codes.HEADERS, codes.DATA)).ends_stream:
            pass
        await asyncio.sleep(0.01)
        gc.collect()
        assert sum(isinstance(each, RequestPlan) for each in gc.get_objects()) == kept


async def test_a_client_that_takes_a_little_of_its_answer_and_then_nothing_is_not_waited_for_twice() -> None:
    recorder, deadlines = KeepingRecorder(), HandDeadlines()
    async with client_of(cast("Scope", NobodyMay()), recorder) as client:
        client.parts.deadlines = deadlines  # it has not begun
        no_window = settings_frame([(codes.INITIAL_WINDOW_SIZE, 0)])
        await send(client.sock, codes.PREFACE + no_window + header_frames(1, GET, True))
        await client.next(codes.HEADERS)
        deadlines.advance(PATIENT.idle / 4)
        await asyncio.sleep(0.01)
        await send(client.sock, window_frame(1, 10))
        assert len((await client.next(codes.DATA)).payload) == 10
        for _ in range(5):
            assert not recorder.exchanges
            deadlines.advance(PATIENT.idle / 4)
            await asyncio.sleep(0.01)
        assert [each.reason for each in recorder.exchanges] == [Reason.NO_RULE]


async def test_an_extended_connect_that_was_not_offered_resets_its_stream() -> None:
    recorder, fields = KeepingRecorder(), [(":method", "CONNECT"), (":protocol", "websocket"), *PSEUDO[1:]]
    async with client_of(cast("Scope", NobodyMay()), recorder) as client:
        head = header_frames(1, Encoder().encode(fields), False)
        await send(client.sock, codes.PREFACE + settings_frame([]) + head)
        reset = await client.next(codes.HEADERS, codes.RST_STREAM)
        assert (reset.kind, reset.payload) == (codes.RST_STREAM, bytes([0, 0, 0, codes.ErrorCode.PROTOCOL_ERROR]))
        await send(client.sock, header_frames(3, GET, True))
        assert (await client.next(codes.HEADERS)).stream == 3
    assert recorder.exchanges[0].reason is Reason.MALFORMED_REQUEST


class EverybodyMay(NobodyMay):
    async def judge(self, plan: RequestPlan, draft: ExchangeDraft, now: float) -> Judged:
        permit, asking = permit_of(asked()), Client(address("10.0.0.1"))
        return Judged(permit, asking, permit.authority, pool_key(asking, permit, draft.connection.peer))


async def test_a_slow_client_gets_all_that_it_was_answered_before_a_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "LINGER_SECONDS", 0.05)
    recorder, value = KeepingRecorder(), "x" * 30_000
    async with client_of(cast("Scope", EverybodyMay()), recorder) as client:
        windows = settings_frame([(codes.INITIAL_WINDOW_SIZE, 1 << 20)]) + window_frame(0, 1 << 24)
        await send(client.sock, codes.PREFACE + windows)
        trace = [(":method", "TRACE"), *PSEUDO[1:], ("max-forwards", "0"), ("x-much", value)]
        for number in range(1, 9, 2):
            await send(client.sock, header_frames(number, Encoder().encode(trace), True))
        async with asyncio.timeout(10):
            while len(recorder.exchanges) < 4:  # noqa: ASYNC110  # a recorder tells nobody
                await asyncio.sleep(0.01)
        client.parts.drain()
        await asyncio.sleep(0.3)
        ended = 0
        while ended < 4:
            frame = await client.next(codes.DATA)
            ended += frame.ends_stream


async def test_a_request_that_comes_in_the_turn_in_which_its_connection_is_cut_off_is_recorded() -> None:
    recorder = KeepingRecorder()
    async with client_of(cast("Scope", NobodyMay()), recorder) as client:
        await asyncio.sleep(0)
        client.serving.cancel()
        client.downstream.data_received(codes.PREFACE + settings_frame([]) + header_frames(1, GET, True))
        await asyncio.wait([client.serving])
    assert [each.number for each in recorder.exchanges] == [1]


class NobodyYet(NobodyMay):
    """Whose requests wait, and need a turn of the loop to leave."""

    def __init__(self) -> None:
        self.judged = 0

    async def judge(self, plan: RequestPlan, draft: ExchangeDraft, now: float) -> Judged:
        self.judged += 1
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
        raise AssertionError("only a cancellation gets here")


async def test_no_request_begins_while_those_of_a_connection_that_is_cut_off_are_leaving() -> None:
    recorder, scope = KeepingRecorder(), NobodyYet()
    async with client_of(cast("Scope", scope), recorder) as client:
        await send(client.sock, codes.PREFACE + settings_frame([]) + header_frames(1, GET, True))
        async with asyncio.timeout(5):
            while not scope.judged:  # noqa: ASYNC110
                await asyncio.sleep(0)
        client.serving.cancel()
        await asyncio.sleep(0.01)
        client.downstream.data_received(header_frames(3, GET, True))
        await asyncio.wait([client.serving])
    assert ([each.number for each in recorder.exchanges], scope.judged) == ([1], 1)


async def test_one_that_is_cut_off_again_while_its_requests_are_leaving_leaves_nothing_behind() -> None:
    recorder, scope, deadlines = KeepingRecorder(), NobodyYet(), HandDeadlines()
    async with client_of(cast("Scope", scope), recorder) as client:
        client.parts.deadlines = deadlines  # it has not begun
        await send(client.sock, OPENING + header_frames(1, GET, True) + HALF_A_HEAD)
        async with asyncio.timeout(5):
            while not (scope.judged and deadlines.pending()):  # noqa: ASYNC110
                await asyncio.sleep(0)
        for _ in range(2):
            client.serving.cancel()
            await asyncio.sleep(0.01)
        await asyncio.wait([client.serving])
        assert client.downstream.receiver is None
        assert deadlines.pending() == 0


async def test_a_request_that_is_cut_off_because_its_client_left_was_ended_by_the_client() -> None:
    recorder, scope = KeepingRecorder(), NobodyYet()
    async with client_of(cast("Scope", scope), recorder) as client:
        await send(client.sock, codes.PREFACE + settings_frame([]) + header_frames(1, GET, True))
        async with asyncio.timeout(5):
            while not scope.judged:  # noqa: ASYNC110
                await asyncio.sleep(0)
        client.sock.close()
        await asyncio.wait_for(client.serving, 5)
    [exchange] = recorder.exchanges
    assert exchange.reason is Reason.DOWNSTREAM_RESET
    assert (exchange.transfer.ended, exchange.transfer.ended_by) == (Ended.RESET, Side.DOWNSTREAM)


async def _trickle(sock: socket.socket, pieces: Sequence[bytes]) -> None:
    """Each of them in time, had it been the first."""
    with suppress(OSError):
        for piece in pieces:
            await send(sock, piece)
            await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    "pieces",
    [
        [OPENING + HALF_A_HEAD],
        [OPENING + header_frames(3, GET, True)[:-1]],
        [OPENING + HALF_A_HEAD[:4]],
        [OPENING + HALF_A_HEAD, *[frame(codes.CONTINUATION, 0, 3)] * 8],
        [OPENING, *[bytes([byte]) for byte in header_frames(3, GET, True)]],
        [OPENING + HALF_A_HEAD + frame(codes.CONTINUATION, 0, 3, b"x" * 100)[:50]],
        [OPENING, HALF_A_HEAD, frame(codes.CONTINUATION, codes.END_HEADERS, 3) + header_frames(5, GET, True)[:-1]],
        [],
        [OPENING[:10]],
        [bytes([byte]) for byte in OPENING],
    ],
    ids=lambda pieces: "",
)
async def test_a_head_and_what_comes_before_the_first_have_their_time_to_be_complete(pieces: list[bytes]) -> None:
    recorder = KeepingRecorder()
    async with client_of(cast("Scope", NobodyMay()), recorder, IMPATIENT) as client:
        trickling = asyncio.create_task(_trickle(client.sock, pieces))
        goaway = await client.next(codes.GOAWAY)
        trickling.cancel()
        assert goaway.payload[4:] == bytes([0, 0, 0, codes.ErrorCode.ENHANCE_YOUR_CALM])
        await asyncio.wait([client.serving])
    transfer = client.draft.transfer
    assert (client.draft.reason, transfer.ended, transfer.ended_by) == (
        Reason.HEAD_TIMEOUT, Ended.TIMEOUT, Side.DOWNSTREAM,
    )  # fmt: skip


async def test_requests_that_wait_end_with_the_connection_on_which_a_head_is_too_slow() -> None:
    recorder, scope = KeepingRecorder(), NobodyYet()
    async with client_of(cast("Scope", scope), recorder, IMPATIENT) as client:
        await send(client.sock, OPENING + header_frames(1, GET, True) + HALF_A_HEAD)
        assert (await client.next(codes.GOAWAY)).payload[:4] == bytes([0, 0, 0, 1])
        await asyncio.wait([client.serving])
    assert [(each.number, each.reason) for each in recorder.exchanges] == [(1, Reason.HEAD_TIMEOUT)]


async def test_heads_that_come_in_pieces_and_in_time_end_no_connection() -> None:
    async with client_of(cast("Scope", NobodyMay()), KeepingRecorder(), IMPATIENT) as client:
        await send(client.sock, OPENING)
        for number in range(1, 13, 2):
            head = header_frames(number, GET, True)
            await send(client.sock, head[:-1])
            await asyncio.sleep(0.1)
            await send(client.sock, head[-1:])
            assert (await client.next(codes.HEADERS, codes.GOAWAY)).kind == codes.HEADERS
        await asyncio.sleep(0.9)
        await send(client.sock, header_frames(13, GET, True))
        assert (await client.next(codes.HEADERS, codes.GOAWAY)).kind == codes.HEADERS


async def test_a_piece_of_content_has_more_time_than_a_head() -> None:
    async with client_of(cast("Scope", NobodyMay()), KeepingRecorder(), IMPATIENT) as client:
        await send(client.sock, OPENING + header_frames(1, POST, False) + frame(codes.DATA, 0, 1, b"x" * 100)[:50])
        await asyncio.sleep(0.9)
        await send(client.sock, b"x" * 59 + header_frames(3, GET, True))
        assert [(await client.next(codes.HEADERS, codes.GOAWAY)).kind for _ in range(2)] == [codes.HEADERS] * 2
