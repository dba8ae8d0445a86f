import asyncio
import errno
import os
import random
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress

import pytest

from gateway.model.addresses import Address
from gateway.model.authority import Authority, Host
from gateway.model.decision import AddressRefusal, Permit, RuleRef, Terms, Timeouts
from gateway.model.errors import GatewayError, InternalError, Refused, UpstreamError
from gateway.model.intent import Protocol
from gateway.model.reasons import Reason
from gateway.net.dialer import TcpDialer, translate
from gateway.net.kernel.descriptors import Descriptors
from gateway.net.stream import Stream
from tests.helpers.descriptors import none_left
from tests.helpers.dns_server import DnsServer, Fault
from tests.helpers.ports import free_port, held_port, port_of
from tests.net.parts import ManualClock, address_of, addresses, build_deadlines, build_resolver, name, open_sockets

RULE = RuleRef("policy.yaml#web", "policy.yaml", 3)
DENY = RuleRef("policy.yaml#no-range", "policy.yaml", 9)
LOOPBACK, SECOND, THIRD = addresses("127.0.0.1", "127.0.0.2", "127.0.0.3")
LOOPBACK_6 = address_of("::1")
X = name("x.test")
PATIENT = Timeouts(dns=5, connect=5)


class Screen:
    """Refuses what it is told to, and remembers what it was asked."""

    def __init__(self, *refusals: AddressRefusal) -> None:
        self.asked: list[Address] = []
        self._refusals: Mapping[Address, AddressRefusal] = {refusal.address: refusal for refusal in refusals}

    def __call__(self, address: Address) -> AddressRefusal | None:
        self.asked.append(address)
        return self._refusals.get(address)


class TickingClock(ManualClock):
    """A second passes with each look."""

    def monotonic(self) -> float:
        self.now += 1.0
        return self.now


class Origin:
    """Accepts on several loopback addresses at one port; `accepted` are the addresses that connections came to."""

    def __init__(self) -> None:
        self._held = held_port(str(SECOND), str(THIRD))
        self.port = port_of(self._held)
        self.accepted: list[str] = []
        self.ended = 0
        self._handlers: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listening(self, *hosts: Address) -> AsyncIterator["Origin"]:
        servers = [await asyncio.start_server(self._serve, str(host), self.port) for host in hosts]
        try:
            yield self
        finally:
            for server in servers:
                server.close()
            self._held.close()
            async with asyncio.timeout(5):
                await asyncio.gather(*self._handlers)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)
        self.accepted.append(writer.get_extra_info("sockname")[0])
        with suppress(ConnectionError):  # a reset ends it as well
            await reader.read()
        self.ended += 1
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()


@contextmanager
def black_hole(host: Address, port: int = 0) -> Iterator[int]:
    """A port whose queue of connections is full: what more arrives is dropped in silence. Yields the port."""
    family = socket.AF_INET if host.version == 4 else socket.AF_INET6
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(host), port))
        listener.listen(0)
        fillers = [socket.socket(family) for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        try:
            yield listener.getsockname()[1]
        finally:
            for filler in fillers:
                filler.close()


def permit_for(host: Host, port: int, screen: Screen | None = None, timeouts: Timeouts = PATIENT) -> Permit:
    terms = Terms(protocol=Protocol.TLS, timeouts=timeouts)
    return Permit(Authority(host, port), RULE, terms, screen or Screen(), generation=7)


def build_dialer(*servers: DnsServer, stagger: float = 0.25, descriptors: Descriptors | None = None) -> TcpDialer:
    names, deadlines = build_resolver(*servers), build_deadlines()
    return TcpDialer(names, Stream, TickingClock(), deadlines, stagger, descriptors=descriptors)


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    with DnsServer() as server:
        yield server


async def sockets_return_to(before: int) -> None:
    """Closing takes turns of the loop; it must not take longer than a few seconds."""
    async with asyncio.timeout(5):
        while open_sockets() > before:  # noqa: ASYNC110 # nothing announces a closed socket
            await asyncio.sleep(0.01)


# What is dialled.


async def test_a_literal_is_screened_and_dialled_without_dns(dns: DnsServer) -> None:
    screen = Screen()
    async with Origin().listening(LOOPBACK) as origin:
        upstream = await build_dialer(dns).dial(permit_for(LOOPBACK, origin.port, screen))
        upstream.stream.abort()

    dialled = upstream.dialled
    assert (dialled.address, dialled.resolved, dialled.refused) == (LOOPBACK, (), ())
    assert (dialled.resolve_seconds, dialled.dial_seconds) == (None, 1.0)
    assert screen.asked == [LOOPBACK]
    assert dns.queries == []


async def test_a_name_is_resolved_once_and_all_its_addresses_are_screened(dns: DnsServer) -> None:
    dns.answer("x.test", "127.0.0.2", "127.0.0.3")
    screen = Screen()
    async with Origin().listening(SECOND, THIRD) as origin:
        upstream = await build_dialer(dns).dial(permit_for(X, origin.port, screen))
        upstream.stream.abort()

    assert screen.asked == [SECOND, THIRD]
    assert upstream.dialled.address == SECOND
    assert upstream.dialled.resolved == (SECOND, THIRD)
    assert (upstream.dialled.resolve_seconds, upstream.dialled.dial_seconds) == (1.0, 1.0)
    assert sorted(query.type for query in dns.queries) == ["A", "AAAA"]


async def test_what_was_screened_is_dialled_though_every_query_would_be_answered_differently(dns: DnsServer) -> None:
    dns.rotate("x.test", ["127.0.0.2"], ["127.0.0.3"], ttl=0)
    screen = Screen(AddressRefusal(THIRD, Reason.ADDRESS_REFUSED, "special-purpose"))
    async with Origin().listening(SECOND, THIRD) as origin:
        upstream = await build_dialer(dns).dial(permit_for(X, origin.port, screen))
        upstream.stream.abort()

    assert origin.accepted == ["127.0.0.2"]
    assert len(dns.queries) == 2


async def test_the_stream_that_comes_back_talks_to_the_destination() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        upstream = await build_dialer().dial(permit_for(LOOPBACK, server.sockets[0].getsockname()[1]))
        while await upstream.stream.more():
            pass
        assert upstream.stream.peek() == b"220 ready\r\n"
        await upstream.stream.aclose()


# What is refused.


async def test_a_refused_address_is_never_dialled_and_is_listed(dns: DnsServer) -> None:
    dns.answer("x.test", "127.0.0.2", "127.0.0.3")
    refusal = AddressRefusal(SECOND, Reason.ADDRESS_REFUSED, "denied", DENY)
    async with Origin().listening(SECOND, THIRD) as origin:
        upstream = await build_dialer(dns, stagger=0.0).dial(permit_for(X, origin.port, Screen(refusal)))
        upstream.stream.abort()

    assert origin.accepted == ["127.0.0.3"]
    assert upstream.dialled.refused == (refusal,)
    assert upstream.dialled.resolved == (SECOND, THIRD)


async def test_a_refusal_that_report_mode_set_aside_is_listed_and_dialled() -> None:
    refusal = AddressRefusal(LOOPBACK, Reason.ADDRESS_REFUSED, "denied", DENY, enforced=False)
    async with Origin().listening(LOOPBACK) as origin:
        upstream = await build_dialer().dial(permit_for(LOOPBACK, origin.port, Screen(refusal)))
        upstream.stream.abort()

    assert upstream.dialled.refused == (refusal,)


async def test_if_every_address_is_refused_the_denial_names_the_rules_in_the_way(dns: DnsServer) -> None:
    dns.answer("x.test", "127.0.0.1", "127.0.0.2", "127.0.0.3")
    screen = Screen(
        AddressRefusal(LOOPBACK, Reason.ADDRESS_REFUSED, "loopback"),
        AddressRefusal(SECOND, Reason.ADDRESS_REFUSED, "denied", DENY),
        AddressRefusal(THIRD, Reason.ADDRESS_REFUSED, "outside `within`", RULE),
    )
    async with Origin().listening(LOOPBACK, SECOND, THIRD) as origin:
        with pytest.raises(Refused) as caught:
            await build_dialer(dns).dial(permit_for(X, origin.port, screen))

    denial = caught.value.denial
    assert (denial.reason, denial.generation, denial.rule) == (Reason.ADDRESS_REFUSED, 7, RULE)
    assert denial.also == ("policy.yaml#no-range",)
    assert denial.detail == "127.0.0.1: loopback; 127.0.0.2: denied; 127.0.0.3: outside `within`"
    assert [refusal.address for refusal in denial.refused] == [LOOPBACK, SECOND, THIRD]
    assert origin.accepted == []


async def test_a_destination_that_is_this_gateway_is_a_loop() -> None:
    screen = Screen(AddressRefusal(LOOPBACK, Reason.PROXY_LOOP, "this gateway listens there"))

    with pytest.raises(UpstreamError) as caught:
        await build_dialer().dial(permit_for(LOOPBACK, 3128, screen))
    assert caught.value.reason is Reason.PROXY_LOOP


async def test_a_loop_among_other_refusals_is_a_denial(dns: DnsServer) -> None:
    dns.answer("x.test", "127.0.0.1", "127.0.0.2")
    screen = Screen(
        AddressRefusal(LOOPBACK, Reason.PROXY_LOOP, "this gateway listens there"),
        AddressRefusal(SECOND, Reason.ADDRESS_REFUSED, "loopback"),
    )

    with pytest.raises(Refused):
        await build_dialer(dns).dial(permit_for(X, 3128, screen))


# What goes wrong.


async def test_a_name_that_does_not_exist_passes_through_as_it_is(dns: DnsServer) -> None:
    screen = Screen()
    with pytest.raises(UpstreamError) as caught:
        await build_dialer(dns).dial(permit_for(X, 443, screen))

    assert caught.value.reason is Reason.DNS_NAME_NOT_FOUND
    assert screen.asked == []


async def test_dns_is_bounded_by_the_rules_own_time(dns: DnsServer) -> None:
    dns.spoil("x.test", Fault.SILENCE)
    with pytest.raises(UpstreamError) as caught:
        await build_dialer(dns).dial(permit_for(X, 443, timeouts=Timeouts(dns=0.05)))

    assert caught.value.reason is Reason.DNS_TIMEOUT


async def test_a_port_where_nobody_listens_refuses() -> None:
    port = free_port()
    with pytest.raises(UpstreamError) as caught:
        await build_dialer().dial(permit_for(LOOPBACK, port))

    assert caught.value.reason is Reason.CONNECTION_REFUSED
    assert caught.value.detail.startswith(f"127.0.0.1:{port}: ")


async def test_an_address_without_a_way_is_unroutable() -> None:
    with pytest.raises(UpstreamError) as caught:
        await build_dialer().dial(permit_for(address_of("255.255.255.255"), 443))

    assert caught.value.reason is Reason.CONNECTION_UNROUTABLE


async def test_an_address_that_swallows_connections_times_out_and_leaves_nothing_open() -> None:
    with black_hole(LOOPBACK) as port:
        before = open_sockets()
        with pytest.raises(UpstreamError, match=r"within 0\.05 s") as caught:
            await build_dialer().dial(permit_for(LOOPBACK, port, timeouts=Timeouts(connect=0.05)))
        await sockets_return_to(before)

    assert caught.value.reason is Reason.CONNECTION_TIMEOUT


async def test_running_out_of_descriptors_is_our_own_fault_and_says_so() -> None:
    async with Origin().listening(LOOPBACK) as origin:
        dialer = build_dialer(descriptors=Descriptors(look=lambda: 0))  # nobody has noticed yet
        with none_left(), pytest.raises(InternalError) as caught:
            await dialer.dial(permit_for(LOOPBACK, origin.port))

    assert caught.value.reason is Reason.DESCRIPTORS_EXHAUSTED


@pytest.mark.parametrize("host", [LOOPBACK, X])
async def test_with_the_last_descriptors_nothing_is_asked_or_dialled(dns: DnsServer, host: Host) -> None:
    async with Origin().listening(LOOPBACK) as origin:
        with pytest.raises(InternalError) as caught:
            await build_dialer(dns, descriptors=Descriptors(100, lambda: 88)).dial(permit_for(host, origin.port))
        assert origin.accepted == []
        assert dns.queries == []

    assert caught.value.reason is Reason.DESCRIPTORS_EXHAUSTED


@pytest.mark.parametrize(
    ("number", "address", "kind", "reason"),
    [
        (errno.ECONNREFUSED, LOOPBACK, UpstreamError, Reason.CONNECTION_REFUSED),
        (errno.ECONNRESET, LOOPBACK, UpstreamError, Reason.CONNECTION_REFUSED),
        (errno.ETIMEDOUT, LOOPBACK, UpstreamError, Reason.CONNECTION_TIMEOUT),
        (errno.EHOSTUNREACH, LOOPBACK, UpstreamError, Reason.CONNECTION_UNROUTABLE),
        (errno.ENETUNREACH, LOOPBACK, UpstreamError, Reason.CONNECTION_UNROUTABLE),
        (errno.EACCES, LOOPBACK, UpstreamError, Reason.CONNECTION_UNROUTABLE),
        (errno.EPERM, LOOPBACK, UpstreamError, Reason.CONNECTION_UNROUTABLE),
        (errno.EADDRNOTAVAIL, LOOPBACK, UpstreamError, Reason.LOCAL_PORTS_EXHAUSTED),
        (errno.EADDRNOTAVAIL, LOOPBACK_6, UpstreamError, Reason.CONNECTION_UNROUTABLE),
        (errno.EMFILE, LOOPBACK, InternalError, Reason.DESCRIPTORS_EXHAUSTED),
        (errno.ENFILE, LOOPBACK, InternalError, Reason.DESCRIPTORS_EXHAUSTED),
        (errno.ENOBUFS, LOOPBACK, InternalError, Reason.INTERNAL_ERROR),
    ],
)
def test_every_failure_of_the_system_has_a_reason_of_ours(
    number: int, address: Address, kind: type[GatewayError], reason: Reason
) -> None:
    error = translate(OSError(number, os.strerror(number)), address, 443)

    assert type(error) is kind
    assert error.reason is reason
    assert error.detail == f"{address.uri_host}:443: {os.strerror(number)}"


# Several addresses.


async def test_a_dead_ipv6_address_costs_a_quarter_of_a_second_and_no_descriptor(dns: DnsServer) -> None:
    dns.answer("x.test", "::1", "127.0.0.1")
    async with Origin().listening(LOOPBACK) as origin:
        with black_hole(LOOPBACK_6, origin.port):
            dialer = build_dialer(dns)
            before = open_sockets()
            started_at = asyncio.get_running_loop().time()
            upstream = await dialer.dial(permit_for(X, origin.port))
            elapsed = asyncio.get_running_loop().time() - started_at
            upstream.stream.abort()
            await sockets_return_to(before)

    assert upstream.dialled.address == LOOPBACK
    assert 0.25 <= elapsed < PATIENT.connect


async def test_a_refusing_address_hands_over_at_once(dns: DnsServer) -> None:
    dns.answer("x.test", "::1", "127.0.0.1")
    async with Origin().listening(LOOPBACK) as origin:
        upstream = await build_dialer(dns, stagger=60).dial(permit_for(X, origin.port))
        upstream.stream.abort()

    assert upstream.dialled.address == LOOPBACK


async def test_while_descriptors_are_scarce_no_second_one_is_taken_for_the_sake_of_time(dns: DnsServer) -> None:
    dns.answer("x.test", "::1", "127.0.0.1")
    async with Origin().listening(LOOPBACK) as origin:
        dialer = build_dialer(dns, stagger=0.0, descriptors=Descriptors(100, lambda: 80))
        with black_hole(LOOPBACK_6, origin.port), pytest.raises(UpstreamError) as caught:
            await dialer.dial(permit_for(X, origin.port, timeouts=Timeouts(connect=0.1)))
        assert origin.accepted == []

    assert caught.value.reason is Reason.CONNECTION_TIMEOUT


async def test_of_two_connections_that_succeed_the_second_is_closed(dns: DnsServer) -> None:
    dns.answer("x.test", "127.0.0.2", "127.0.0.3")
    async with Origin().listening(SECOND, THIRD) as origin:
        before = open_sockets()
        dialer = build_dialer(dns, stagger=0.0)
        for _ in range(20):
            upstream = await dialer.dial(permit_for(X, origin.port))
            upstream.stream.abort()
        await sockets_return_to(before)

    assert origin.ended == len(origin.accepted) >= 20


async def test_all_addresses_together_have_the_time_of_one(dns: DnsServer) -> None:
    dns.answer("x.test", "127.0.0.2", "127.0.0.3")
    port = free_port(str(SECOND), str(THIRD))
    with black_hole(SECOND, port), black_hole(THIRD, port):
        dialer = build_dialer(dns, stagger=0.01)
        before = open_sockets()
        with pytest.raises(UpstreamError) as caught:
            await dialer.dial(permit_for(X, port, timeouts=Timeouts(connect=0.1)))
        await sockets_return_to(before)

    assert caught.value.reason is Reason.CONNECTION_TIMEOUT


# Giving up.


async def test_after_a_thousand_dials_that_are_given_up_at_random_nothing_is_left(dns: DnsServer) -> None:
    dns.answer("x.test", "127.0.0.1", "127.0.0.2", "127.0.0.3", ttl=0)
    chance = random.Random(1)
    outcomes = []

    async def dial_and_close(dialer: TcpDialer, permit: Permit) -> None:
        upstream = await dialer.dial(permit)
        upstream.stream.abort()

    async with Origin().listening(LOOPBACK, THIRD) as origin:
        with black_hole(SECOND, origin.port):
            dialer = build_dialer(dns, stagger=0.001)
            permits = [permit_for(host, origin.port) for host in (X, LOOPBACK, SECOND)]
            await dial_and_close(dialer, permits[0])
            tasks_before, sockets_before = len(asyncio.all_tasks()), open_sockets()
            for _ in range(20):
                dials = [asyncio.create_task(dial_and_close(dialer, chance.choice(permits))) for _ in range(50)]
                for dial in dials:
                    await asyncio.sleep(chance.choice((0, 0, 0, 0.001)))
                    if chance.random() < 0.7:
                        dial.cancel()
                _, unfinished = await asyncio.wait(dials, timeout=0.02)
                for dial in unfinished:
                    dial.cancel()
                outcomes += await asyncio.gather(*dials, return_exceptions=True)
            await sockets_return_to(sockets_before)
            async with asyncio.timeout(5):
                while len(asyncio.all_tasks()) > tasks_before:  # noqa: ASYNC110 # handlers of the origin end by themselves
                    await asyncio.sleep(0.01)

    cancelled = sum(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    assert outcomes.count(None) + cancelled == 1000
    assert min(outcomes.count(None), cancelled) > 100
