"""What gateway.yaml says about name service reaches the resolver, at the start and at a reload."""

import asyncio
from pathlib import Path

import pytest

from gateway.app.resolving import ResolverInForce, ResolverPlan, build_resolver
from gateway.model.errors import UpstreamError
from gateway.model.names import HostName
from gateway.serve.deadlines import DeadlineWheel
from gateway.settings.load import load_resolver_authorities, load_settings
from gateway.telemetry.dns import QueryCounters
from tests.app.policies import write
from tests.helpers.dns_server import DnsServer, Fault

X = HostName("x.test")


def plan_of(folder: Path, text: str) -> ResolverPlan:
    settings = load_settings(write(folder / "gateway.yaml", text), {})
    return ResolverPlan(settings.resolver, load_resolver_authorities(settings))


def deadlines() -> DeadlineWheel:
    return DeadlineWheel(asyncio.get_running_loop())


async def test_the_resolver_asks_the_servers_it_was_given_within_its_own_time(tmp_path: Path) -> None:
    with DnsServer() as silent, DnsServer() as answering:
        silent.answer("x.test", "192.0.2.1")
        silent.spoil("x.test", Fault.SILENCE)
        answering.answer("x.test", "192.0.2.1")
        servers = f"['127.0.0.1:{silent.port}', '127.0.0.1:{answering.port}']"
        plan = plan_of(tmp_path, f"resolver: {{servers: {servers}, timeout: 200ms, family: ipv4}}")
        resolution = await build_resolver(plan, deadlines()).resolve(X, 5.0)
        assert [str(address) for address in resolution.addresses] == ["192.0.2.1"]
        assert [(query.name, query.type) for query in answering.queries] == [("x.test", "A")]


async def test_a_changed_plan_makes_a_new_resolver_and_the_counts_go_on(tmp_path: Path) -> None:
    with DnsServer() as first, DnsServer() as second:
        first.answer("x.test", "192.0.2.1")
        second.answer("x.test", "192.0.2.2")
        plans = [
            plan_of(tmp_path, f"resolver: {{servers: ['127.0.0.1:{dns.port}'], family: ipv4}}")
            for dns in (first, first, second)
        ]
        in_force = ResolverInForce(lambda: plans[0], deadlines(), QueryCounters())
        assert [str(address) for address in (await in_force.resolve(X, 5.0)).addresses] == ["192.0.2.1"]
        plans.pop(0)
        before = in_force.current()
        assert [str(address) for address in (await in_force.resolve(X, 5.0)).addresses] == ["192.0.2.1"]
        plans.pop(0)
        assert [str(address) for address in (await in_force.resolve(X, 5.0)).addresses] == ["192.0.2.2"]
        assert in_force.current() is not before
        readings = in_force.readings()
        assert readings.names == {"hit": 1, "miss": 2, "joined": 0, "stale": 0, "failure": 0}
        assert readings.health == {f"127.0.0.1:{second.port}": True}
        assert readings.queries.ended == {(f"127.0.0.1:{dns.port}", "udp", "answer"): 1 for dns in (first, second)}


async def test_a_server_that_is_gone_is_told_in_the_log_whatever_reloads_come_in_between(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with DnsServer() as gone:
        plans = [
            plan_of(tmp_path, f"resolver: {{servers: ['127.0.0.1:{gone.port}'], timeout: {timeout}, family: ipv4}}")
            for timeout in ("1s", "2s")
        ]
    in_force = ResolverInForce(lambda: plans[0], deadlines(), QueryCounters())
    for number in range(3):
        if number == 2:
            plans.pop(0)
        with pytest.raises(UpstreamError):
            await in_force.resolve(HostName(f"x{number}.test"), 5.0)
    [told] = caplog.messages
    assert told.startswith(f"a name server does not answer: 127.0.0.1:{gone.port}: ")
