"""The transparent door: what decides, what the client hears, and that nothing is dialled before the verdict."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.model.errors import UpstreamError
from gateway.model.intent import Door, Protocol
from gateway.model.reasons import Reason
from gateway.model.record import Draft
from gateway.policy.index import REPORT_ONLY, Rules
from gateway.policy.rules import Mode
from gateway.serve import capture
from gateway.serve.connection import serve_connection
from gateway.serve.requests import CAPTURED_IDLE
from gateway.wire.alerts import ACCESS_DENIED, DECODE_ERROR
from tests.helpers.client_hello import build_client_hello
from tests.helpers.streams import receive, receive_all, receive_exactly, send, stream_and_peer
from tests.helpers.unlimited import Unlimited
from tests.helpers.walk import FakeDialer, KeepingRecorder, StuckDialer, build_services
from tests.policy.builders import address, build, deny, rule
from tests.telemetry.drafts import accepted

ORIGINAL = address("203.0.113.66")
RULES = build(
    rule("tls", "tls.test"),
    rule("net", cidrs="203.0.113.64/28"),
    rule("mail", cidrs="203.0.113.66", ports=[25], protocol=Protocol.TCP),
    deny("no", "denied.test"),
    deny("never", cidrs="203.0.113.80", ports=[443]),
    listening={"203.0.113.70": 15001},
)


class Captured:
    """A captured connection that is being served, the client's socket in the test's hands."""

    def __init__(
        self, task: asyncio.Task[None], client: socket.socket, recorder: KeepingRecorder, limiter: Unlimited
    ) -> None:
        self.task, self.client, self._recorder, self.limiter = task, client, recorder, limiter

    async def over(self) -> Draft:
        await asyncio.wait([self.task], timeout=30)
        assert self.task.done()
        assert self.task.cancelled() or self.task.exception() is None
        [draft] = self._recorder.drafts
        return draft


@asynccontextmanager
async def captured(
    dialer: FakeDialer | StuckDialer, rules: Rules = RULES, port: int = 443, original: str = str(ORIGINAL)
) -> AsyncIterator[Captured]:
    downstream, client = await stream_and_peer()
    recorder, limiter = KeepingRecorder(), Unlimited()
    draft = accepted()
    draft.original = (address(original), port)
    services = build_services(rules, dialer, recorder, limiter)
    walking = Captured(asyncio.create_task(serve_connection(downstream, draft, services)), client, recorder, limiter)
    try:
        yield walking
        await walking.over()
        assert limiter.held == 0
    finally:
        walking.task.cancel()
        client.close()
        if isinstance(dialer, FakeDialer) and dialer.streams:
            dialer.origin.close()


async def test_the_name_in_the_hello_is_what_is_asked_for_and_no_200_is_said() -> None:
    dialer, hello = FakeDialer(), build_client_hello(server_name="tls.test")
    async with captured(dialer) as walking:
        await send(walking.client, hello)
        await asyncio.wait_for(dialer.dialled.wait(), 5)
        assert await receive_exactly(dialer.origin, len(hello)) == hello
        await send(dialer.origin, b"server hello")
        assert await receive(walking.client) == b"server hello"
        walking.client.close()
        dialer.origin.close()
        draft = await walking.over()
    [permit] = dialer.permits
    assert str(permit.authority) == "tls.test:443"
    assert (draft.intent and draft.intent.door, draft.intent and draft.intent.original) == (Door.TRANSPARENT, ORIGINAL)
    assert draft.status is None
    assert draft.client is not None


async def test_the_limit_in_report_mode_is_named_that_is_spent_at_the_end() -> None:
    dialer, hello = FakeDialer(), build_client_hello(server_name="tls.test")
    async with captured(dialer) as walking:
        await send(walking.client, hello)
        await asyncio.wait_for(dialer.dialled.wait(), 5)
        assert await receive_exactly(dialer.origin, len(hello)) == hello
        walking.limiter.would_limit = "policy.yaml#tls.bytes"
        walking.client.close()
        dialer.origin.close()
        draft = await walking.over()
    assert draft.would_limit == "policy.yaml#tls.bytes"


@pytest.mark.parametrize(
    ("server_name", "original", "rule_name"),
    [
        (None, str(ORIGINAL), "net"),
        ("unlisted.test", str(ORIGINAL), "net"),
        ("tls.test", "192.0.2.1", "tls"),
    ],
    ids=["no name: the address", "a name without a rule: the address", "a name with a rule: not the address"],
)
async def test_which_of_name_and_address_is_dialled(server_name: str | None, original: str, rule_name: str) -> None:
    dialer = FakeDialer(UpstreamError(Reason.CONNECTION_REFUSED))
    async with captured(dialer, original=original) as walking:
        await send(walking.client, build_client_hello(server_name=server_name))
        with pytest.raises(ConnectionResetError):
            await receive(walking.client)
        draft = await walking.over()
    [permit] = dialer.permits
    assert permit.rule.name == f"policy.yaml#{rule_name}"
    assert str(permit.authority.host) == ("tls.test" if rule_name == "tls" else original)
    assert draft.reason is Reason.CONNECTION_REFUSED


@pytest.mark.parametrize(
    ("opening", "original", "port", "reason", "heard"),
    [
        (build_client_hello(server_name="denied.test"), "203.0.113.66", 443, Reason.DENIED_BY_RULE, ACCESS_DENIED),
        (build_client_hello(server_name="tls.test"), "203.0.113.80", 443, Reason.DENIED_BY_RULE, ACCESS_DENIED),
        (build_client_hello(server_name="tls.test"), "203.0.113.66", 8443, Reason.NO_RULE, ACCESS_DENIED),
        (build_client_hello(server_name=None), "192.0.2.1", 443, Reason.NO_RULE, ACCESS_DENIED),
        (b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00", "192.0.2.1", 443, Reason.MALFORMED_CLIENT_HELLO, DECODE_ERROR),
        (b"SSH-2.0-x\r\n", "203.0.113.66", 443, Reason.PROTOCOL_MISMATCH, None),
        (b"SSH-2.0-x\r\n", "192.0.2.1", 22, Reason.NO_RULE, None),
    ],
)
async def test_a_refusal_is_an_alert_or_a_reset_and_nothing_is_dialled(
    opening: bytes, original: str, port: int, reason: Reason, heard: bytes | None
) -> None:
    dialer = FakeDialer()
    async with captured(dialer, port=port, original=original) as walking:
        await send(walking.client, opening)
        if heard is None:
            with pytest.raises(ConnectionResetError):
                await receive(walking.client)
        else:
            assert await receive_all(walking.client) == heard
            walking.client.close()
        draft = await walking.over()
    assert dialer.permits == []
    assert draft.reason is reason


WEB = build(
    rule("web", "web.test", ports=[80]), rule("net", cidrs="203.0.113.64/28", ports=[80]), deny("no", "denied.test")
)


@pytest.mark.parametrize(
    ("host", "dialled"),
    [
        ("web.test", "web.test:80"),
        ("web.test:80", "web.test:80"),
        ("other.test", f"{ORIGINAL}:80"),
        (None, f"{ORIGINAL}:80"),
    ],
    ids=["a name with a rule", "with its port", "a name without a rule: the address", "no Host"],
)
async def test_a_request_asks_for_whom_its_host_names(host: str | None, dialled: str) -> None:
    dialer = FakeDialer(UpstreamError(Reason.CONNECTION_REFUSED))
    fields, version = ("", "1.0") if host is None else (f"Host: {host}\r\n", "1.1")
    async with captured(dialer, WEB, port=80) as walking:
        await send(walking.client, f"GET / HTTP/{version}\r\n{fields}Connection: close\r\n\r\n".encode())
        answer = await receive_all(walking.client)
        walking.client.close()
        draft = await walking.over()
    assert answer.startswith(b"HTTP/1.1 502 ")
    [permit] = dialer.permits
    assert str(permit.authority) == dialled
    assert (draft.intent and draft.intent.door, draft.status) == (Door.TRANSPARENT, 502)


@pytest.mark.parametrize(
    ("head", "status", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: denied.test\r\n", b"403", Reason.DENIED_BY_RULE),
        (b"GET / HTTP/1.1\r\nHost: web.test:8080\r\n", b"421", Reason.HOST_MISMATCH),
        (b"GET http://web.test:8080/ HTTP/1.1\r\nHost: web.test\r\n", b"421", Reason.HOST_MISMATCH),
        (b"GET / HTTP/1.1\r\nHost: 203.0.113.67\r\n", b"421", Reason.HOST_MISMATCH),
        (b"GET / HTTP/1.1\r\nHost: 127.1\r\n", b"400", Reason.MALFORMED_AUTHORITY),
        (b"CONNECT web.test:80 HTTP/1.1\r\nHost: web.test:80\r\n", b"400", Reason.NOT_A_PROXY_REQUEST),
    ],
)
async def test_a_request_is_refused_in_http_and_nothing_is_dialled(head: bytes, status: bytes, reason: Reason) -> None:
    dialer = FakeDialer()
    async with captured(dialer, WEB, port=80) as walking:
        await send(walking.client, head + b"Connection: close\r\n\r\n")
        answer = await receive_all(walking.client)
        walking.client.close()
        draft = await walking.over()
    assert answer.split(b" ", 2)[1] == status
    assert dialer.permits == []
    assert draft.reason is reason


async def test_one_that_names_many_hosts_keeps_connections_to_few_of_them() -> None:
    """There are as many pools as captured connections: one client of many could take all descriptors else."""
    dialer, origins = FakeDialer(), []
    async with captured(dialer, build(rule("web", "*.web.test", ports=[80])), port=80) as walking:
        for number in range(2 * CAPTURED_IDLE):
            dialer.dialled.clear()
            await send(walking.client, f"GET / HTTP/1.1\r\nHost: h{number}.web.test\r\n\r\n".encode())
            await asyncio.wait_for(dialer.dialled.wait(), 5)
            assert (await receive(dialer.origin)).startswith(b"GET / ")
            await send(dialer.origin, b"HTTP/1.1 204 No Content\r\n\r\n")
            assert (await receive(walking.client)).startswith(b"HTTP/1.1 204 ")
            origins.append(dialer.origin)
        assert 0 < sum(not each.transport.is_closing() for each in dialer.streams) <= CAPTURED_IDLE
        walking.client.close()
        await walking.over()
        left = [each for each in dialer.streams if not each.transport.is_closing()]
        for each in origins:
            each.close()
        assert not left


async def test_a_server_speaks_first_where_the_address_is_allowed_as_tcp() -> None:
    dialer = FakeDialer()
    async with captured(dialer, port=25) as walking:
        await asyncio.wait_for(dialer.dialled.wait(), 5)
        await send(dialer.origin, b"220 ready\r\n")
        assert await receive(walking.client) == b"220 ready\r\n"
        walking.client.close()
        dialer.origin.close()
        draft = await walking.over()
    assert draft.opening is None
    assert dialer.permits[0].rule.name == "policy.yaml#mail"


@pytest.mark.parametrize("speaks", [True, False], ids=["a client that speaks", "a client that waits"])
async def test_report_mode_lets_pass_who_waits_for_the_server(monkeypatch: pytest.MonkeyPatch, speaks: bool) -> None:
    monkeypatch.setattr(capture, "PATIENCE", 60.0 if speaks else 0.1)
    dialer = FakeDialer(UpstreamError(Reason.CONNECTION_REFUSED))
    async with captured(dialer, build(mode=Mode.REPORT)) as walking:
        if speaks:
            await send(walking.client, build_client_hello(server_name="any.test"))
        with pytest.raises(ConnectionResetError):
            await receive(walking.client)
    [permit] = dialer.permits
    assert permit.rule is REPORT_ONLY
    assert str(permit.authority.host) == ("any.test" if speaks else str(ORIGINAL))


async def test_where_a_rule_has_the_address_a_silent_client_is_waited_for_and_its_name_is_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(capture, "PATIENCE", 0.01)
    dialer = FakeDialer()
    async with captured(dialer) as walking:
        await asyncio.sleep(0.3)  # for longer than one is patient in report mode
        assert dialer.permits == []
        await send(walking.client, build_client_hello(server_name="denied.test"))
        assert await receive_all(walking.client) == ACCESS_DENIED
        walking.client.close()
        draft = await walking.over()
    assert dialer.permits == []
    assert draft.reason is Reason.DENIED_BY_RULE


@pytest.mark.parametrize("name", ["any.test", "denied.test"])
async def test_who_waits_in_report_mode_is_held_to_denies_that_are_enforced_when_it_speaks(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(capture, "PATIENCE", 0.1)
    dialer, hello = FakeDialer(), build_client_hello(server_name=name)
    rules = build(deny("no", "denied.test", mode=Mode.ENFORCE), mode=Mode.REPORT)
    async with captured(dialer, rules) as walking:
        await asyncio.wait_for(dialer.dialled.wait(), 5)
        await send(walking.client, hello)
        if name == "any.test":
            assert await receive_exactly(dialer.origin, len(hello)) == hello
            walking.client.close()
            dialer.origin.close()
        else:
            with pytest.raises(ConnectionResetError):
                await receive(walking.client)
            with pytest.raises(ConnectionResetError):
                await receive(dialer.origin)  # before a byte of it
        draft = await walking.over()
    assert draft.opening is not None
    assert draft.opening.hello is not None
    assert draft.opening.hello.server_name == name
    assert draft.reason is (Reason.SNI_DENIED if name == "denied.test" else None)
    rule = draft.decision.rule if draft.decision is not None else None
    assert rule is not None
    assert rule.name == ("policy.yaml#no" if name == "denied.test" else "report-only")


async def test_who_dials_the_listener_itself_is_a_loop() -> None:
    dialer = FakeDialer()
    async with captured(dialer, port=15001, original="203.0.113.70") as walking:
        with pytest.raises(ConnectionResetError):
            await receive(walking.client)
        draft = await walking.over()
    assert dialer.permits == []
    assert draft.reason is Reason.PROXY_LOOP


async def test_where_an_address_alone_is_no_identity_everything_is_refused() -> None:
    dialer = FakeDialer()
    async with captured(dialer, build(rule("tls", "tls.test"), identity_required=True)) as walking:
        await send(walking.client, build_client_hello(server_name="tls.test"))
        assert await receive_all(walking.client) == ACCESS_DENIED
        walking.client.close()
        draft = await walking.over()
    assert dialer.permits == []
    assert draft.reason is Reason.CREDENTIALS_MISSING


async def test_a_request_of_a_client_that_knows_of_no_proxy_is_refused_and_not_asked_for_credentials() -> None:
    dialer = FakeDialer()
    async with captured(dialer, build(rule("web", "web.test", ports=[80]), identity_required=True), port=80) as walking:
        await send(walking.client, b"GET / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n")
        answer = await receive_all(walking.client)
        walking.client.close()
        draft = await walking.over()
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"proxy-authenticate" not in answer.lower()
    assert dialer.permits == []
    assert (draft.reason, draft.status) == (Reason.CREDENTIALS_MISSING, 403)


async def test_a_drain_cuts_a_dial_short_and_resets() -> None:
    dialer = StuckDialer()
    async with captured(dialer) as walking:
        await send(walking.client, build_client_hello(server_name="tls.test"))
        await asyncio.wait_for(dialer.dialling.wait(), 5)
        walking.task.cancel()
        with pytest.raises(ConnectionResetError):
            await receive(walking.client)
        draft = await walking.over()
    assert draft.reason is Reason.DRAINING
