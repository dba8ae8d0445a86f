import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.model.errors import InternalError, UpstreamError
from gateway.model.reasons import Reason
from gateway.net.dns.lookup import LONGEST_CHAIN, Attempt, Family
from gateway.net.resolver import ResolverOptions
from tests.helpers.descriptors import none_left
from tests.helpers.dns_server import DnsServer, Fault, Query
from tests.net.parts import ManualClock, addresses, build_resolver, name, open_sockets

X = name("x.test")


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    with DnsServer() as server:
        yield server


@pytest.fixture
def second_dns() -> Iterator[DnsServer]:
    with DnsServer() as server:
        yield server


def kinds(dns: DnsServer) -> list[str]:
    return sorted(query.type for query in dns.queries)


async def test_a_name_for_which_no_descriptor_is_left_is_our_fault_and_not_the_servers(dns: DnsServer) -> None:
    dns.answer("x.test", "203.0.113.1")
    resolver = build_resolver(dns)
    with none_left(), pytest.raises(InternalError) as caught:
        await resolver.resolve(X, within=2)
    assert caught.value.reason is Reason.DESCRIPTORS_EXHAUSTED
    assert dns.queries == []
    assert all(resolver.health().values())


async def test_what_is_known_at_once_is_what_was_found_out_before(dns: DnsServer) -> None:
    dns.answer("x.test", "203.0.113.1")
    resolver = build_resolver(dns)
    assert resolver.known(X) is None
    assert (dns.queries, resolver.counts.hits) == ([], 0)
    assert resolver.known(X) is None
    found = await resolver.resolve(X, within=2)
    assert (resolver.known(X), resolver.counts.hits) == (found, 1)
    with pytest.raises(UpstreamError):
        await resolver.resolve(name("y.test"), within=2)
    asked = len(dns.queries)
    with pytest.raises(UpstreamError) as missing:
        resolver.known(name("y.test"))
    assert (missing.value.reason, len(dns.queries), resolver.counts.hits) == (Reason.DNS_NAME_NOT_FOUND, asked, 2)


# What is asked for.


async def test_a_and_aaaa_are_asked_and_ipv6_comes_first(dns: DnsServer) -> None:
    dns.answer("x.test", "203.0.113.1", "2001:db8::1")

    resolution = await build_resolver(dns).resolve(X, within=2)
    assert resolution.addresses == addresses("2001:db8::1", "203.0.113.1")
    assert kinds(dns) == ["A", "AAAA"]


@pytest.mark.parametrize(
    ("family", "kind", "address"), [(Family.IPV4, "A", "203.0.113.1"), (Family.IPV6, "AAAA", "2001:db8::1")]
)
async def test_one_family_alone_can_be_asked_for(dns: DnsServer, family: Family, kind: str, address: str) -> None:
    dns.answer("x.test", "203.0.113.1", "2001:db8::1")

    resolution = await build_resolver(dns, options=ResolverOptions(family=family)).resolve(X, within=2)
    assert resolution.addresses == addresses(address)
    assert dns.queries == [Query("x.test", kind, "udp")]


async def test_a_name_is_absolute_whatever_resolv_conf_searches(dns: DnsServer) -> None:
    with pytest.raises(UpstreamError):
        await build_resolver(dns).resolve(name("intranet"), within=2)

    assert {query.name for query in dns.queries} == {"intranet"}


async def test_the_hosts_file_goes_before_dns_and_its_changes_show(dns: DnsServer, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("203.0.113.7 x.test\n2001:db8::7 x.test\n")
    clock = ManualClock()
    resolver = build_resolver(dns, hosts=hosts, clock=clock)
    assert (await resolver.resolve(X, within=2)).addresses == addresses("2001:db8::7", "203.0.113.7")

    hosts.write_text("203.0.113.88 x.test\n")
    clock.advance(1.0)
    assert (await resolver.resolve(X, within=2)).addresses == addresses("203.0.113.88")
    assert dns.queries == []


async def test_a_hosts_entry_of_the_other_family_only_is_no_address(dns: DnsServer, tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("203.0.113.7 x.test\n")
    resolver = build_resolver(dns, hosts=hosts, options=ResolverOptions(family=Family.IPV6))

    with pytest.raises(UpstreamError) as caught:
        await resolver.resolve(X, within=2)
    assert caught.value.reason is Reason.DNS_NO_ADDRESS
    assert dns.queries == []


# Chains.


async def test_a_chain_inside_one_answer_costs_one_question_a_family(dns: DnsServer) -> None:
    dns.alias("x.test", "y.test")
    dns.alias("y.test", "z.test")
    dns.answer("z.test", "203.0.113.1")

    assert (await build_resolver(dns).resolve(X, within=2)).addresses == addresses("203.0.113.1")
    assert {query.name for query in dns.queries} == {"x.test"}


async def test_a_chain_that_leaves_the_answer_is_followed(dns: DnsServer) -> None:
    dns.alias("x.test", "y.test", alone=True)
    dns.answer("y.test", "203.0.113.1")

    assert (await build_resolver(dns).resolve(X, within=2)).addresses == addresses("203.0.113.1")
    assert {query.name for query in dns.queries} == {"x.test", "y.test"}


async def test_the_smallest_ttl_of_a_followed_chain_counts(dns: DnsServer) -> None:
    dns.alias("x.test", "y.test", ttl=10, alone=True)
    dns.answer("y.test", "203.0.113.1", ttl=300)
    clock = ManualClock()
    resolver = build_resolver(dns, clock=clock)
    await resolver.resolve(X, within=2)
    asked = len(dns.queries)

    clock.advance(9.9)
    await resolver.resolve(X, within=2)
    assert len(dns.queries) == asked
    clock.advance(0.1)
    await resolver.resolve(X, within=2)
    assert len(dns.queries) > asked


async def test_an_endless_chain_is_given_up(dns: DnsServer) -> None:
    dns.alias("x.test", "y.test", alone=True)
    dns.alias("y.test", "x.test", alone=True)

    with pytest.raises(UpstreamError, match="chain") as caught:
        await build_resolver(dns).resolve(X, within=2)
    assert caught.value.reason is Reason.DNS_FAILURE
    assert len(dns.queries) == 2 * LONGEST_CHAIN


# Failures.


@pytest.mark.parametrize(
    ("rcode", "reason"),
    [
        ("NXDOMAIN", Reason.DNS_NAME_NOT_FOUND),
        ("NOERROR", Reason.DNS_NO_ADDRESS),
        ("SERVFAIL", Reason.DNS_FAILURE),
        ("REFUSED", Reason.DNS_FAILURE),
    ],
)
async def test_a_name_without_addresses_fails_with_dns_own_word(dns: DnsServer, rcode: str, reason: Reason) -> None:
    dns.fail("x.test", rcode)

    with pytest.raises(UpstreamError) as caught:
        await build_resolver(dns).resolve(X, within=2)
    assert (caught.value.reason, caught.value.rcode) == (reason, rcode)


async def test_silence_is_a_timeout_after_two_tries(dns: DnsServer) -> None:
    dns.spoil("x.test", Fault.SILENCE)
    options = ResolverOptions(timeout=0.05, family=Family.IPV4)

    with pytest.raises(UpstreamError, match="silent") as caught:
        await build_resolver(dns, options=options).resolve(X, within=2)
    assert caught.value.reason is Reason.DNS_TIMEOUT
    assert len(dns.queries) == 2


async def test_the_whole_is_bounded_by_what_the_asker_allows(dns: DnsServer) -> None:
    dns.spoil("x.test", Fault.SILENCE)
    loop = asyncio.get_running_loop()
    started_at = loop.time()

    with pytest.raises(UpstreamError, match=r"within 0\.1 s") as caught:
        await build_resolver(dns, options=ResolverOptions(timeout=30)).resolve(X, within=0.1)
    assert caught.value.reason is Reason.DNS_TIMEOUT
    assert loop.time() - started_at < 15  # and not the server's 30 s


async def test_no_configured_server_is_a_failure() -> None:
    with pytest.raises(UpstreamError, match="no name server"):
        await build_resolver().resolve(X, within=2)


async def test_each_failure_is_an_error_of_its_own(dns: DnsServer) -> None:
    resolver = build_resolver(dns)
    errors = []
    for _ in range(2):
        with pytest.raises(UpstreamError) as caught:
            await resolver.resolve(X, within=2)
        errors.append(caught.value)

    assert errors[0] is not errors[1]


# Several servers.


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED"])
async def test_a_server_that_fails_hands_over_to_the_next(dns: DnsServer, second_dns: DnsServer, rcode: str) -> None:
    dns.fail("x.test", rcode)
    second_dns.answer("x.test", "203.0.113.1")

    assert (await build_resolver(dns, second_dns).resolve(X, within=2)).addresses == addresses("203.0.113.1")


async def test_a_name_that_does_not_exist_is_not_asked_elsewhere(dns: DnsServer, second_dns: DnsServer) -> None:
    second_dns.answer("x.test", "203.0.113.1")

    with pytest.raises(UpstreamError):
        await build_resolver(dns, second_dns).resolve(X, within=2)
    assert second_dns.queries == []


async def test_a_silent_server_hands_over_to_the_next_and_is_asked_last_for_a_while(
    dns: DnsServer, second_dns: DnsServer
) -> None:
    dns.spoil("x.test", Fault.SILENCE)
    second_dns.answer("x.test", "203.0.113.1")
    second_dns.answer("y.test", "203.0.113.2")
    dns.answer("z.test", "203.0.113.3")
    clock = ManualClock()
    resolver = build_resolver(dns, second_dns, clock=clock, options=ResolverOptions(timeout=0.5, family=Family.IPV4))

    await resolver.resolve(X, within=2)
    await resolver.resolve(name("y.test"), within=2)
    assert [query.name for query in dns.queries] == ["x.test"]
    clock.advance(30.0)
    await resolver.resolve(name("z.test"), within=2)
    assert [query.name for query in dns.queries] == ["x.test", "z.test"]


async def test_a_server_that_is_silent_for_all_the_time_that_there_is_hands_over_as_well(
    dns: DnsServer, second_dns: DnsServer
) -> None:
    """`timeouts.dns` of a rule may be shorter than `resolver.timeout`: no question comes to its own end."""
    dns.spoil("x.test", Fault.SILENCE)
    second_dns.answer("x.test", "203.0.113.1")
    told: list[Attempt] = []
    options = ResolverOptions(timeout=30, family=Family.IPV4)
    resolver = build_resolver(dns, second_dns, options=options, witness=told.append)

    with pytest.raises(UpstreamError):
        await resolver.resolve(X, within=0.1)
    assert (await resolver.resolve(X, within=2)).addresses == addresses("203.0.113.1")
    assert [(attempt.server.port, attempt.result) for attempt in told] == [
        (dns.port, "timeout"),
        (second_dns.port, "answer"),
    ]
    assert (resolver.counts.misses, resolver.counts.failures) == (2, 1)
    assert list(resolver.health().values()) == [False, True]


async def test_a_server_that_had_only_what_another_left_of_the_time_is_not_called_silent(
    dns: DnsServer, second_dns: DnsServer
) -> None:
    """Else the dead one would be the first again, and leave it as little the next time."""
    dns.spoil("x.test", Fault.SILENCE)
    dns.spoil("y.test", Fault.SILENCE)
    second_dns.spoil("x.test", Fault.SILENCE)
    second_dns.answer("y.test", "203.0.113.1")
    told: list[Attempt] = []
    options = ResolverOptions(timeout=0.3, family=Family.IPV4)
    resolver = build_resolver(dns, second_dns, options=options, witness=told.append)

    with pytest.raises(UpstreamError):
        await resolver.resolve(X, within=0.4)
    await asyncio.sleep(0.02)  # what was asked is taken back
    assert list(resolver.health().values()) == [False, True]
    assert [(attempt.server.port, attempt.result) for attempt in told] == [
        (dns.port, "timeout"),
        (second_dns.port, "timeout"),
    ]
    assert (await resolver.resolve(name("y.test"), within=2)).addresses == addresses("203.0.113.1")
    assert "y.test" not in [query.name for query in dns.queries]


async def test_a_server_whose_answer_nobody_waits_for_any_more_is_not_called_silent(dns: DnsServer) -> None:
    """The first asker runs out of time, and the second goes away."""
    dns.spoil("x.test", Fault.SILENCE)
    dns.answer("y.test", "203.0.113.1")
    told: list[Attempt] = []
    resolver = build_resolver(dns, options=ResolverOptions(timeout=30), witness=told.append)
    leaving = asyncio.create_task(resolver.resolve(X, within=20))
    with pytest.raises(UpstreamError):
        await resolver.resolve(X, within=0.1)
    leaving.cancel()
    await asyncio.wait([leaving])
    assert resolver.counts.failures == 0
    assert (await resolver.resolve(name("y.test"), within=2)).addresses == addresses("203.0.113.1")

    assert {str(attempt.question.name) for attempt in told} == {"y.test."}
    assert all(resolver.health().values())


async def test_a_lost_datagram_costs_one_more_try(dns: DnsServer) -> None:
    dns.answer("x.test", "203.0.113.1")
    dns.spoil("x.test", Fault.SILENCE)
    resolver = build_resolver(dns, options=ResolverOptions(timeout=0.5, family=Family.IPV4))
    asking = asyncio.create_task(resolver.resolve(X, within=2))
    await asyncio.to_thread(dns.wait_for_queries, 1)
    dns.forget("x.test")
    dns.answer("x.test", "203.0.113.1")

    assert (await asking).addresses == addresses("203.0.113.1")


# One family does not hold up the other.


async def test_ipv4_answers_though_aaaa_is_silent_and_is_asked_again_soon(dns: DnsServer) -> None:
    dns.answer("x.test", "203.0.113.1", ttl=3600)
    dns.spoil("x.test", Fault.SILENCE, only="AAAA")
    clock = ManualClock()
    resolver = build_resolver(dns, clock=clock, options=ResolverOptions(timeout=30))
    started_at = asyncio.get_running_loop().time()

    assert (await resolver.resolve(X, within=5)).addresses == addresses("203.0.113.1")
    assert asyncio.get_running_loop().time() - started_at < 2
    clock.advance(30.0)
    await resolver.resolve(X, within=5)
    assert kinds(dns) == ["A", "A", "AAAA", "AAAA"]


# Memory.


async def test_a_remembered_name_is_answered_without_suspending(dns: DnsServer) -> None:
    dns.answer("x.test", "203.0.113.1")
    resolver = build_resolver(dns)
    first = await resolver.resolve(X, within=2)

    with pytest.raises(StopIteration) as finished:
        resolver.resolve(X, within=2).send(None)
    assert finished.value.value == first
    assert resolver.counts.hits == 1
    assert len(dns.queries) == 2


async def test_a_ttl_is_kept_within_its_bounds(dns: DnsServer) -> None:
    dns.answer("x.test", "203.0.113.1", ttl=0)
    dns.answer("y.test", "203.0.113.1", ttl=2**31 - 1)
    clock = ManualClock()
    resolver = build_resolver(dns, clock=clock, options=ResolverOptions(min_ttl=5, max_ttl=60, family=Family.IPV4))

    for pause in (0, 4.9, 0.1, 54.9, 0.1):
        clock.advance(pause)
        await resolver.resolve(X, within=2)
        await resolver.resolve(name("y.test"), within=2)
    asked = [query.name for query in dns.queries]
    assert (asked.count("x.test"), asked.count("y.test")) == (3, 2)


async def test_what_does_not_exist_is_remembered_for_the_soas_minimum(dns: DnsServer) -> None:
    dns.fail("x.test", "NXDOMAIN", negative_ttl=20)
    dns.fail("y.test", "NOERROR", negative_ttl=20)
    clock = ManualClock()
    resolver = build_resolver(dns, clock=clock, options=ResolverOptions(family=Family.IPV4))

    for pause in (0, 19.9, 0.1):
        clock.advance(pause)
        for label in ("x.test", "y.test"):
            with pytest.raises(UpstreamError):
                await resolver.resolve(name(label), within=2)
    assert len(dns.queries) == 4


async def test_a_failure_is_remembered_for_one_second(dns: DnsServer) -> None:
    dns.fail("x.test", "SERVFAIL")
    clock = ManualClock()
    resolver = build_resolver(dns, clock=clock, options=ResolverOptions(family=Family.IPV4))

    for pause in (0, 0.9, 0.1):
        clock.advance(pause)
        with pytest.raises(UpstreamError):
            await resolver.resolve(X, within=2)
    assert len(dns.queries) == 2
    assert resolver.counts.failures == 2


async def test_an_expired_name_is_resolved_anew(dns: DnsServer) -> None:
    dns.rotate("x.test", ["203.0.113.1"], ["203.0.113.2"], ttl=10)
    clock = ManualClock()
    resolver = build_resolver(dns, clock=clock)
    assert (await resolver.resolve(X, within=2)).addresses == addresses("203.0.113.1")
    assert (await resolver.resolve(X, within=2)).addresses == addresses("203.0.113.1")

    clock.advance(10.0)
    assert (await resolver.resolve(X, within=2)).addresses == addresses("203.0.113.2")


# Flights.


async def test_many_askers_of_one_name_share_one_flight(dns: DnsServer) -> None:
    dns.answer("x.test", "203.0.113.1")
    dns.delay("x.test", 0.05)
    resolver = build_resolver(dns)

    answers = await asyncio.gather(*(resolver.resolve(X, within=2) for _ in range(100)))
    assert {answer.addresses for answer in answers} == {addresses("203.0.113.1")}
    assert kinds(dns) == ["A", "AAAA"]
    assert (resolver.counts.misses, resolver.counts.joined) == (1, 99)


async def test_an_asker_that_is_cancelled_takes_nobody_along(dns: DnsServer) -> None:
    dns.answer("x.test", "203.0.113.1")
    dns.delay("x.test", 0.05)
    resolver = build_resolver(dns)
    first, second = (asyncio.create_task(resolver.resolve(X, within=2)) for _ in range(2))
    await asyncio.to_thread(dns.wait_for_queries, 1)
    first.cancel()

    assert (await second).addresses == addresses("203.0.113.1")
    assert first.cancelled()


async def test_a_flight_that_nobody_waits_for_ends(dns: DnsServer) -> None:
    dns.spoil("x.test", Fault.SILENCE)
    before = open_sockets()
    resolver = build_resolver(dns, options=ResolverOptions(timeout=30))
    asker = asyncio.create_task(resolver.resolve(X, within=20))
    await asyncio.to_thread(dns.wait_for_queries, 2)
    asker.cancel()
    await asyncio.wait([asker])
    dns.forget("x.test")
    dns.answer("x.test", "203.0.113.1")

    assert (await resolver.resolve(X, within=2)).addresses == addresses("203.0.113.1")
    assert open_sockets() == before


async def test_an_asker_with_less_patience_leaves_the_flight_to_the_others(dns: DnsServer) -> None:
    dns.answer("x.test", "203.0.113.1")
    dns.delay("x.test", 0.2)
    resolver = build_resolver(dns, options=ResolverOptions(timeout=2))
    hasty, patient = await asyncio.gather(
        resolver.resolve(X, within=0.05), resolver.resolve(X, within=2), return_exceptions=True
    )

    assert isinstance(hasty, UpstreamError)
    assert hasty.reason is Reason.DNS_TIMEOUT
    assert not isinstance(patient, BaseException)
    assert patient.addresses == addresses("203.0.113.1")


async def test_the_number_of_names_being_resolved_is_bounded(dns: DnsServer) -> None:
    for label in ("a.test", "b.test"):
        dns.spoil(label, Fault.SILENCE)
    resolver = build_resolver(dns, options=ResolverOptions(flights=2))
    waiting = [asyncio.create_task(resolver.resolve(name(label), within=2)) for label in ("a.test", "b.test")]
    await asyncio.sleep(0)

    with pytest.raises(UpstreamError, match="too many") as caught:
        await resolver.resolve(X, within=2)
    assert caught.value.reason is Reason.DNS_FAILURE
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    dns.answer("x.test", "203.0.113.1")
    assert (await resolver.resolve(X, within=2)).addresses == addresses("203.0.113.1")


# Stale answers.


def stale_options(stale_patience: float = 1.8, timeout: float = 0.2) -> ResolverOptions:
    return ResolverOptions(
        timeout=timeout, family=Family.IPV4, min_ttl=0, serve_stale=600, stale_patience=stale_patience
    )


async def test_while_servers_fail_an_expired_address_serves_until_its_last_second(dns: DnsServer) -> None:
    dns.answer("x.test", "203.0.113.1", ttl=10)
    clock = ManualClock()
    resolver = build_resolver(dns, clock=clock, options=stale_options())
    await resolver.resolve(X, within=2)
    dns.fail("x.test", "SERVFAIL")

    clock.advance(10.0)
    assert (await resolver.resolve(X, within=2)).addresses == addresses("203.0.113.1")
    assert (resolver.counts.stale, resolver.counts.failures) == (1, 1)
    clock.advance(599.9)
    assert (await resolver.resolve(X, within=2)).addresses == addresses("203.0.113.1")
    clock.advance(0.1)
    with pytest.raises(UpstreamError):
        await resolver.resolve(X, within=2)


async def test_a_stale_address_counts_as_fresh_for_half_a_minute(dns: DnsServer) -> None:
    dns.answer("x.test", "203.0.113.1", ttl=10)
    clock = ManualClock()
    resolver = build_resolver(dns, clock=clock, options=stale_options())
    await resolver.resolve(X, within=2)
    dns.fail("x.test", "SERVFAIL")

    for pause in (10.0, 29.9, 0.1):
        clock.advance(pause)
        await resolver.resolve(X, within=2)
    assert len(dns.queries) == 3


async def test_what_the_servers_say_goes_before_what_is_stale(dns: DnsServer) -> None:
    dns.answer("x.test", "203.0.113.1", ttl=10)
    clock = ManualClock()
    resolver = build_resolver(dns, clock=clock, options=stale_options())
    await resolver.resolve(X, within=2)

    clock.advance(10.0)
    dns.answer("x.test", "203.0.113.2", ttl=10)
    assert (await resolver.resolve(X, within=2)).addresses == addresses("203.0.113.2")
    clock.advance(10.0)
    dns.fail("x.test", "NXDOMAIN")
    with pytest.raises(UpstreamError) as caught:
        await resolver.resolve(X, within=2)
    assert caught.value.reason is Reason.DNS_NAME_NOT_FOUND
    assert resolver.counts.stale == 0


async def test_a_slow_answer_comes_too_late_for_its_asker_and_in_time_for_the_next(dns: DnsServer) -> None:
    dns.rotate("x.test", ["203.0.113.1"], ["203.0.113.2"], ttl=10)
    clock = ManualClock()
    resolver = build_resolver(dns, clock=clock, options=stale_options(stale_patience=0.05, timeout=5))
    await resolver.resolve(X, within=2)
    clock.advance(10.0)
    dns.delay("x.test", 1.0)

    started_at = asyncio.get_running_loop().time()
    for _ in range(3):  # the first loses patience, the others do not even wait
        assert (await resolver.resolve(X, within=2)).addresses == addresses("203.0.113.1")
    assert asyncio.get_running_loop().time() - started_at < 0.9
    async with asyncio.timeout(5):
        while (await resolver.resolve(X, within=2)).addresses == addresses("203.0.113.1"):  # noqa: ASYNC110 # the answer tells
            await asyncio.sleep(0.02)  # a stale answer comes without waiting
    assert len(dns.queries) == 2
    assert (resolver.counts.misses, resolver.counts.failures) == (2, 0)


async def test_a_stale_address_that_was_given_out_already_is_not_counted_again_when_the_servers_have_failed(
    dns: DnsServer,
) -> None:
    dns.answer("x.test", "203.0.113.1", ttl=10)
    clock = ManualClock()
    resolver = build_resolver(dns, clock=clock, options=stale_options(stale_patience=0.05, timeout=0.2))
    await resolver.resolve(X, within=2)
    clock.advance(10.0)
    dns.spoil("x.test", Fault.SILENCE)

    assert (await resolver.resolve(X, within=2)).addresses == addresses("203.0.113.1")
    async with asyncio.timeout(5):
        while not resolver.counts.failures:  # noqa: ASYNC110 # the count tells
            await asyncio.sleep(0.02)
    assert resolver.counts.stale == 1


async def test_a_stale_address_serves_where_no_further_name_may_be_asked_for(dns: DnsServer) -> None:
    dns.answer("x.test", "203.0.113.1", ttl=10)
    dns.spoil("y.test", Fault.SILENCE)
    clock = ManualClock()
    resolver = build_resolver(dns, clock=clock, options=replace(stale_options(), flights=1))
    await resolver.resolve(X, within=2)
    waiting = asyncio.create_task(resolver.resolve(name("y.test"), within=2))
    await asyncio.sleep(0)

    clock.advance(10.0)
    assert (await resolver.resolve(X, within=2)).addresses == addresses("203.0.113.1")
    assert (resolver.counts.stale, resolver.counts.failures) == (1, 0)
    waiting.cancel()
    await asyncio.wait([waiting])


async def test_without_serve_stale_an_expired_address_is_gone(dns: DnsServer) -> None:
    dns.answer("x.test", "203.0.113.1", ttl=10)
    clock = ManualClock()
    resolver = build_resolver(dns, clock=clock, options=ResolverOptions(timeout=0.2, family=Family.IPV4))
    await resolver.resolve(X, within=2)
    dns.fail("x.test", "SERVFAIL")
    clock.advance(10.0)
    with pytest.raises(UpstreamError):
        await resolver.resolve(X, within=2)


# Told of.


async def test_every_question_that_ended_is_told_with_its_server_and_result(
    dns: DnsServer, second_dns: DnsServer
) -> None:
    dns.fail("x.test", "SERVFAIL")
    second_dns.answer("x.test", "203.0.113.1")
    told: list[Attempt] = []
    await build_resolver(dns, second_dns, options=ResolverOptions(family=Family.IPV4), witness=told.append).resolve(
        X, within=2
    )
    assert [(attempt.server.port, attempt.over, attempt.result) for attempt in told] == [
        (dns.port, "udp", "failure"),
        (second_dns.port, "udp", "answer"),
    ]
