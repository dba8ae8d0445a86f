"""The resolver in force.

TLS transports are imported only if needed, because h2 is large: `load_transport` does so ahead of the first question.
"""

import importlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from gateway.app.clock import SystemClock
from gateway.model.names import HostName
from gateway.model.roles import Deadlines
from gateway.net.dns.cache import Resolution
from gateway.net.dns.lookup import Attempt, Family
from gateway.net.dns.outages import Outages
from gateway.net.dns.plain import PlainDns
from gateway.net.dns.transport import PORTS, DnsTransport, Over
from gateway.net.names import NameServer, NameServers, hosts_file
from gateway.net.resolver import Resolver, ResolverCounts, ResolverOptions
from gateway.settings.gateway import ResolverSettings
from gateway.telemetry.dns import DnsReadings, QueryCounters


@dataclass(frozen=True, slots=True)
class ResolverPlan:
    """What a resolver is made from. `authorities` are CA certificates for name servers, PEM; None for the system's."""

    settings: ResolverSettings
    authorities: str | None = None


def build_resolver(
    plan: ResolverPlan,
    deadlines: Deadlines,
    counts: ResolverCounts | None = None,
    witness: Callable[[Attempt], None] = lambda _: None,
) -> Resolver:
    """A stub resolver. `counts` and `witness` are as in `Resolver`."""
    settings = plan.settings
    options = ResolverOptions(
        timeout=settings.timeout,
        cache_size=settings.cache.size,
        min_ttl=settings.cache.min_ttl,
        max_ttl=settings.cache.max_ttl,
        serve_stale=settings.cache.serve_stale,
        family=Family(settings.family),
    )
    over = Over(settings.transport)
    servers = [one if one == "system" else NameServer(one.address, one.port or PORTS[over]) for one in settings.servers]
    transport = _build_transport(plan, over)
    names = NameServers(servers, system_port=PORTS[over])
    return Resolver(names, hosts_file(), transport, options, SystemClock(), deadlines, counts, witness)


def load_transport(settings: ResolverSettings) -> None:
    """Import what the transport needs: tens of milliseconds, once."""
    if Over(settings.transport) is not Over.UDP:
        importlib.import_module("gateway.net.dns.secure")


def _build_transport(plan: ResolverPlan, over: Over) -> DnsTransport:
    if over is Over.UDP:
        return PlainDns()
    from gateway.net.dns.secure import SecureDns, Trust  # noqa: PLC0415  # see above

    tls = plan.settings.tls
    trust = Trust(plan.authorities, tls.server_name if tls is not None else None, plan.settings.path)
    return SecureDns(over, trust, silence=plan.settings.timeout)


class ResolverInForce:
    """Rebuilt when the plan changes; its counts go on. Lookups under way finish with the former resolver, whose
    connections close when they are idle."""

    def __init__(self, plan: Callable[[], ResolverPlan], deadlines: Deadlines, queries: QueryCounters) -> None:
        self._plan = plan
        self._deadlines = deadlines
        self._queries = queries
        self._counts = ResolverCounts()
        self._outages = Outages(SystemClock())
        self._planned = plan()
        self._resolver = self._build()

    def known(self, name: HostName) -> Resolution | None:
        """See `Resolver.known`."""
        return self.current().known(name)

    def resolve(self, name: HostName, within: float) -> Coroutine[Any, Any, Resolution]:
        """See `Resolver.resolve`."""
        return self.current().resolve(name, within)

    def current(self) -> Resolver:
        """By the plan that is in force now."""
        plan, former = self._plan(), self._planned
        if plan is not former:
            self._planned = plan
            if plan != former:
                self._resolver = self._build()
        return self._resolver

    def readings(self) -> DnsReadings:
        """For metrics."""
        counts, resolver = self._counts, self._resolver
        return DnsReadings(
            names={
                "hit": counts.hits,
                "miss": counts.misses,
                "joined": counts.joined,
                "stale": counts.stale,
                "failure": counts.failures,
            },
            remembered=resolver.remembered,
            health={str(server): is_well for server, is_well in resolver.health().items()},
            queries=self._queries,
        )

    def _build(self) -> Resolver:
        return build_resolver(self._planned, self._deadlines, self._counts, self._notice)

    def _notice(self, attempt: Attempt) -> None:
        self._queries.count(str(attempt.server), attempt.over, attempt.result, attempt.seconds)
        self._outages.notice(attempt)
