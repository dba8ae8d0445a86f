"""Names into addresses: the hosts file, then what is remembered, then the name servers.

Names are absolute. Concurrent askers of one name share one flight of questions; a flight lives as long as somebody
waits for it, and the number of flights is bounded. What is remembered costs no suspension.
"""

import asyncio
import resource
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

import dns.exception
import dns.message
import dns.name
from dns.rdatatype import AAAA, A, RdataType

from gateway.model.addresses import Address
from gateway.model.errors import UpstreamError
from gateway.model.names import HostName
from gateway.model.reasons import Reason
from gateway.model.roles import Clock, Deadlines
from gateway.net.dns.answers import Alias, Answer, Found, Missing, merge, read_response
from gateway.net.dns.cache import NameCache, Resolution, in_families
from gateway.net.dns_transport import EDNS_PAYLOAD, DnsTransport
from gateway.net.names import Hosts, NameServer, NameServers, WatchedFile

LONGEST_CHAIN = 8
"""How often a CNAME chain may leave the response that it stands in."""
ROUNDS = 2
"""How often a silent server is asked: one datagram may be lost."""
OTHER_FAMILY_SECONDS = 0.3
"""How long a name that is settled by one of A and AAAA waits for the other."""
SHUN_SECONDS = 30.0
"""How long a server that was silent is asked last."""
MOST_FLIGHTS = 10_000
"""Names asked for at once: so many that a thousand slow ones, which one client can ask for, leave room for others."""


class Family(StrEnum):
    """Which addresses are asked for."""

    ANY = "any"
    IPV4 = "ipv4"
    IPV6 = "ipv6"


QUESTIONS: dict[Family, tuple[RdataType, ...]] = {Family.ANY: (AAAA, A), Family.IPV4: (A,), Family.IPV6: (AAAA,)}
VERSIONS = {Family.ANY: (4, 6), Family.IPV4: (4,), Family.IPV6: (6,)}


@dataclass(frozen=True, slots=True)
class ResolverOptions:
    """Durations in seconds. `timeout` is one question to one server; `flights` bounds the names being asked for. Each
    takes up to two sockets: by default all of them take a quarter of the descriptors that the process may have."""

    timeout: float = 2.0
    cache_size: int = 50_000
    min_ttl: float = 1.0
    max_ttl: float = 3600.0
    family: Family = Family.ANY
    flights: int = field(default_factory=lambda: min(MOST_FLIGHTS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8))


@dataclass(slots=True)
class ResolverCounts:
    """Since the start. `hits` were answered from memory or the hosts file, `joined` waited for a flight of others;
    `queries` are questions sent, `failures` names that ended in SERVFAIL or the like, or in silence."""

    hits: int = 0
    misses: int = 0
    joined: int = 0
    queries: int = 0
    failures: int = 0


@dataclass(slots=True, eq=False)
class _Flight:
    task: asyncio.Task[Resolution | Missing]
    askers: int = 0


class Resolver:
    """Every object that it needs is given; `app` builds them."""

    def __init__(
        self,
        servers: NameServers,
        hosts: WatchedFile[Hosts],
        transport: DnsTransport,
        options: ResolverOptions,
        clock: Clock,
        deadlines: Deadlines,
    ) -> None:
        self.counts = ResolverCounts()
        self._servers = servers
        self._hosts = hosts
        self._transport = transport
        self._options = options
        self._clock = clock
        self._deadlines = deadlines
        self._cache = NameCache(options.cache_size, options.min_ttl, options.max_ttl)
        self._flights: dict[HostName, _Flight] = {}
        self._shunned_until: dict[NameServer, float] = {}

    async def resolve(self, name: HostName, within: float) -> Resolution:
        """The addresses of `name`, waiting `within` seconds at most. Raises `UpstreamError` with a reason `dns_*`."""
        known = self._known(name)
        if known is None:
            known = await self._ask_around(name, within)
        if isinstance(known, Missing):
            raise known.error()
        return known

    def _known(self, name: HostName) -> Resolution | Missing | None:
        now = self._clock.monotonic()
        written = self._hosts.read(now).get(name)
        if written is None:
            known = self._cache.get(name, now)
        else:
            known = _from_file(written, self._options.family)
        if known is not None:
            self.counts.hits += 1
        return known

    # ------------------------------------------------------------------------------------------------------- flights

    async def _ask_around(self, name: HostName, within: float) -> Resolution | Missing:
        flight = self._board(name)
        try:
            with self._deadlines.within(within, lambda: _too_late(within)):
                return await asyncio.shield(flight.task)
        finally:
            flight.askers -= 1
            if flight.askers == 0:
                flight.task.cancel()
                self._land(name, flight)

    def _board(self, name: HostName) -> _Flight:
        flight = self._flights.get(name)
        if flight is not None:
            self.counts.joined += 1
        elif len(self._flights) < self._options.flights:
            self.counts.misses += 1
            flight = self._flights[name] = _Flight(asyncio.create_task(self._fly(name), name=f"resolve {name}"))
        else:
            self.counts.failures += 1
            raise UpstreamError(Reason.DNS_FAILURE, f"too many names are being resolved ({self._options.flights})")
        flight.askers += 1
        return flight

    def _land(self, name: HostName, flight: _Flight) -> None:
        if self._flights.get(name) is flight:
            del self._flights[name]

    async def _fly(self, name: HostName) -> Resolution | Missing:
        answer = await self._lookup(dns.name.from_text(name))
        if isinstance(answer, Missing) and answer.is_failure:
            self.counts.failures += 1
        return self._cache.keep(name, answer, self._clock.monotonic())

    # ----------------------------------------------------------------------------------------------------- questions

    async def _lookup(self, name: dns.name.Name) -> Answer:
        """A and AAAA together. Once one of them has settled the matter, the other is given little time more."""
        questions = QUESTIONS[self._options.family]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._follow(name, question)) for question in questions]
            done, open_ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if open_ and any(_settles(task.result()) for task in done):
                _, open_ = await asyncio.wait(open_, timeout=OTHER_FAMILY_SECONDS)
                for task in open_:
                    task.cancel()
        return merge([task.result() for task in tasks if not task.cancelled()], asked=len(tasks))

    async def _follow(self, name: dns.name.Name, question: RdataType) -> Answer:
        """Go after a CNAME chain that leaves its response."""
        shortest = float("inf")
        for _ in range(LONGEST_CHAIN):
            answer = await self._ask(name, question)
            if isinstance(answer, Found):
                return Found(answer.addresses, min(shortest, answer.ttl))
            if isinstance(answer, Missing):
                return answer
            name, shortest = answer.name, min(shortest, answer.ttl)
        return Missing(Reason.DNS_FAILURE, f"a CNAME chain of more than {LONGEST_CHAIN} answers")

    async def _ask(self, name: dns.name.Name, question: RdataType) -> Answer | Alias:
        """The first server that knows. One that fails is not asked again, one that is silent once more."""
        answer: Answer | Alias = Missing(Reason.DNS_FAILURE, "no name server is configured")
        servers = self._in_order()
        for _ in range(ROUNDS):
            silent = []
            for server in servers:
                answer = await self._try(server, name, question)
                if not isinstance(answer, Missing) or not answer.is_failure:
                    return answer
                if answer.reason is Reason.DNS_TIMEOUT:
                    silent.append(server)
            servers = silent
        return answer

    def _in_order(self) -> list[NameServer]:
        now = self._clock.monotonic()
        self._shunned_until = {server: until for server, until in self._shunned_until.items() if until > now}
        return sorted(self._servers.current(now), key=self._shunned_until.__contains__)

    async def _try(self, server: NameServer, name: dns.name.Name, question: RdataType) -> Answer | Alias:
        query = dns.message.make_query(name, question, use_edns=0, payload=EDNS_PAYLOAD)
        self.counts.queries += 1
        try:
            async with asyncio.timeout(self._options.timeout):
                return read_response(await self._transport.ask(server, query))
        except TimeoutError:
            self._shunned_until[server] = self._clock.monotonic() + SHUN_SECONDS
            return Missing(Reason.DNS_TIMEOUT, f"{server} is silent")
        except (OSError, dns.exception.DNSException) as error:
            return Missing(Reason.DNS_FAILURE, f"{server}: {error}")


@lru_cache(maxsize=1024)
def _from_file(written: tuple[Address, ...], family: Family) -> Resolution | Missing:
    addresses = tuple(address for address in written if address.version in VERSIONS[family])
    return Resolution(in_families(addresses)) if addresses else _NONE_OF_FAMILY


_NONE_OF_FAMILY = Missing(Reason.DNS_NO_ADDRESS, "the hosts file has no address of the configured family")


def _settles(answer: Answer) -> bool:
    """There are addresses, or there is no such name: the other question can add addresses, not change the verdict."""
    return isinstance(answer, Found) or answer.reason is Reason.DNS_NAME_NOT_FOUND


def _too_late(within: float) -> UpstreamError:
    return UpstreamError(Reason.DNS_TIMEOUT, f"no answer within {within:g} s")
