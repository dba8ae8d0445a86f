"""One connection, from accept to record, on real sockets: whatever ends it, there is one truthful record, what was
opened is closed, and the lease is given back."""

import asyncio
import gc
import socket
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import bcrypt
import pytest

from gateway.model.addresses import Address
from gateway.model.decision import Deny, Terms, Timeouts
from gateway.model.errors import Refused, UpstreamError
from gateway.model.intent import Protocol
from gateway.model.reasons import Reason
from gateway.model.record import Draft, Ended, Side
from gateway.net.relay import Relay
from gateway.net.stream import Stream
from gateway.net.tls.second_hello import HelloWatch
from gateway.policy.index import Rules
from gateway.policy.rules import Mode
from gateway.serve.connection import ATTEMPTS, serve_connection
from gateway.serve.identify import Challenge, Identifier, PasswordFile
from gateway.telemetry.formats import json
from gateway.telemetry.sealing import seal
from tests.helpers.client_hello import build_client_hello
from tests.helpers.deadlines import HandDeadlines
from tests.helpers.streams import receive, receive_all, receive_exactly, reset, send, stream_and_peer
from tests.helpers.unlimited import Unlimited
from tests.helpers.walk import FakeDialer, KeepingRecorder, StuckDialer, build_services
from tests.policy.builders import build, deny, rule
from tests.telemetry.drafts import accepted

SECRET = "hunter2"
RULES = build(rule("tcp", "tcp.test", protocol=Protocol.TCP), rule("tls", "tls.test"))


def connect(host: str) -> bytes:
    return f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n".encode()


class Walk:
    """A connection that is being served, the client's socket in the test's hands."""

    def __init__(
        self, downstream: Stream, client: socket.socket, dialer: FakeDialer | StuckDialer, rules: Rules
    ) -> None:
        self.downstream = downstream
        self.client = client
        self.dialer = dialer
        self.recorder = KeepingRecorder()
        self.limiter = Unlimited()
        self.services = build_services(rules, dialer, self.recorder, self.limiter)
        self.draft = accepted()
        self.task = asyncio.create_task(serve_connection(downstream, self.draft, self.services))

    async def over(self) -> Draft:
        """Wait for the end; the one draft that was recorded."""
        await asyncio.wait([self.task], timeout=30)
        assert self.task.done()
        assert self.task.cancelled() or self.task.exception() is None
        [draft] = self.recorder.drafts
        return draft

    async def cut_off(self) -> Draft:
        """Cancel it, as the end of a drain does."""
        self.task.cancel()
        draft = await self.over()
        assert self.task.cancelled()
        return draft


@asynccontextmanager
async def walk(dialer: FakeDialer | StuckDialer, rules: Rules = RULES) -> AsyncIterator[Walk]:
    """At its end nothing may be left: no lease, no open stream."""
    downstream, client = await stream_and_peer()
    walking = Walk(downstream, client, dialer, rules)
    try:
        yield walking
        await walking.over()
        assert walking.limiter.held == 0
        opened = [downstream, *(dialer.streams if isinstance(dialer, FakeDialer) else ())]
        assert all(stream.is_lost or stream.transport.is_closing() for stream in opened)
    finally:
        walking.task.cancel()
        client.close()
        if isinstance(dialer, FakeDialer) and dialer.streams:
            dialer.origin.close()


@asynccontextmanager
async def tunnel(dialer: FakeDialer) -> AsyncIterator[Walk]:
    """An open one, in which a byte has gone either way."""
    async with walk(dialer) as walking:
        await send(walking.client, connect("tcp.test"))
        assert await receive(walking.client) == b"HTTP/1.1 200 Connection established\r\n\r\n"
        await send(walking.client, b"ping")
        assert await receive_exactly(dialer.origin, 4) == b"ping"
        await send(dialer.origin, b"pong!")
        assert await receive_exactly(walking.client, 5) == b"pong!"
        yield walking


async def test_a_tunnel_holds_a_lease_until_both_sides_have_ended() -> None:
    dialer = FakeDialer()
    async with tunnel(dialer) as walking:
        assert walking.limiter.held == 1
        assert walking.recorder.drafts == []
        walking.client.shutdown(socket.SHUT_WR)
        assert await receive_all(dialer.origin) == b""
        dialer.origin.shutdown(socket.SHUT_WR)
        draft = await walking.over()
    assert (draft.transfer.bytes_up, draft.transfer.bytes_down) == (4, 5)
    assert (draft.transfer.ended, draft.transfer.ended_by, draft.reason) == (Ended.CLOSED, Side.DOWNSTREAM, None)
    assert draft.status == 200


async def test_a_bug_is_a_500_and_a_traceback_and_its_text_reaches_neither_client_nor_record(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with walk(FakeDialer(RuntimeError(f"Proxy-Authorization was {SECRET}"))) as walking:
        await send(walking.client, connect("tcp.test"))
        answer = await receive_all(walking.client)
        walking.client.close()
        draft = await walking.over()
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert (draft.reason, draft.detail, draft.status) == (Reason.INTERNAL_ERROR, "RuntimeError", 500)
    assert (draft.transfer.ended, draft.transfer.ended_by) == (Ended.FAILED, Side.GATEWAY)
    assert SECRET.encode() not in answer + json.encode(seal(draft, 1001.0))
    [logged] = [record for record in caplog.records if record.exc_info]
    assert logged.message == f"connection {draft.connection_id}"
    assert "in dial\n" in caplog.text


async def test_a_cancelled_tunnel_is_recorded_as_drained_with_what_it_moved_and_both_sides_are_closed() -> None:
    dialer = FakeDialer()
    async with tunnel(dialer) as walking:
        draft = await walking.cut_off()
        with pytest.raises(ConnectionResetError):
            await receive_all(walking.client)
        with suppress(ConnectionResetError):
            assert await receive_all(dialer.origin) == b""
    assert draft.reason is Reason.DRAINING
    assert (draft.transfer.ended, draft.transfer.ended_by) == (Ended.RESET, Side.GATEWAY)
    assert (draft.transfer.bytes_up, draft.transfer.bytes_down, draft.status) == (4, 5, 200)
    assert draft.dialled is not None


async def test_a_walk_cancelled_while_it_dials_tells_what_was_known_by_then() -> None:
    dialer = StuckDialer()
    async with walk(dialer) as walking:
        await send(walking.client, connect("tcp.test"))
        await dialer.dialling.wait()
        assert walking.limiter.held == 1
        record = seal(await walking.cut_off(), 1001.0)
    assert (record["reason"], record["decision"], record["host"]) == (Reason.DRAINING, "allow", "tcp.test")
    assert "dialled_address" not in record
    assert "status" not in record


async def test_a_walk_cancelled_before_it_knew_anything_is_recorded_too() -> None:
    async with walk(FakeDialer()) as walking:
        await send(walking.client, b"CONNECT tcp")
        assert await walking.downstream.more()
        record = seal(await walking.cut_off(), 1001.0)
    assert (record["reason"], record["decision"]) == (Reason.DRAINING, "none")


async def test_nothing_is_dialled_and_no_lease_taken_when_decide_denies() -> None:
    class NoLease(Unlimited):
        def lease(self, *_: object) -> Unlimited:
            raise AssertionError("a lease was asked for")

    dialer = FakeDialer()
    async with walk(dialer) as walking:
        walking.services.limiter = NoLease()
        await send(walking.client, connect("other.test"))
        assert (await receive_all(walking.client)).startswith(b"HTTP/1.1 403 ")
        walking.client.close()
        draft = await walking.over()
    assert dialer.permits == []
    assert isinstance(draft.decision, Deny)
    assert draft.reason is Reason.NO_RULE


async def test_while_draining_a_new_request_is_refused_before_anything_is_looked_at() -> None:
    dialer = FakeDialer()
    async with walk(dialer) as walking:
        walking.services.draining = True
        await send(walking.client, connect("tcp.test"))
        assert (await receive_all(walking.client)).startswith(b"HTTP/1.1 503 ")
        walking.client.close()
        draft = await walking.over()
    assert dialer.permits == []
    assert (draft.reason, draft.decision) == (Reason.DRAINING, None)


async def test_a_client_that_was_gone_before_it_was_accepted_leaves_a_record_as_well() -> None:
    async with walk(FakeDialer()) as walking:
        walking.downstream.transport.abort()
        walking.downstream.is_lost = True
        draft = await walking.over()
    assert (draft.reason, draft.decision, draft.status) == (Reason.CLIENT_CLOSED, None, None)
    assert (draft.transfer.ended, draft.transfer.ended_by) == (Ended.CLOSED, Side.DOWNSTREAM)


def _a_denial() -> Refused:
    return Refused(Deny(Reason.ADDRESS_REFUSED, 1))


@pytest.mark.parametrize(
    ("fail", "reason", "status"),
    [
        (_a_denial, Reason.ADDRESS_REFUSED, 403),
        (lambda: UpstreamError(Reason.CONNECTION_REFUSED), Reason.CONNECTION_REFUSED, 502),
        (lambda: OSError(5, "Input/output error"), Reason.INTERNAL_ERROR, 500),
    ],
)
async def test_the_lease_comes_back_when_the_dial_fails(
    fail: Callable[[], Exception], reason: Reason, status: int
) -> None:
    async with walk(FakeDialer(fail())) as walking:
        await send(walking.client, connect("tcp.test"))
        assert (await receive_all(walking.client)).startswith(b"HTTP/1.1 %d " % status)
        walking.client.close()
        draft = await walking.over()
        assert walking.limiter.held == 0
    assert (draft.reason, draft.status) == (reason, status)


@pytest.mark.parametrize(
    ("opening", "reason"),
    [
        (b"SSH-2.0-x\r\n", Reason.PROTOCOL_MISMATCH),
        (build_client_hello(server_name="other.test"), Reason.SNI_MISMATCH),
        (b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00", Reason.MALFORMED_CLIENT_HELLO),
    ],
)
async def test_the_lease_comes_back_and_the_origin_reads_nothing_when_the_opening_is_refused(
    opening: bytes, reason: Reason
) -> None:
    dialer = FakeDialer()
    async with walk(dialer) as walking:
        await send(walking.client, connect("tls.test") + opening)
        with suppress(ConnectionResetError):
            await receive_all(walking.client)
        walking.client.close()
        draft = await walking.over()
        assert await receive_all(dialer.origin) == b""
    assert (draft.reason, draft.transfer.bytes_up) == (reason, 0)


@pytest.mark.parametrize("from_client", [True, False])
async def test_the_lease_comes_back_when_a_tunnel_is_reset(from_client: bool) -> None:
    dialer = FakeDialer()
    async with tunnel(dialer) as walking:
        reset(walking.client if from_client else dialer.origin)
        draft = await walking.over()
        assert walking.limiter.held == 0
    told = Reason.DOWNSTREAM_RESET if from_client else Reason.UPSTREAM_RESET
    assert draft.transfer.reason is told


def with_credentials(password: str) -> bytes:
    credentials = b64encode(f"ci:{password}".encode()).decode()
    return connect("tcp.test").replace(b"\r\n\r\n", f"\r\nProxy-Authorization: Basic {credentials}\r\n\r\n".encode())


def who_needs_a_password() -> Identifier:
    return Identifier([PasswordFile({"ci": bcrypt.hashpw(SECRET.encode(), bcrypt.gensalt(4))})], Challenge.ALWAYS)


async def test_a_client_may_try_again_on_its_connection_so_many_times_and_nothing_is_dialled_meanwhile() -> None:
    dialer, identifier = FakeDialer(), who_needs_a_password()
    async with walk(dialer) as walking:
        walking.services.identifier = lambda: identifier
        for number in range(ATTEMPTS):
            await send(walking.client, with_credentials(f"wrong {number}"))
            answer = await receive(walking.client)
            assert answer.startswith(b"HTTP/1.1 407 ")
            is_last = number == ATTEMPTS - 1
            assert (b"Connection: close\r\n" in answer, b"Connection: keep-alive\r\n" in answer) == (
                is_last,
                not is_last,
            )
        assert await receive_all(walking.client) == b""
        draft = await walking.over()
    assert dialer.permits == []
    assert (draft.reason, draft.status, draft.client) == (Reason.CREDENTIALS_INVALID, 407, None)
    assert draft.wrong_credentials == ATTEMPTS - 1


async def test_who_tries_again_with_the_right_password_is_served_and_its_record_says_nothing_of_the_refusal() -> None:
    dialer, identifier = FakeDialer(), who_needs_a_password()
    async with walk(dialer) as walking:
        walking.services.identifier = lambda: identifier
        await send(walking.client, with_credentials("wrong"))
        assert (await receive(walking.client)).startswith(b"HTTP/1.1 407 ")
        await send(walking.client, with_credentials(SECRET))
        assert (await receive(walking.client)).startswith(b"HTTP/1.1 200 ")
        walking.client.close()
        dialer.origin.close()
        draft = await walking.over()
    assert len(dialer.permits) == 1
    assert draft.client is not None
    assert (draft.client.user, draft.status, draft.detail, draft.wrong_credentials) == ("ci", 200, "", 1)
    assert draft.reason is None


async def test_the_record_keeps_the_address_that_stands_for_nobody() -> None:
    draft = accepted()
    draft.peer = (Address(4, 0), 0)
    record = seal(draft, 1001.0)
    assert (record["client_address"], record["client_port"]) == ("0.0.0.0", 0)


async def test_a_tunnel_leaves_nothing_for_the_cyclic_collector() -> None:
    """`app` lets it look seldom because of this."""
    gc.collect()
    gc.disable()
    try:
        dialer = FakeDialer()
        async with tunnel(dialer) as walking:
            dialer.origin.close()
            walking.client.close()
        assert [kept for kept in gc.get_objects() if isinstance(kept, Relay | HelloWatch)] == []
    finally:
        gc.enable()


async def test_nor_does_one_whose_second_hello_is_watched_for() -> None:
    gc.collect()
    gc.disable()
    try:
        dialer, hello = FakeDialer(), build_client_hello(server_name="tls.test")
        async with walk(dialer) as walking:
            await send(walking.client, connect("tls.test") + hello)
            assert (await receive(walking.client)).startswith(b"HTTP/1.1 200 ")
            assert await receive_exactly(dialer.origin, len(hello)) == hello
            assert [type(kept).__name__ for kept in gc.get_objects() if isinstance(kept, HelloWatch)] == ["HelloWatch"]
            dialer.origin.close()
            walking.client.close()
        assert [kept for kept in gc.get_objects() if isinstance(kept, Relay | HelloWatch)] == []
    finally:
        gc.enable()


async def test_in_report_mode_a_protocol_passes_in_which_the_server_speaks_first() -> None:
    dialer = FakeDialer()
    async with walk(dialer, build(mode=Mode.REPORT)) as walking:
        await send(walking.client, connect("ssh.test"))
        assert await receive(walking.client) == b"HTTP/1.1 200 Connection established\r\n\r\n"
        await send(dialer.origin, b"SSH-2.0-x\r\n")
        assert await receive_exactly(walking.client, 11) == b"SSH-2.0-x\r\n"
        await send(walking.client, b"SSH-2.0-y\r\n")
        assert await receive_exactly(dialer.origin, 11) == b"SSH-2.0-y\r\n"
        dialer.origin.close()
        walking.client.close()
    record = seal(walking.draft, 2000.0)
    assert (record["decision"], record["rule"], record["would_deny"]) == ("allow", "report-only", Reason.NO_RULE)
    assert record["protocol"] == "tcp"  # which a rule for it needs


async def test_in_report_mode_what_a_client_says_first_is_observed() -> None:
    dialer, hello = FakeDialer(), build_client_hello(server_name="api.test")
    async with walk(dialer, build(mode=Mode.REPORT)) as walking:
        await send(walking.client, connect("x.test") + hello)
        assert await receive(walking.client) == b"HTTP/1.1 200 Connection established\r\n\r\n"
        assert await receive_exactly(dialer.origin, len(hello)) == hello
        dialer.origin.close()
        walking.client.close()
    assert seal(walking.draft, 2000.0)["sni"] == "api.test"


async def test_in_report_mode_a_name_that_follows_the_servers_first_bytes_is_noted_like_any() -> None:
    dialer, hello = FakeDialer(), build_client_hello(server_name="other.test")
    async with walk(dialer, build(deny("no", "other.test"), mode=Mode.REPORT)) as walking:
        await send(walking.client, connect("mail.test"))
        assert await receive(walking.client) == b"HTTP/1.1 200 Connection established\r\n\r\n"
        await send(dialer.origin, b"220 ready\r\n")
        assert await receive_exactly(walking.client, 11) == b"220 ready\r\n"
        await send(walking.client, hello)
        assert await receive_exactly(dialer.origin, len(hello)) == hello
        dialer.origin.close()
        walking.client.close()
    record = seal(walking.draft, 2000.0)
    assert (record["sni"], record["would_deny"]) == ("other.test", Reason.SNI_DENIED)
    assert record["would_deny_rule"] == "policy.yaml#no"


async def test_a_tunnel_of_requests_that_ends_before_its_lifetime_leaves_no_alarm() -> None:
    dialer, deadlines = FakeDialer(), HandDeadlines()
    terms = Terms(timeouts=Timeouts(lifetime=10.0))
    async with walk(dialer, build(rule("web", "web.test", protocol=Protocol.HTTP, terms=terms))) as walking:
        walking.services.deadlines = deadlines
        await send(walking.client, connect("web.test") + b"GET / HTTP/1.1\r\nHost: web.test:443\r\n\r\n")
        assert (await receive(walking.client)).startswith(b"HTTP/1.1 200 ")
        assert await receive(dialer.origin)
        assert deadlines.pending()
        walking.client.close()
    assert deadlines.pending() == 0
    assert walking.draft.tunnel is None
