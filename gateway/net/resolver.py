"""Resolves names: the hosts file, then the cache, then the name servers. Names are absolute.

Concurrent lookups of one name share one flight of questions; a flight lives as long as somebody waits for it, and the
number of flights is bounded. A cached name costs no suspension. Expired addresses may serve a while longer if the
servers fail (RFC 8767): then the flight goes on to its end with nobody waiting for it.
"""

import asyncio
import resource
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from gateway.model.addresses import Address
from gateway.model.errors import UpstreamError
from gateway.model.names import HostName
from gateway.model.reasons import Reason
from gateway.model.roles import Clock, Deadlines
from gateway.net.dns.answers import Missing
from gateway.net.dns.cache import NameCache, Resolution, in_families
from gateway.net.dns.lookup import Attempt, Family, Lookup
from gateway.net.dns.ranking import Ranking
from gateway.net.dns.transport import DnsTransport
from gateway.net.names import Hosts, NameServer, NameServers, WatchedFile

MOST_FLIGHTS = 10_000
"""Names asked for at once: one client can ask for a thousand slow ones, and leaves room for the others."""
STALE_PATIENCE_SECONDS = 1.8
"""How long to wait for a fresh answer where there is a stale one (RFC 8767 section 5)."""

VERSIONS = {Family.ANY: (4, 6), Family.IPV4: (4,), Family.IPV6: (6,)}


@dataclass(frozen=True, slots=True)
class ResolverOptions:
    """Durations in seconds. `timeout` is for one question to one server; `flights` bounds the names being asked for.
    Each takes up to two sockets: by default they may take a quarter of the process's descriptors together."""

    timeout: float = 2.0
    cache_size: int = 50_000
    min_ttl: float = 1.0
    max_ttl: float = 3600.0
    serve_stale: float = 0.0
    stale_patience: float = STALE_PATIENCE_SECONDS
    family: Family = Family.ANY
    flights: int = field(default_factory=lambda: min(MOST_FLIGHTS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8))


@dataclass(slots=True)
class ResolverCounts:
    """Since the start. `hits` were answered from the cache or the hosts file, `joined` waited for another's flight,
    `stale` were answered with expired addresses; `failures` are names that ended in SERVFAIL or the like, or in
    silence."""

    hits: int = 0
    misses: int = 0
    joined: int = 0
    stale: int = 0
    failures: int = 0


@dataclass(slots=True, eq=False)
class _Flight:
    """`is_overdue`: somebody has taken stale addresses rather than wait for it any longer. `is_given_up`: the last who
    waited had no more time."""

    askers: int = 0
    is_overdue: bool = False
    is_given_up: bool = False
    task: asyncio.Task[Resolution | Missing] = field(init=False)


class Resolver:
    """`counts` may continue an earlier resolver's; `witness` is told of every question that ended."""

    def __init__(
        self,
        servers: NameServers,
        hosts: WatchedFile[Hosts],
        transport: DnsTransport,
        options: ResolverOptions,
        clock: Clock,
        deadlines: Deadlines,
        counts: ResolverCounts | None = None,
        witness: Callable[[Attempt], None] = lambda _: None,
    ) -> None:
        self.counts = counts or ResolverCounts()
        self._ranking = Ranking(servers)
        self._hosts = hosts
        self._transport = transport
        self._options = options
        self._clock = clock
        self._deadlines = deadlines
        self._lookup = Lookup(self._ranking, transport, options.timeout, options.family, clock, witness)
        self._cache = NameCache(options.cache_size, options.min_ttl, options.max_ttl, options.serve_stale)
        self._flights: dict[HostName, _Flight] = {}

    async def resolve(self, name: HostName, within: float) -> Resolution:
        """The addresses of `name`, waiting `within` seconds at most. Raises `UpstreamError` with a reason `dns_*`, or
        `InternalError` when descriptors ran out."""
        known = self.known(name)
        if known is not None:
            return known
        found = await self._await_flight(name, within)
        if isinstance(found, Missing):
            raise found.error()
        return found

    def known(self, name: HostName) -> Resolution | None:
        """The addresses, if the hosts file or the cache has them; None if they have to be asked for. Raises
        `UpstreamError` for a name of which it is known that it has none."""
        now = self._clock.monotonic()
        written = self._hosts.read(now).get(name)
        known = self._cache.get(name, now) if written is None else _from_file(written, self._options.family)
        if known is None:
            return None
        self.counts.hits += 1
        if isinstance(known, Missing):
            raise known.error()
        return known

    @property
    def remembered(self) -> int:
        """Number of names in the cache."""
        return len(self._cache)

    def health(self) -> Mapping[NameServer, bool]:
        """See `Ranking.health`."""
        return self._ranking.health()

    def close(self) -> None:
        """Close what is kept open to name servers."""
        self._transport.close()

    # Flights.

    async def _await_flight(self, name: HostName, within: float) -> Resolution | Missing:
        """The flight's answer, or a stale one if there is one and the flight takes too long or may not begin."""
        stale = self._cache.stale(name, self._clock.monotonic())
        if stale is not None and name not in self._flights and self._is_full:
            self.counts.stale += 1
            return stale
        flight = self._join(name)
        try:
            if stale is None:
                with self._deadlines.within(within, lambda: _too_late(within)):
                    return await asyncio.shield(flight.task)
            if not flight.is_overdue:
                await asyncio.wait([flight.task], timeout=min(within, self._options.stale_patience))
            if flight.task.done():
                return flight.task.result()
            self._mark_overdue(name, flight)
            return stale
        except UpstreamError:  # too late: what a flight finds out is its result
            flight.is_given_up = flight.askers == 1
            raise
        finally:
            self._leave(name, flight)

    def _join(self, name: HostName) -> _Flight:
        flight = self._flights.get(name)
        if flight is not None:
            self.counts.joined += 1
        elif self._is_full:
            self.counts.failures += 1
            raise UpstreamError(Reason.DNS_FAILURE, f"too many names are being resolved ({self._options.flights})")
        else:
            self.counts.misses += 1
            flight = self._flights[name] = _Flight()
            flight.task = asyncio.create_task(self._look_up(name, flight), name=f"resolve {name}")
        flight.askers += 1
        return flight

    @property
    def _is_full(self) -> bool:
        return len(self._flights) >= self._options.flights

    def _mark_overdue(self, name: HostName, flight: _Flight) -> None:
        """Those who wait get the stale addresses; the flight goes on to its end to refresh the cache."""
        self.counts.stale += 1
        if not flight.is_overdue:
            flight.is_overdue = True
            flight.task.add_done_callback(lambda _: self._forget(name, flight))

    def _leave(self, name: HostName, flight: _Flight) -> None:
        flight.askers -= 1
        if flight.askers == 0 and not flight.is_overdue:
            flight.task.cancel()
            self._forget(name, flight)

    def _forget(self, name: HostName, flight: _Flight) -> None:
        if self._flights.get(name) is flight:
            del self._flights[name]

    async def _look_up(self, name: HostName, flight: _Flight) -> Resolution | Missing:
        try:
            answer = await self._lookup.look_up(name, lambda: flight.is_given_up)
        except asyncio.CancelledError:
            self.counts.failures += flight.is_given_up
            raise
        known = self._cache.keep(name, answer, self._clock.monotonic())
        if isinstance(answer, Missing) and answer.is_failure:
            self.counts.failures += 1
            self.counts.stale += isinstance(known, Resolution) and not flight.is_overdue
        return known


@lru_cache(maxsize=1024)
def _from_file(written: tuple[Address, ...], family: Family) -> Resolution | Missing:
    addresses = tuple(address for address in written if address.version in VERSIONS[family])
    return Resolution(in_families(addresses)) if addresses else _NONE_OF_FAMILY


_NONE_OF_FAMILY = Missing(Reason.DNS_NO_ADDRESS, "the hosts file has no address of the configured family")


def _too_late(within: float) -> UpstreamError:
    return UpstreamError(Reason.DNS_TIMEOUT, f"no answer within {within:g} s")
