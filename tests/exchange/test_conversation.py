"""Requests on one connection, on real sockets: whatever ends one leaves a truthful record, and nothing stays open."""

import asyncio
import gc
import socket
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import cast

import pytest

from gateway.exchange import exchange as exchange_module
from gateway.exchange.conversation import converse, wait_until_all_taken
from gateway.exchange.inlet import Signal
from gateway.exchange.scope import AnyAuthority
from gateway.model.decision import Permit, Timeouts
from gateway.model.intent import Protocol
from gateway.model.reasons import Reason
from gateway.model.record import Draft, Ended, Side
from gateway.model.roles import Upstream
from gateway.net import stream as stream_module
from gateway.net.stream import HOLD_BOUND, Stream
from tests.helpers.deadlines import HandDeadlines
from tests.helpers.streams import receive, receive_exactly, reset, send, stream_and_peer
from tests.helpers.unlimited import Unlimited
from tests.helpers.walk import FakeDialer, KeepingRecorder, StuckDialer, build_services
from tests.policy.builders import build, rule
from tests.telemetry.drafts import accepted

RULES = build(rule("web", "web.test other.test", ports=(80,), protocol=Protocol.HTTP))
REQUEST = b"GET http://web.test/x HTTP/1.1\r\nHost: web.test\r\n\r\n"
UPLOAD = b"POST http://web.test/x HTTP/1.1\r\nHost: web.test\r\nContent-Length: 1000000\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 2\r\n\r\nok"
SECRET = "hunter2"
LITTLE = 16 * 1024
PATIENT = Timeouts(head=5, idle=5)


class Talk:
    """A connection that is conversed with, the client's socket in the test's hands."""

    def __init__(
        self,
        downstream: Stream,
        client: socket.socket,
        dialer: FakeDialer | StuckDialer,
        limiter: Unlimited,
        timeouts: Timeouts,
    ) -> None:
        self.client = client
        self.downstream = downstream
        self.recorder = KeepingRecorder()
        self.limiter = limiter
        self.draft: Draft = accepted()
        self.services = build_services(RULES, dialer, self.recorder, self.limiter)
        services = self.services
        scope = AnyAuthority(services.rules, services.identifier, self.limiter, services.pool)
        self.task = asyncio.create_task(converse(downstream, self.draft, scope, services.exchanges, timeouts))


@asynccontextmanager
async def talk(
    dialer: FakeDialer | StuckDialer,
    limiter: Unlimited | None = None,
    held: int = 0,
    timeouts: Timeouts = PATIENT,
) -> AsyncIterator[Talk]:
    """On the way to the client the kernel holds little more than `held` bytes, if it is given."""
    downstream, client = await stream_and_peer(held=held)
    talking = Talk(downstream, client, dialer, limiter or Unlimited(), timeouts)
    try:
        yield talking
    finally:
        talking.task.cancel()
        await asyncio.wait([talking.task])
        assert talking.limiter.held == 0
        talking.services.pool.close()
        downstream.abort()
        client.close()
        assert talking.task.cancelled() or talking.task.exception() is None
        if isinstance(dialer, FakeDialer) and dialer.streams:
            assert all(stream.is_lost or stream.transport.is_closing() for stream in dialer.streams)
            dialer.origin.close()


async def asked_and_answered(talking: Talk, dialer: FakeDialer) -> bytes:
    await send(talking.client, REQUEST)
    await dialer.dialled.wait()
    head = await receive(dialer.origin)
    await send(dialer.origin, ANSWER)
    told = await receive_exactly(talking.client, len(ANSWER) + len(b"Via: 1.1 test\r\n"))
    assert told.endswith(b"\r\n\r\nok")
    return head


async def test_two_requests_go_over_one_connection_and_hold_a_lease_only_while_they_last() -> None:
    dialer = FakeDialer()
    async with talk(dialer) as talking:
        for _ in range(2):
            head = await asked_and_answered(talking, dialer)
            assert head == b"GET /x HTTP/1.1\r\nHost: web.test\r\nVia: 1.1 test\r\n\r\n"
            assert talking.limiter.held == 0
        assert len(dialer.permits) == 1
        first, second = talking.recorder.exchanges
    assert [first.number, second.number, talking.draft.requests] == [1, 2, 2]
    assert [first.reused, second.reused] == [False, True]
    assert (first.transfer.ended, first.transfer.ended_by) == (Ended.CLOSED, Side.UPSTREAM)
    assert (talking.draft.transfer.bytes_down, talking.draft.status) == (4, 200)


async def test_one_that_is_cut_off_while_dialling_is_recorded_and_gives_its_lease_back() -> None:
    dialer = StuckDialer()
    async with talk(dialer) as talking:
        await send(talking.client, REQUEST)
        await dialer.dialling.wait()
        assert talking.limiter.held == 1
        talking.task.cancel()
        await asyncio.wait([talking.task])
    [exchange] = talking.recorder.exchanges
    assert (exchange.reason, exchange.transfer.ended) == (Reason.DRAINING, Ended.RESET)
    assert exchange.decision is not None


async def test_one_that_is_cut_off_in_the_midst_of_its_answer_resets_the_destination() -> None:
    dialer = FakeDialer()
    async with talk(dialer) as talking:
        await send(talking.client, REQUEST)
        await dialer.dialled.wait()
        await receive(dialer.origin)
        await send(dialer.origin, ANSWER[:-1])
        assert (await receive(talking.client)).endswith(b"\r\n\r\no")
        talking.task.cancel()
        await asyncio.wait([talking.task])
        with pytest.raises(ConnectionResetError):
            await receive(dialer.origin)
    [exchange] = talking.recorder.exchanges
    assert (exchange.status, exchange.reason) == (200, Reason.DRAINING)


async def test_a_client_that_has_ended_its_side_and_has_nothing_to_take_counts_as_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exchange_module, "HALF_CLOSED", 0.05)
    dialer = FakeDialer()
    async with talk(dialer) as talking:
        await send(talking.client, REQUEST)
        await dialer.dialled.wait()
        await receive(dialer.origin)
        talking.client.close()
        await asyncio.wait([talking.task], timeout=30)
        assert talking.limiter.held == 0
        with pytest.raises(ConnectionResetError):
            await receive(dialer.origin)
    [exchange] = talking.recorder.exchanges
    assert (exchange.status, exchange.reason) == (None, Reason.CLIENT_CLOSED)
    assert (exchange.transfer.ended, exchange.transfer.ended_by) == (Ended.CLOSED, Side.DOWNSTREAM)


async def test_a_client_that_has_ended_its_side_and_listens_gets_its_answer() -> None:
    dialer = FakeDialer()
    async with talk(dialer) as talking:
        await send(talking.client, REQUEST)
        talking.client.shutdown(socket.SHUT_WR)
        await dialer.dialled.wait()
        await receive(dialer.origin)
        await until_ended(talking.downstream)
        await send(dialer.origin, ANSWER)
        assert (await receive(talking.client)).endswith(b"\r\n\r\nok")
    [exchange] = talking.recorder.exchanges
    assert (exchange.status, exchange.reason) == (200, None)


async def test_an_answer_to_a_client_that_closes_within_its_upload_is_cut_off_not_ended() -> None:
    """To a client of HTTP/1.0 an orderly end would say that it is whole."""
    dialer = FakeDialer()
    async with talk(dialer) as talking:
        upload = b"POST http://web.test/x HTTP/1.0\r\nContent-Length: 9\r\n\r\n1234"
        await send(talking.client, upload)
        await dialer.dialled.wait()
        await receive(dialer.origin)
        await send(dialer.origin, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        assert (await receive(talking.client)).endswith(b"\r\n\r\nok")
        talking.client.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionResetError):
            await receive(talking.client)


async def test_a_trailer_that_connection_names_goes_no_further_in_either_direction() -> None:
    dialer = FakeDialer()
    async with talk(dialer) as talking:
        chunks = b"Connection: x-hop\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Hop: 1\r\nX-Sum: 1\r\n\r\n"
        await send(talking.client, b"POST http://web.test/x HTTP/1.1\r\nHost: web.test\r\n" + chunks)
        await dialer.dialled.wait()
        assert (await receive(dialer.origin)).endswith(b"\r\n1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n")
        await send(dialer.origin, b"HTTP/1.1 103 Early Hints\r\nConnection: x-sum\r\n\r\n")
        assert (await receive(talking.client)).startswith(b"HTTP/1.1 103")
        await send(dialer.origin, b"HTTP/1.1 200 OK\r\n" + chunks)
        assert (await receive(talking.client)).endswith(b"\r\n1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n")


async def test_what_has_no_content_is_repeated_whichever_way_it_says_so() -> None:
    dialer = FakeDialer()
    async with talk(dialer) as talking:
        await asked_and_answered(talking, dialer)
        first = dialer.origin
        dialer.dialled.clear()
        await send(talking.client, b"PUT http://web.test/x HTTP/1.1\r\nHost: web.test\r\nContent-Length: 0\r\n\r\n")
        await receive(first)
        reset(first)
        await dialer.dialled.wait()
        assert (await receive(dialer.origin)).startswith(b"PUT /x HTTP/1.1\r\n")
        await send(dialer.origin, ANSWER)
        assert (await receive(talking.client)).endswith(b"\r\n\r\nok")


async def test_an_early_answer_is_heard_although_the_destination_closes_over_the_rest_of_the_request() -> None:
    dialer = FakeDialer()
    async with talk(dialer) as talking:
        await send(talking.client, b"POST http://web.test/x HTTP/1.1\r\nHost: web.test\r\nContent-Length: 9000\r\n\r\n")
        await dialer.dialled.wait()
        await receive(dialer.origin, 1)  # the rest is never read
        talking.client.send(b"x" * 8000)  # comes in the same turn, and goes on before the answer is read
        dialer.origin.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
        dialer.origin.close()
        answer = await receive(talking.client)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert answer.endswith(b"\r\n\r\nno")


class SlowDialer(FakeDialer):
    """Dials once it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may = asyncio.Event()

    async def dial(self, permit: Permit) -> Upstream[Stream]:
        await self.may.wait()
        return await super().dial(permit)


async def test_a_malformed_request_is_answered_although_its_end_is_there_as_well() -> None:
    dialer = SlowDialer()
    async with talk(dialer) as talking:
        await send(talking.client, REQUEST.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"))
        talking.client.shutdown(socket.SHUT_WR)
        await until_ended(talking.downstream)
        dialer.may.set()
        assert (await receive(talking.client)).startswith(b"HTTP/1.1 400 ")
    [exchange] = talking.recorder.exchanges
    assert exchange.reason is Reason.MALFORMED_REQUEST


async def until_ended(stream: Stream) -> None:
    async with asyncio.timeout(60):
        while not stream.has_ended:  # noqa: ASYNC110  # its receiver is the conversation
            await asyncio.sleep(0.01)


async def test_a_bug_is_a_500_and_its_text_reaches_neither_client_nor_record(caplog: pytest.LogCaptureFixture) -> None:
    async with talk(FakeDialer(RuntimeError(f"Authorization was {SECRET}"))) as talking:
        await send(talking.client, REQUEST)
        answer = await receive(talking.client)
        await asyncio.wait([talking.task], timeout=30)
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert SECRET not in answer.decode()
    [exchange] = talking.recorder.exchanges
    assert (exchange.reason, exchange.detail) == (Reason.INTERNAL_ERROR, "RuntimeError")
    assert "Traceback" in caplog.text


async def test_requests_that_came_together_leave_others_their_turns_though_no_answer_is_waited_for() -> None:
    refused = b"GET http://no.test/ HTTP/1.1\r\nHost: no.test\r\n\r\n"
    async with talk(FakeDialer()) as talking:
        answered = [0]
        talking.client.send(refused * 100)
        while answered[-1] < 100:
            await asyncio.sleep(0)
            answered.append(len(talking.recorder.exchanges))
    assert max(after - before for before, after in pairwise(answered)) <= 2


async def test_neither_a_large_request_nor_its_answer_is_kept_while_connections_wait() -> None:
    fields = b"".join(b"X%d: %b\r\n" % (number, b"y" * 50) for number in range(900))
    dialer = FakeDialer()
    async with talk(dialer) as talking:
        await asked_and_answered(talking, dialer)
        tracemalloc.start()
        try:
            await send(talking.client, REQUEST[:-2] + fields + b"\r\n")
            await receive_exactly(dialer.origin, len(b"GET /x HTTP/1.1\r\nHost: web.test\r\n\r\n") + len(fields))
            await send(dialer.origin, ANSWER[:-4] + fields + ANSWER[-4:])
            await receive_exactly(talking.client, len(ANSWER) + len(fields) + len(b"Via: 1.1 test\r\n"))
            await asyncio.sleep(0.01)
            talking.recorder.exchanges.clear()
            gc.collect()
            assert tracemalloc.get_traced_memory()[0] < 30_000
        finally:
            tracemalloc.stop()
        assert len(talking.services.pool) == 1


async def test_an_answer_while_draining_says_that_the_connection_ends() -> None:
    dialer = FakeDialer()
    async with talk(dialer) as talking:
        await send(talking.client, REQUEST)
        await dialer.dialled.wait()
        await receive(dialer.origin)
        talking.services.drain()
        await send(dialer.origin, ANSWER)
        assert b"\r\nConnection: close\r\n" in await receive(talking.client)


async def test_draining_wakes_a_connection_that_only_waits() -> None:
    dialer = FakeDialer()
    async with talk(dialer) as talking:
        await asked_and_answered(talking, dialer)
        await asyncio.sleep(0)
        assert talking.services.exchanges.signals
        talking.services.drain()
        await asyncio.wait([talking.task], timeout=30)
        assert talking.task.done()
        assert not talking.services.exchanges.signals


async def test_who_takes_over_a_kept_connection_leaves_the_back_pressure_of_its_former_client_alone() -> None:
    """A client is in the midst of another answer when the connection that served its first one serves somebody else."""
    dialer = FakeDialer()
    async with talk(dialer) as talking:
        await send(talking.client, REQUEST)
        await dialer.dialled.wait()
        first = dialer.origin
        await receive(first)
        await send(first, ANSWER[:-1])  # in two parts, so that it is sent on as it comes
        await receive(talking.client)
        await send(first, ANSWER[-1:])
        await receive(talking.client)

        dialer.dialled.clear()
        await send(talking.client, REQUEST.replace(b"web.test", b"other.test"))
        await dialer.dialled.wait()
        second, size = dialer.origin, 50_000_000
        await receive(second)
        await send(second, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        sending = asyncio.ensure_future(send(second, bytes(size)))
        await asyncio.wait([sending], timeout=0.3)
        assert not sending.done()

        downstream, client = await stream_and_peer()
        services = talking.services
        scope = AnyAuthority(services.rules, services.identifier, talking.limiter, services.pool)
        other = asyncio.create_task(
            converse(downstream, accepted(), scope, services.exchanges, Timeouts(head=5, idle=5))
        )
        await send(client, REQUEST)
        await receive(first)
        await send(first, ANSWER)
        assert (await receive(client)).startswith(b"HTTP/1.1 200 ")

        head = await receive_until_empty_line(talking.client)
        async with asyncio.timeout(60):
            await receive_exactly(talking.client, size)
        assert head.startswith(b"HTTP/1.1 200 ")
        await sending
        other.cancel()
        await asyncio.wait([other])
        downstream.abort()
        for sock in (client, first):
            sock.close()


async def receive_until_empty_line(sock: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += await receive(sock, 1)
    return head


@pytest.mark.parametrize("says_close", [True, False], ids=["said so", "ended its side"])
async def test_a_slow_client_gets_all_of_an_answer_after_which_its_connection_is_closed(
    monkeypatch: pytest.MonkeyPatch, says_close: bool
) -> None:
    monkeypatch.setattr(stream_module, "LINGER_SECONDS", 0.05)
    dialer, size = FakeDialer(), 120_000
    async with talk(dialer, held=LITTLE) as talking:
        client = talking.client
        served = asyncio.ensure_future(served_and_closed(talking))
        close = b"Connection: close\r\n" if says_close else b""
        await send(client, REQUEST.replace(b"\r\n\r\n", b"\r\n" + close + b"\r\n"))
        if not says_close:
            client.shutdown(socket.SHUT_WR)
        await dialer.dialled.wait()
        await receive(dialer.origin)
        await send(dialer.origin, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
        async with asyncio.timeout(60):
            while not talking.recorder.exchanges:  # noqa: ASYNC110  # a recorder tells nobody
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        assert close in await receive_until_empty_line(client)
        assert len(await receive_exactly(client, size)) == size
        assert await receive(client) == b""
        client.close()
        await served


async def served_and_closed(talking: Talk) -> None:
    await talking.task
    await talking.downstream.aclose()


class Debt:
    """Fulfils `roles.Meter`, and is the pace of both directions: a minute is owed for what was moved before."""

    piece = 1 << 20

    def __init__(self) -> None:
        self.up = self.down = self
        self.is_asked = asyncio.Event()

    def settle(self) -> float:
        self.is_asked.set()
        return 60.0

    def spend(self, size: int) -> float:
        raise AssertionError("nothing moves")


class InDebt(Unlimited):
    """Every lease owes."""

    meter: Debt  # type: ignore[assignment]  # the limiter that knows no limits has none

    def __init__(self) -> None:
        super().__init__()
        self.meter = Debt()


async def test_who_is_gone_while_earlier_bytes_are_paid_for_gives_the_lease_back_at_once() -> None:
    dialer, limiter = FakeDialer(), InDebt()
    async with talk(dialer, limiter) as talking:
        await send(talking.client, REQUEST)
        await limiter.meter.is_asked.wait()
        assert limiter.held == 1
        reset(talking.client)
        await asyncio.wait([talking.task], timeout=60)
        assert limiter.held == 0
    [exchange] = talking.recorder.exchanges
    assert exchange.reason is Reason.DOWNSTREAM_RESET
    assert dialer.permits == []


@pytest.mark.parametrize("leave", [socket.socket.close, reset])
async def test_who_sends_no_more_while_earlier_bytes_are_paid_for_gives_the_lease_back_soon(
    monkeypatch: pytest.MonkeyPatch, leave: Callable[[socket.socket], None]
) -> None:
    """Also within an upload, of which no more is read than may be held."""
    monkeypatch.setattr(exchange_module, "HALF_CLOSED", 0.05)
    dialer, limiter = FakeDialer(), InDebt()
    async with talk(dialer, limiter) as talking:
        await send(talking.client, UPLOAD + bytes(HOLD_BOUND))
        await limiter.meter.is_asked.wait()
        while talking.downstream.transport.is_reading():  # noqa: ASYNC110  # nobody is told
            await asyncio.sleep(0)
        leave(talking.client)
        await asyncio.wait([talking.task], timeout=30)
        assert limiter.held == 0
    [exchange] = talking.recorder.exchanges
    assert exchange.reason is Reason.CLIENT_CLOSED
    assert dialer.permits == []


async def test_what_comes_right_behind_a_switch_of_protocols_is_held_up_like_all_that_follows() -> None:
    dialer = FakeDialer()
    async with talk(dialer, held=LITTLE) as talking:
        upgrade = b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        await send(talking.client, REQUEST.removesuffix(b"\r\n") + upgrade)
        await dialer.dialled.wait()
        await receive(dialer.origin)
        switched = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        much = 20_000_000
        transport = dialer.streams[0].transport
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        transport.pause_reading()
        sending = asyncio.ensure_future(send(dialer.origin, switched + bytes(much)))
        await asyncio.sleep(0.1)  # until as much is there as the kernel takes
        transport.resume_reading()
        await asyncio.wait([sending], timeout=0.5)
        assert not sending.done()
        assert talking.downstream.queued() < 1_000_000
        assert (await receive_until_empty_line(talking.client)).startswith(b"HTTP/1.1 101 ")
        assert await receive_exactly(talking.client, 1_000_000) == bytes(1_000_000)
        sending.cancel()
        await asyncio.wait([sending])
        reset(talking.client)
        await talking.task
    [exchange] = talking.recorder.exchanges
    assert 1_000_000 <= exchange.transfer.bytes_down < much
    assert exchange.transfer.reason is Reason.DOWNSTREAM_RESET


async def test_a_client_that_has_not_taken_one_answer_yet_is_not_sent_the_next_without_bounds() -> None:
    """What waits for it is less than what pauses a transport, and more than what has it go on."""
    dialer = FakeDialer()
    async with talk(dialer, held=LITTLE) as talking:
        await send(talking.client, REQUEST)
        await dialer.dialled.wait()
        await receive(dialer.origin)
        size = 115_000
        await send(dialer.origin, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
        async with asyncio.timeout(60):
            while not talking.recorder.exchanges:  # noqa: ASYNC110  # a recorder tells nobody
                await asyncio.sleep(0.01)
        while talking.downstream.queued() > 60_000:
            await receive(talking.client, 4096)
            await asyncio.sleep(0.02)  # what it makes room for is taken out of the gateway meanwhile
        await send(talking.client, REQUEST)
        await receive(dialer.origin)
        much = 20_000_000
        await send(dialer.origin, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % much)
        async with asyncio.timeout(60):
            while talking.downstream.feeder is None:  # noqa: ASYNC110  # its content goes on as it comes by then
                await asyncio.sleep(0.01)
        sending = asyncio.ensure_future(send(dialer.origin, bytes(much)))
        await asyncio.wait([sending], timeout=0.5)
        assert not sending.done()
        assert talking.downstream.queued() < 1_000_000
        sending.cancel()
        await asyncio.wait([sending])


@pytest.mark.parametrize("requests", [2, 9])
async def test_a_client_that_does_not_take_its_answers_is_reset_in_time_and_recorded_so(requests: int) -> None:
    """Also where all of them have come from the destination; further requests that wait are not looked at."""
    dialer = FakeDialer()
    async with talk(dialer, held=LITTLE, timeouts=Timeouts(head=5, idle=0.3)) as talking:
        await send(talking.client, REQUEST * requests)
        await dialer.dialled.wait()
        answering = asyncio.create_task(_answer_each(dialer.origin, 55_000))
        await asyncio.wait_for(talking.task, 10)
        answering.cancel()
        await asyncio.wait([answering])
    answered = len(talking.recorder.exchanges)
    assert (answered == 2) if requests == 2 else (answered < requests)
    assert {each.reason for each in talking.recorder.exchanges} == {None}
    transfer = talking.draft.transfer
    assert (talking.draft.reason, transfer.ended, transfer.ended_by) == (
        Reason.IDLE_TIMEOUT, Ended.TIMEOUT, Side.DOWNSTREAM,
    )  # fmt: skip


class Taken:
    """In place of a stream: `left` is what the client has not taken yet."""

    def __init__(self) -> None:
        self.feeder: object = None
        self.left = 100
        self.transport = self

    def queued(self) -> int:
        return self.left

    def is_closing(self) -> bool:
        return self.left == 0

    def set_write_buffer_limits(self, high: int) -> None:
        """Nobody is told anyway."""

    def abort(self) -> None:
        self.left = 0


async def test_a_client_that_takes_some_of_its_answer_and_then_nothing_is_not_waited_for_twice() -> None:
    stream, deadlines, draft = Taken(), HandDeadlines(), accepted()
    parts = build_services(RULES, FakeDialer(), KeepingRecorder()).exchanges
    parts.deadlines = deadlines
    waiting = asyncio.create_task(wait_until_all_taken(cast("Stream", stream), draft, Signal(), parts, 4.0))
    await asyncio.sleep(0.01)
    stream.left = 50
    for _ in range(5):
        assert stream.left
        deadlines.advance(1.0)
        await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert draft.reason is Reason.IDLE_TIMEOUT


async def _answer_each(origin: socket.socket, size: int) -> None:
    """One read is enough for each answer."""
    while await receive(origin):
        await send(origin, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))


async def test_a_destination_that_stalls_within_its_answer_is_not_waited_for_twice() -> None:
    dialer, deadlines = FakeDialer(), HandDeadlines()
    async with talk(dialer) as talking:
        talking.services.exchanges.deadlines = deadlines
        await send(talking.client, REQUEST)
        await dialer.dialled.wait()
        await receive(dialer.origin)
        await send(dialer.origin, ANSWER.replace(b": 2", b": 9"))
        assert (await receive_until_empty_line(talking.client)).startswith(b"HTTP/1.1 200 ")
        assert await receive_exactly(talking.client, 2) == b"ok"
        await send(dialer.origin, b"and")
        assert await receive_exactly(talking.client, 3) == b"and"
        for _ in range(5):
            assert not talking.recorder.exchanges
            deadlines.advance(Timeouts().idle / 4)
            await asyncio.sleep(0.01)
    assert [each.reason for each in talking.recorder.exchanges] == [Reason.RESPONSE_TIMEOUT]
