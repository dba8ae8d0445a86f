import asyncio
import itertools
import socket

import dns.name
import dns.rdatatype
import pytest

from gateway.model.reasons import Reason
from gateway.net.dns.answers import Found, Missing, read_response
from gateway.net.dns.plain import PlainDns, in_random_case
from gateway.net.dns.transport import Question
from gateway.net.names import NameServer
from tests.helpers.dns_server import DnsServer, Fault, Query
from tests.net.parts import address_of, addresses, open_sockets, server_of


async def ask(dns_server: DnsServer, name: str = "x.test", kind: str = "A") -> object:
    question = Question(dns.name.from_text(name), dns.rdatatype.from_text(kind))
    async with asyncio.timeout(20):
        return read_response((await PlainDns().ask(server_of(dns_server), question)).message)


async def test_a_question_is_answered_over_udp() -> None:
    with DnsServer() as dns_server:
        dns_server.answer("x.test", "203.0.113.1", ttl=77)

        assert await ask(dns_server) == Found(addresses("203.0.113.1"), 77)
        assert dns_server.queries == [Query("x.test", "A", "udp")]


async def test_a_truncated_answer_is_fetched_over_tcp() -> None:
    with DnsServer() as dns_server:
        dns_server.answer("x.test", "203.0.113.1")
        dns_server.spoil("x.test", Fault.TRUNCATION)

        assert await ask(dns_server) == Found(addresses("203.0.113.1"), 60)
        assert [query.transport for query in dns_server.queries] == ["udp", "tcp"]


async def test_an_answer_of_500_addresses_comes_over_tcp_and_is_bounded() -> None:
    with DnsServer() as dns_server:
        dns_server.answer("x.test", *(f"10.0.{number // 250}.{number % 250}" for number in range(500)))

        found = await ask(dns_server)
        assert isinstance(found, Found)
        assert len(found.addresses) == 64
        assert [query.transport for query in dns_server.queries] == ["udp", "tcp"]


async def test_a_server_that_knows_no_edns_is_asked_without() -> None:
    with DnsServer() as dns_server:
        dns_server.answer("x.test", "203.0.113.1")
        dns_server.spoil("x.test", Fault.NO_EDNS)

        assert await ask(dns_server) == Found(addresses("203.0.113.1"), 60)
        assert [query.transport for query in dns_server.queries] == ["udp", "udp"]


async def test_a_form_error_of_a_server_that_knows_edns_is_final() -> None:
    with DnsServer() as dns_server:
        dns_server.fail("x.test", "FORMERR")

        assert await ask(dns_server) == Missing(Reason.DNS_FAILURE, "FORMERR", "FORMERR")
        assert len(dns_server.queries) == 1


@pytest.mark.parametrize(
    "fault", [Fault.WRONG_ID, Fault.WRONG_QUESTION, Fault.WRONG_CASE, Fault.WRONG_PORT, Fault.GARBAGE]
)
async def test_a_forged_answer_is_ignored_and_the_real_one_awaited(fault: Fault) -> None:
    with DnsServer() as dns_server:
        dns_server.answer("x.test", "203.0.113.1")
        dns_server.spoil("x.test", fault)

        assert await ask(dns_server) == Found(addresses("203.0.113.1"), 60)


@pytest.mark.parametrize("fault", [Fault.WRONG_ID, Fault.WRONG_QUESTION, Fault.WRONG_PORT, Fault.GARBAGE])
async def test_a_forged_answer_alone_is_no_answer(fault: Fault) -> None:
    with DnsServer() as dns_server:
        dns_server.answer("x.test", "203.0.113.1")
        dns_server.spoil("x.test", fault)
        dns_server.spoil("x.test", Fault.SILENCE)

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await ask(dns_server)


async def test_a_server_that_does_not_repeat_the_letters_case_is_asked_over_tcp() -> None:
    with DnsServer() as dns_server:
        dns_server.answer("x-twenty-letters.test", "203.0.113.1")
        dns_server.spoil("x-twenty-letters.test", Fault.WRONG_CASE)

        assert await ask(dns_server, "x-twenty-letters.test") == Found(addresses("203.0.113.1"), 60)
        assert [query.transport for query in dns_server.queries] == ["udp", "tcp"]


def test_the_case_of_every_letter_is_thrown_and_nothing_else_changes() -> None:
    name = dns.name.from_text(r"ab-c_1.\255z.test")
    spellings = {in_random_case(name) for _ in range(3)}
    thrown = [in_random_case(name).labels for _ in range(200)]
    assert spellings == {name}, "names are compared without case"
    assert len({labels[0] for labels in thrown}) == 8
    assert {labels[1] for labels in thrown} == {b"\xffz", b"\xffZ"}
    assert all(labels[0].lower() == b"ab-c_1" and labels[-1] == b"" for labels in thrown)


async def test_every_question_has_a_port_and_an_id_of_its_own() -> None:
    with DnsServer() as dns_server:
        dns_server.answer("x.test", "203.0.113.1")
        for _ in range(64):
            await ask(dns_server)

        assert len(set(dns_server.source_ports)) > 56
        assert len(set(dns_server.ids)) > 56
        ports = dns_server.source_ports
        steps = [later - earlier for earlier, later in itertools.pairwise(ports)]
        assert len(set(steps)) > 32, "the ports follow a pattern"


async def test_a_connection_that_ends_inside_an_answer_is_an_error() -> None:
    with DnsServer() as dns_server:
        dns_server.answer("x.test", "203.0.113.1")
        dns_server.spoil("x.test", Fault.TRUNCATION)
        dns_server.spoil("x.test", Fault.CLOSE)

        with pytest.raises(ConnectionResetError):
            await ask(dns_server)


async def test_a_port_where_nobody_listens_is_an_error_at_once() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = NameServer(address_of("127.0.0.1"), taken.getsockname()[1])
    question = Question(dns.name.from_text("x.test"), dns.rdatatype.A)
    with pytest.raises(ConnectionRefusedError):
        async with asyncio.timeout(2):
            await PlainDns().ask(nobody, question)


@pytest.mark.parametrize("faults", [[Fault.SILENCE], [Fault.TRUNCATION, Fault.STALL]], ids=["udp", "tcp"])
async def test_giving_up_leaves_no_socket_open(faults: list[Fault]) -> None:
    with DnsServer() as dns_server:
        dns_server.answer("x.test", "203.0.113.1")
        for fault in faults:
            dns_server.spoil("x.test", fault)
        before = open_sockets()
        for number in range(20):
            asking = asyncio.create_task(ask(dns_server))
            await asyncio.to_thread(dns_server.wait_for_queries, len(faults) * (number + 1))
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking

        async with asyncio.timeout(5):
            while open_sockets() > before:  # noqa: ASYNC110 # the server's ends close when it notices
                await asyncio.sleep(0.01)
