"""DoT and DoH against a server that counts connections and can lie, die and come back."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import dns.name
import dns.rdatatype
import pytest

from gateway.net.dns.answers import Alias, Answer, Found, Missing, read_response
from gateway.net.dns.framing import MOST_AT_ONCE
from gateway.net.dns.secure import SecureDns, Trust
from gateway.net.dns.transport import Over, Question
from gateway.net.names import NameServer
from tests.helpers.authority import TestAuthority
from tests.helpers.dns_server import DnsServer, Fault
from tests.helpers.secure_dns_server import SecureDnsServer
from tests.net.parts import address_of, addresses, open_sockets

OVERS: tuple[Literal["dot", "doh"], ...] = ("dot", "doh")


@pytest.fixture
def authority(tmp_path: Path) -> TestAuthority:
    return TestAuthority(tmp_path)


@pytest.fixture(params=OVERS)
def server(request: pytest.FixtureRequest, authority: TestAuthority) -> Iterator[SecureDnsServer]:
    context = authority.server_context("127.0.0.1", "dns.test")
    with SecureDnsServer(context, request.param) as server:
        server.answer("x.test", "203.0.113.1", ttl=77)
        yield server


class Asker:
    """One transport to one server."""

    def __init__(self, server: SecureDnsServer, trust: Trust, silence: float = 2.0) -> None:
        self.sockets_before = open_sockets()
        self.transport = SecureDns(Over(server.over), trust, silence)
        self.place = NameServer(address_of(server.address), server.tls_port)

    async def ask(self, name: str = "x.test", patience: float = 5.0) -> Answer | Alias:
        question = Question(dns.name.from_text(name), dns.rdatatype.A)
        async with asyncio.timeout(patience):
            return read_response((await self.transport.ask(self.place, question)).message)


@pytest.fixture
async def asker(server: SecureDnsServer, authority: TestAuthority) -> AsyncIterator[Asker]:
    asker = Asker(server, Trust(authority.bundle.read_text()))
    yield asker
    await closed(asker)


async def closed(asker: Asker) -> None:
    """With the goodbyes of TLS on both sides."""
    asker.transport.close()
    async with asyncio.timeout(60):
        while open_sockets() > asker.sockets_before:  # noqa: ASYNC110 # nothing announces a closed socket
            await asyncio.sleep(0.01)


FOUND = Found(addresses("203.0.113.1"), 77)

# The connection.


async def test_many_questions_share_one_connection(server: SecureDnsServer, asker: Asker) -> None:
    assert [await asker.ask() for _ in range(5)] == [FOUND] * 5
    assert await asyncio.gather(*(asker.ask() for _ in range(50))) == [FOUND] * 50
    assert server.connections == 1
    assert {query.transport for query in server.queries} == {server.over}


async def test_a_slow_answer_holds_up_no_other(server: SecureDnsServer, asker: Asker) -> None:
    server.answer("slow.test", "203.0.113.2")
    server.delay("slow.test", 0.5)
    slow = asyncio.create_task(asker.ask("slow.test"))
    await asyncio.to_thread(server.wait_for_queries, 1)

    assert await asker.ask() == FOUND
    assert not slow.done()
    assert await slow == Found(addresses("203.0.113.2"), 60)
    assert server.connections == 1


async def test_more_questions_than_fit_wait_for_their_turn(server: SecureDnsServer, asker: Asker) -> None:
    server.delay("x.test", 0.05)
    assert await asyncio.gather(*(asker.ask() for _ in range(150))) == [FOUND] * 150
    assert server.connections == 1


async def test_a_doh_server_says_how_many_questions_it_takes_at_once(authority: TestAuthority) -> None:
    context = authority.server_context("127.0.0.1")
    with SecureDnsServer(context, "doh") as server:
        server.most_streams = 2
        server.answer("x.test", "203.0.113.1", ttl=77)
        server.delay("x.test", 0.02)
        asker = Asker(server, Trust(authority.bundle.read_text()))
        assert await asyncio.gather(*(asker.ask() for _ in range(20))) == [FOUND] * 20
        assert server.connections == 1
        await closed(asker)


async def test_a_connection_that_the_server_closed_is_opened_anew(server: SecureDnsServer, asker: Asker) -> None:
    await asker.ask()
    await asyncio.to_thread(server.hang_up)
    assert await asker.ask() == FOUND
    assert server.connections == 2


async def test_a_question_whose_connection_ends_under_it_is_put_once_more(
    server: SecureDnsServer, asker: Asker
) -> None:
    await asker.ask()
    server.delay("x.test", 0.3)
    asking = asyncio.create_task(asker.ask())
    await asyncio.to_thread(server.wait_for_queries, 2)
    await asyncio.to_thread(server.hang_up)
    assert await asking == FOUND
    assert server.connections == 2


async def test_a_server_that_breaks_off_every_time_is_given_up(server: SecureDnsServer, asker: Asker) -> None:
    server.spoil("x.test", Fault.CLOSE)
    with pytest.raises(ConnectionError):
        await asker.ask()
    assert server.connections == 1


async def test_a_killed_server_is_an_error_at_once_and_used_again_when_it_is_back(
    server: SecureDnsServer, asker: Asker
) -> None:
    await asker.ask()
    await asyncio.to_thread(server.kill)
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            await asker.ask()
    await asyncio.to_thread(server.revive)
    assert await asker.ask() == FOUND
    assert server.connections == 2


async def test_a_connection_that_fell_silent_is_not_used_for_the_next_question(
    server: SecureDnsServer, authority: TestAuthority
) -> None:
    asker = Asker(server, Trust(authority.bundle.read_text()), silence=0.1)
    server.answer("lost.test", "203.0.113.9")
    server.spoil("lost.test", Fault.SILENCE)
    await asker.ask()
    with pytest.raises(TimeoutError):
        await asker.ask("lost.test", patience=0.15)
    assert await asker.ask() == FOUND
    assert server.connections == 2
    await closed(asker)


async def test_giving_up_leaves_the_connection_to_the_others(server: SecureDnsServer, authority: TestAuthority) -> None:
    asker = Asker(server, Trust(authority.bundle.read_text()), silence=60)
    server.spoil("lost.test", Fault.SILENCE)
    await asker.ask()
    for _ in range(MOST_AT_ONCE + 10):  # more than fit: each gives its place back
        with pytest.raises(TimeoutError):
            await asker.ask("lost.test", patience=0)
    with pytest.raises(TimeoutError):
        await asker.ask("lost.test", patience=0.05)
    assert await asker.ask() == FOUND
    assert server.connections == 1
    await closed(asker)


async def test_askers_that_go_while_a_connection_is_opened_leave_it_to_the_next(
    server: SecureDnsServer, asker: Asker
) -> None:
    for _ in range(20):
        with pytest.raises(TimeoutError):
            await asker.ask(patience=0)
    assert await asker.ask() == FOUND
    assert server.connections == 1


async def test_close_leaves_no_socket_open(server: SecureDnsServer, authority: TestAuthority) -> None:
    asker = Asker(server, Trust(authority.bundle.read_text()))
    before = open_sockets()
    await asker.ask()
    asker.transport.close()
    async with asyncio.timeout(5):
        while open_sockets() > before:  # noqa: ASYNC110 # the server's end closes when it notices
            await asyncio.sleep(0.01)


async def test_the_size_of_a_question_does_not_tell_the_length_of_its_name(
    server: SecureDnsServer, asker: Asker
) -> None:
    await asker.ask()
    await asker.ask("a-name-that-is-somewhat-longer.test")
    assert server.sizes == [128, 128]


# Lies.


@pytest.mark.parametrize("fault", [Fault.WRONG_ID, Fault.WRONG_QUESTION])
async def test_a_lie_is_ignored_and_the_truth_awaited(authority: TestAuthority, fault: Fault) -> None:
    """On DoT: a stream of DoH carries one answer only."""
    with SecureDnsServer(authority.server_context("127.0.0.1"), "dot") as server:
        server.answer("x.test", "203.0.113.1", ttl=77)
        server.spoil("x.test", fault)
        asker = Asker(server, Trust(authority.bundle.read_text()))
        assert await asker.ask() == FOUND
        await closed(asker)


@pytest.mark.parametrize("fault", [Fault.WRONG_ID, Fault.WRONG_QUESTION])
async def test_a_lie_alone_is_no_answer(server: SecureDnsServer, asker: Asker, fault: Fault) -> None:
    server.spoil("x.test", fault)
    server.spoil("x.test", Fault.SILENCE)
    with pytest.raises(TimeoutError):
        await asker.ask(patience=0.1)


# Trust.


async def test_the_name_that_the_certificate_must_be_for_can_be_given(
    server: SecureDnsServer, authority: TestAuthority
) -> None:
    asker = Asker(server, Trust(authority.bundle.read_text(), "dns.test"))
    assert await asker.ask() == FOUND
    await closed(asker)


@pytest.mark.parametrize("over", OVERS)
@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("wrong name", "Hostname mismatch"),
        ("wrong address", "IP address mismatch"),
        ("unknown authority", "unable to get local issuer"),
        ("system's trust", "unable to get local issuer"),
        ("expired", "certificate has expired"),
    ],
)
async def test_a_certificate_that_does_not_hold_ends_it_before_a_question_is_asked(
    tmp_path: Path, authority: TestAuthority, over: Literal["dot", "doh"], case: str, says: str
) -> None:
    names = ["dns.test"] if case == "wrong address" else ["127.0.0.1", "dns.test"]
    long_ago = datetime(2020, 1, 1, tzinfo=UTC) if case == "expired" else None
    (tmp_path / "other").mkdir()
    bundle = TestAuthority(tmp_path / "other").bundle if case == "unknown authority" else authority.bundle
    trust = Trust(
        None if case == "system's trust" else bundle.read_text(), "other.test" if case == "wrong name" else None
    )
    with SecureDnsServer(authority.server_context(*names, not_after=long_ago), over) as server:
        server.answer("x.test", "203.0.113.1")
        with pytest.raises(ssl.SSLCertVerificationError, match=says):
            await Asker(server, trust).ask()
        assert server.queries == []


@pytest.mark.parametrize("over", OVERS)
async def test_a_server_without_tls_gets_no_question(authority: TestAuthority, over: Literal["dot", "doh"]) -> None:
    with DnsServer() as plain:
        plain.answer("x.test", "203.0.113.1")
        transport = SecureDns(Over(over), Trust(authority.bundle.read_text()), silence=2.0)
        question = Question(dns.name.from_text("x.test"), dns.rdatatype.A)
        with pytest.raises(TimeoutError):  # it takes the handshake for the length of a long question
            async with asyncio.timeout(0.2):
                await transport.ask(NameServer(address_of(plain.address), plain.port), question)
        assert plain.queries == []
        await asyncio.sleep(0.05)  # the loop closes what was cancelled


@pytest.mark.parametrize("certificates", ["", "nothing of the kind"])
def test_authorities_that_are_none_do_not_stand_for_the_systems(certificates: str) -> None:
    with pytest.raises((ValueError, ssl.SSLError)):
        SecureDns(Over.DOT, Trust(certificates), silence=2.0)


# What is DoH's own.


@pytest.fixture
def doh(authority: TestAuthority) -> Iterator[SecureDnsServer]:
    with SecureDnsServer(authority.server_context("127.0.0.1"), "doh") as server:
        server.answer("x.test", "203.0.113.1", ttl=77)
        yield server


async def test_the_path_is_as_configured(doh: SecureDnsServer, authority: TestAuthority) -> None:
    asker = Asker(doh, Trust(authority.bundle.read_text(), path="/private/dns"))
    assert await asker.ask() == FOUND
    assert doh.paths == ["/private/dns"]
    await closed(asker)


@pytest.mark.parametrize(
    ("status", "media_type", "says"),
    [("404", "application/dns-message", "HTTP status 404"), ("200", "text/html", "is no application/dns-message")],
)
async def test_an_answer_that_is_no_dns_message_says_what_it_was(
    doh: SecureDnsServer, authority: TestAuthority, status: str, media_type: str, says: str
) -> None:
    doh.status, doh.media_type = status, media_type
    asker = Asker(doh, Trust(authority.bundle.read_text()))
    with pytest.raises(ConnectionAbortedError, match=says):
        await asker.ask()
    await closed(asker)


async def test_a_server_that_does_not_speak_http2_is_named(authority: TestAuthority) -> None:
    with SecureDnsServer(authority.server_context("127.0.0.1"), "dot") as server:
        transport = SecureDns(Over.DOH, Trust(authority.bundle.read_text()), silence=2.0)
        question = Question(dns.name.from_text("x.test"), dns.rdatatype.A)
        with pytest.raises(ConnectionAbortedError, match="does not speak h2"):
            await transport.ask(NameServer(address_of(server.address), server.tls_port), question)
        assert server.queries == []


async def test_a_name_that_does_not_exist_is_told_as_over_udp(server: SecureDnsServer, asker: Asker) -> None:
    answer = await asker.ask("nothing.test")
    assert isinstance(answer, Missing)
    assert answer.rcode == "NXDOMAIN"
