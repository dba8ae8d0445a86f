"""Credentials that no workload holds: who is given them, who is not, and that nobody else ever sees one.

A conversation on real sockets, with a destination of which the test says whether it is verified.
"""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from gateway.exchange.conversation import converse
from gateway.exchange.scope import OneAuthority
from gateway.exchange.upstream import Pool
from gateway.intercept.inspecting.decoding import DecodingBounds
from gateway.intercept.inspecting.inline import InlineKind
from gateway.intercept.inspecting.watch import ExchangeWatch, InspectorPolicy, NamedInspector
from gateway.intercept.inspectors import DONE, Answer, Inspector, RequestHead, annotate
from gateway.intercept.inspectors import deny as deny_it
from gateway.model.authority import Host
from gateway.model.decision import AddressRefusal, Permit, Terms, Timeouts, WouldDeny
from gateway.model.inspection.secret import Secret
from gateway.model.inspection.terms import HeaderValue, Inspection, SecretName
from gateway.model.inspection.watching import Watch
from gateway.model.intent import Protocol
from gateway.model.reasons import Reason
from gateway.model.record import Draft, ExchangeRecord
from gateway.model.roles import Upstream
from gateway.net.stream import Stream
from gateway.policy.requests.judging import RequestRule, RequestRules
from gateway.policy.requests.paths import parse_path_pattern
from gateway.policy.rules import Mode, Rule
from gateway.telemetry.exchanges import seal_exchange
from gateway.telemetry.formats.json import encode
from tests.flows.interception import HOST, inspecting
from tests.helpers.gateway import GatewayProcess
from tests.helpers.raw_client import status_of
from tests.helpers.responses import read_response
from tests.helpers.streams import receive, send, stream_and_peer
from tests.helpers.tls_origin import Issuer, TlsOrigin
from tests.helpers.walk import LOOPBACK, FakeDialer, KeepingRecorder, build_services
from tests.policy.builders import NOBODY, NOW, address, ask, build, client, connect, deny, permitted, rule

VALUE = "sk_live_4eC39HqLyjWDarjtT1"
KEY = Secret(VALUE)
REASONS = frozenset({Reason.SECRET_NEEDS_TLS, Reason.SECRET_UNAVAILABLE, Reason.RESPONSE_ENCODED})
"""`test_reasons` looks that no reason is missing over all."""

BEARER = HeaderValue("Authorization", ("Bearer ", SecretName("key")))
INSPECTION = Inspection(
    requests=RequestRules((RequestRule(paths=(parse_path_pattern("/v1/**"),)),), allows_trace=False),
    set=(BEARER, HeaderValue("X-Plain", ("1",))),
)


class Store:
    """Fulfils `SecretStore`; remembers what it was asked."""

    def __init__(self, secret: Secret | None) -> None:
        self.secret = secret
        self.asked: list[tuple[str, Host, tuple[str, ...]]] = []

    def find(self, name: str, host: Host, groups: Sequence[str]) -> Secret | None:
        self.asked.append((name, host, tuple(groups)))
        return self.secret


class DeniesKeys(Inspector):
    """By a header."""

    def request_head(self, head: RequestHead) -> Answer:
        return deny_it("a key") if head.values("x-key") else DONE


class Reads(Inspector):
    """Tells what it was shown."""

    def __init__(self) -> None:
        self.read = b""

    def response_chunk(self, data: bytes) -> Answer:
        self.read += data
        return annotate("read", self.read.decode())


class Keys:
    """Fulfils `Watchers`."""

    kinds: ClassVar[dict[str, type[Inspector]]] = {"keys": DeniesKeys, "reads": Reads}

    def watch(self, names: Sequence[str], ring: Callable[[], None], report: bool) -> Watch:
        policy = InspectorPolicy(tolerates_failure=False, denies_unknown=True, bounds=DecodingBounds(1 << 20, 100))
        inspectors = [NamedInspector(name, policy, InlineKind(self.kinds[name]).open()) for name in names]
        return ExchangeWatch(inspectors, ring, report)


class TlsDialer(FakeDialer):
    """As if it had spoken TLS; `refused` are addresses that report mode set aside."""

    def __init__(self, is_verified: bool = True, refused: tuple[AddressRefusal, ...] = ()) -> None:
        super().__init__()
        self.is_verified = is_verified
        self.refused = refused
        self.has_dialled = asyncio.Event()

    async def dial(self, permit: Permit) -> Upstream[Stream]:
        upstream = await super().dial(permit)
        self.has_dialled.set()
        dialled = replace(upstream.dialled, refused=self.refused)
        return Upstream(dialled, upstream.stream, verified=self.is_verified)


class Play:
    """One conversation inside a tunnel to api.test, its client in the test's hands."""

    def __init__(
        self,
        secret: Secret | None = KEY,
        dialer: TlsDialer | None = None,
        is_verified: bool = True,
        mode: Mode | None = None,
        tunnel: WouldDeny | None = None,
        denies: Sequence[Rule] = (),
        inspectors: tuple[str, ...] = (),
    ) -> None:
        terms = Terms(Protocol.TLS, inspection=replace(INSPECTION, inspectors=inspectors))
        self.dialer = dialer or TlsDialer()
        self.store = Store(secret)
        self.recorder = KeepingRecorder()
        self.rules = build(rule("api", "api.test", terms=terms, mode=mode), *denies)
        self.permit = permitted(ask(self.rules, "api.test:443"))
        self.draft = Draft("c-1", "proxy", (address(NOBODY), 4000), 1000.0, NOW, would_deny=tunnel)
        self.is_verified = is_verified

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[socket.socket]:
        """The client's socket."""
        services = build_services(self.rules, self.dialer, self.recorder)
        services.exchanges.secrets = self.store
        services.exchanges.watchers = Keys()
        pool = Pool(services.deadlines, services.clock.monotonic)
        intent = connect("api.test:443")
        limiter = services.limiter
        rights = self.permit, client(NOBODY), intent, self.rules
        scope = OneAuthority(*rights, pool, 443, self.is_verified, peer=self.draft.peer, limiter=limiter)
        downstream, peer = await stream_and_peer()
        timeouts = Timeouts(head=5.0, idle=5.0)
        task = asyncio.create_task(converse(downstream, self.draft, scope, services.exchanges, timeouts))
        try:
            with peer:
                yield peer
            await task
        finally:
            pool.close()
            await downstream.aclose()
            if self.dialer.has_dialled.is_set():
                self.dialer.origin.close()

    async def ask(self, peer: socket.socket, head: str, answer: bytes = b"") -> tuple[bytes, bytes]:
        """What the destination got, and what the client was answered."""
        await send(peer, head.encode())
        got = b""
        if answer:
            await self.dialer.has_dialled.wait()
            while not got.endswith(b"\r\n\r\n"):
                got += await receive(self.dialer.origin)
            await send(self.dialer.origin, answer)
        return got, await receive(peer)

    def record(self) -> ExchangeRecord:
        """The last."""
        return seal_exchange(self.recorder.exchanges[-1], 1001.0)

    async def refused(self, head: str, status: int, reason: Reason) -> bytes:
        """Nothing leaves; the answer."""
        async with self.running() as peer:
            _, answer = await self.ask(peer, head)
        assert answer.startswith(b"HTTP/1.1 %d " % status), answer
        assert self.dialer.permits == []
        assert self.record()["reason"] == reason
        assert VALUE.encode() not in answer + encode(self.record())
        return answer


def get(path: str = "/v1/x", *fields: str, method: str = "GET") -> str:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: api.test", *fields, "", ""])


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def fields_of(head: bytes) -> list[str]:
    """In lower case, without what every request has."""
    lines = head.decode().lower().split("\r\n")[1:-2]
    return [line for line in lines if not line.startswith(("host:", "via:"))]


async def test_the_destination_sees_the_key_and_the_pod_never_does(caplog: pytest.LogCaptureFixture) -> None:
    play = Play()
    theirs = ("Authorization: Bearer mine", "AUTHORIZATION: Basic bWluZQ==", "authorization: x", "X_Plain: 2")
    with caplog.at_level(logging.DEBUG):
        async with play.running() as peer:
            got, answer = await play.ask(peer, get("/v1/x?q=1", *theirs), OK)
    assert fields_of(got) == [f"authorization: bearer {VALUE.lower()}", "x-plain: 1"]
    assert f"Authorization: Bearer {VALUE}\r\n".encode() in got
    assert answer.endswith(b"ok")
    record = play.record()
    assert record["secrets"] == ("key",)
    told = [answer.decode(), encode(record).decode(), repr(play.recorder.exchanges), repr(play.draft), caplog.text]
    told += [repr(play.permit), repr(play.store.secret)]
    assert [text for text in told if VALUE in text] == []
    assert play.store.asked[0] == ("key", "api.test", ())


async def test_a_new_value_holds_from_the_next_request_on() -> None:
    play = Play()
    async with play.running() as peer:
        await play.ask(peer, get(), OK)
        play.store.secret = Secret("sk_live_next")
        got, _ = await play.ask(peer, get(), OK)
    assert "authorization: bearer sk_live_next" in fields_of(got)
    assert play.record()["reused"]


async def test_no_secret_goes_without_tls() -> None:
    answer = await Play(is_verified=False).refused(get(), 403, Reason.SECRET_NEEDS_TLS)
    assert b"https://" in answer.split(b"\r\n")[0]


async def test_a_request_whose_secret_cannot_be_had_is_not_sent_without() -> None:
    await Play(secret=None).refused(get(), 503, Reason.SECRET_UNAVAILABLE)


async def test_a_request_that_is_not_allowed_has_no_secret_looked_up_for_it() -> None:
    play = Play()
    await play.refused(get("/v2"), 403, Reason.REQUEST_DENIED)
    assert play.store.asked == []


async def test_no_trace_is_passed_on_whose_answer_would_hold_it() -> None:
    await Play().refused(get(method="TRACE"), 403, Reason.REQUEST_DENIED)


async def test_a_connection_that_is_not_verified_after_all_carries_nothing() -> None:
    play = Play(dialer=TlsDialer(is_verified=False))
    async with play.running() as peer:
        await send(peer, get().encode())
        answer = await receive(peer)
        with pytest.raises(ConnectionResetError):  # nothing came before
            assert await receive(play.dialer.origin) == b""
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert play.record()["reason"] == Reason.INTERNAL_ERROR
    assert "secrets" not in play.record()  # none was filled in
    assert VALUE.encode() not in answer


SET_ASIDE = WouldDeny(Reason.SNI_MISMATCH)
REFUSED = AddressRefusal(LOOPBACK, Reason.DENIED_BY_RULE, "", None, enforced=False)


@pytest.mark.parametrize(
    ("play", "path"),
    [
        (lambda: Play(mode=Mode.REPORT), "/v2"),
        (lambda: Play(mode=Mode.REPORT, tunnel=SET_ASIDE), "/v1/x"),
        (lambda: Play(mode=Mode.REPORT, tunnel=SET_ASIDE, is_verified=False), "/v1/x"),
        (lambda: Play(mode=Mode.REPORT, dialer=TlsDialer(refused=(REFUSED,))), "/v1/x"),
        (lambda: Play(denies=[deny("no", "api.test", mode=Mode.REPORT)]), "/v1/x"),
    ],
    ids=["the request", "the tunnel", "the tunnel without TLS", "the address", "the host"],
)
async def test_what_report_mode_lets_pass_goes_without_secrets(play: Callable[[], Play], path: str) -> None:
    played = play()
    async with played.running() as peer:
        got, answer = await played.ask(peer, get(path, "Authorization: Bearer mine"), OK)
    assert answer.endswith(b"ok")
    assert fields_of(got) == ["x-plain: 1"]
    assert "secrets" not in played.record()


async def test_what_inspectors_object_to_in_report_mode_goes_without_secrets() -> None:
    play = Play(mode=Mode.REPORT, inspectors=("keys",))
    async with play.running() as peer:
        got, answer = await play.ask(peer, get("/v1/x", "X-Key: sk"), OK)
        assert answer.endswith(b"ok")
        assert fields_of(got) == ["x-key: sk", "x-plain: 1"]
        got, _ = await play.ask(peer, get(), OK)
    assert VALUE.encode() in got
    first, second = [seal_exchange(each, 1001.0) for each in play.recorder.exchanges]
    assert (first["would_deny"], "secrets" in first) == (Reason.INSPECTOR_DENIED, False)
    assert second["secrets"] == ("key",)


async def test_report_mode_gives_secrets_to_what_is_allowed() -> None:
    play = Play(mode=Mode.REPORT)
    async with play.running() as peer:
        got, _ = await play.ask(peer, get(), OK)
    assert VALUE.encode() in got


# Echoes.

ECHO = f"HTTP/1.1 200 {VALUE}\r\nX-Echo: a {VALUE} b\r\nTransfer-Encoding: chunked\r\n\r\n".encode()


async def test_an_answer_that_echoes_a_scrubbed_secret_is_masked_wherever_it_is_cut() -> None:
    play = Play(Secret(VALUE, scrub=True))
    asks = ("Accept-Encoding: gzip", "Range: bytes=0-3", "If-Range: x", "Grpc-Accept-Encoding: gzip", "A-IM: gzip")
    half = len(VALUE) // 2
    async with play.running() as peer:
        got, answer = await play.ask(peer, get("/v1/x", *asks), ECHO)
        for piece in (f"you sent {VALUE[:half]}", VALUE[half:], f" and {VALUE}!"):
            await send(play.dialer.origin, b"%x\r\n%s\r\n" % (len(piece), piece.encode()))
            await asyncio.sleep(0.01)
        await send(play.dialer.origin, f"0\r\nX-Last: {VALUE}\r\n\r\n".encode())
        while not answer.endswith(b"\r\n\r\n") or b"X-Last" not in answer:
            answer += await receive(peer)
    assert "accept-encoding: identity" in fields_of(got)
    assert not [field for field in fields_of(got) if field.startswith(("range", "if-range", "grpc", "a-im"))]
    assert VALUE[half:].encode() not in answer
    stars = b"*" * len(VALUE)
    assert answer.count(stars) == 5
    assert b"X-Echo: a " + stars + b" b\r\n" in answer
    assert play.record()["bytes_down"] == len(f"you sent {VALUE} and {VALUE}!")


@pytest.mark.parametrize("cut", range(len(VALUE)))
async def test_inspectors_are_shown_an_answer_as_it_is_masked(cut: int) -> None:
    play = Play(Secret(VALUE, scrub=True), inspectors=("reads",))
    content = f"<{VALUE}> {VALUE[:5]}"
    async with play.running() as peer:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\n\r\n"
        _, answer = await play.ask(peer, get(), head.encode() + content[: cut + 1].encode())
        await send(play.dialer.origin, content[cut + 1 :].encode())
        masked = content.replace(VALUE, "*" * len(VALUE))
        while not answer.endswith(masked.encode()):
            answer += await receive(peer)
    assert play.record()["annotations"] == {"reads.read": masked}


async def test_content_of_a_known_length_keeps_it() -> None:
    play = Play(Secret(VALUE, scrub=True))
    content = f"<{VALUE[:5]}".encode()
    async with play.running() as peer:
        _, answer = await play.ask(peer, get(), b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n" + content)
    assert answer.endswith(b"\r\n\r\n" + content)


@pytest.mark.parametrize("field", [b"Content-Encoding: gzip", b"Grpc-Encoding: gzip", b"IM: vcdiff, gzip"])
async def test_an_answer_that_cannot_be_searched_is_not_passed_on(field: bytes) -> None:
    play = Play(Secret(VALUE, scrub=True))
    encoded = b"HTTP/1.1 200 OK\r\n" + field + b"\r\nContent-Length: 2\r\n\r\nok"
    async with play.running() as peer:
        _, answer = await play.ask(peer, get(), encoded)
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert play.record()["reason"] == Reason.RESPONSE_ENCODED


async def test_without_scrub_an_answer_passes_as_it_is() -> None:
    play = Play()
    async with play.running() as peer:
        got, answer = await play.ask(peer, get("/v1/x", "Accept-Encoding: gzip"), OK)
    assert "accept-encoding: gzip" in fields_of(got)
    assert answer.endswith(b"ok")


def test_a_running_gateway_takes_new_values_and_writes_none_anywhere(tmp_path: Path) -> None:
    key = tmp_path / "secrets" / "key"
    key.parent.mkdir()
    key.write_text(VALUE)
    settings = {"secrets": {"key": {"file": str(key), "hosts": ["api.test"]}}}
    with GatewayProcess(tmp_path, "rules: [{name: no, hosts: [no.test]}]", settings) as gateway:
        gateway.policy_file.write_text("not a policy")
        gateway.wait_for_line("reload failed")
        key.write_text(f"{VALUE}-2\n")  # whatever state the policy is in
        gateway.wait_for_line("secret key: its new value is in force")
        key.write_text(f"{VALUE}\n{VALUE}")
        line = gateway.wait_for_line("its last good value stays in force")
        limits = Path(f"/proc/{gateway.process.pid}/limits").read_text()
        said = [gateway.metrics(), *gateway.stderr_lines]
        said += [str(path.read_bytes()) for path in tmp_path.rglob("*") if path.is_file() and path != key]
    assert str(key) in line
    assert "Max core file size 0 0 bytes" in " ".join(limits.split())
    assert [text for text in said if VALUE in text] == []


def test_inside_a_tunnel_that_only_report_mode_lets_pass_requests_go_without(tmp_path: Path) -> None:
    """They come inside TLS all the same, and are not told that a secret needs it."""
    (tmp_path / "key").write_text(VALUE)
    issuer = Issuer(tmp_path)
    inspect = {"upstream_ca": "origins.pem", "headers": {"set": {"Authorization": "Bearer ${secret:key}"}}}
    rules = [{"name": "trial", "mode": "report", "hosts": [HOST], "inspect": inspect}]
    settings: dict[str, Any] = {"secrets": {"key": {"file": str(tmp_path / "key"), "hosts": [HOST]}}}
    with (
        TlsOrigin(context=issuer.context(HOST, "other.test")) as origin,
        inspecting(tmp_path, origin, issuer, time.time(), rules, **settings) as bed,
    ):
        for sni, secrets in ((HOST, ["key"]), ("other.test", None)):
            with bed.client(sni=sni) as peer:
                peer.ask(f"{HOST}:{origin.port}", f"/{sni}")
                assert status_of(read_response(peer)[0]) == 200
            [record] = bed.gateway.wait_for_records(1, path=f"/{sni}")
            assert record.get("secrets") == secrets
            assert bool(origin.requests[-1].values("authorization")) is bool(secrets)
    assert bed.gateway.records()[-1]["would_deny"] == Reason.SNI_MISMATCH
