"""Looks one name up: A and AAAA together, along CNAME chains, from the first server that answers."""

import asyncio
import errno
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import dns.exception
import dns.name
from dns.rdatatype import AAAA, A, RdataType

from gateway.model.names import HostName
from gateway.model.reasons import Reason
from gateway.model.roles import Clock
from gateway.net.dns.answers import Alias, Answer, Found, Missing, merge, read_response
from gateway.net.dns.ranking import Ranking
from gateway.net.dns.transport import DnsTransport, Over, Question
from gateway.net.names import NameServer

LONGEST_CHAIN = 8
"""How often a CNAME chain may continue in another response."""
ROUNDS = 2
"""How often a silent server is asked: one datagram may be lost."""
OTHER_FAMILY_SECONDS = 0.3
"""How long to wait for the other of A and AAAA, once the first has settled the result."""


class Family(StrEnum):
    """Which addresses are asked for."""

    ANY = "any"
    IPV4 = "ipv4"
    IPV6 = "ipv6"


KINDS: dict[Family, tuple[RdataType, ...]] = {Family.ANY: (AAAA, A), Family.IPV4: (A,), Family.IPV6: (AAAA,)}


class Result(StrEnum):
    """How one question to one server ended."""

    ANSWER = "answer"
    NO_NAME = "no_name"
    NO_ADDRESS = "no_address"
    FAILURE = "failure"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"


_RESULTS = {
    Reason.DNS_NAME_NOT_FOUND: Result.NO_NAME,
    Reason.DNS_NO_ADDRESS: Result.NO_ADDRESS,
    Reason.DNS_TIMEOUT: Result.TIMEOUT,
}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One question to one server, and its end. `over` is what carried the response or, without one, the question."""

    server: NameServer
    question: Question
    over: Over
    answer: Answer | Alias
    result: Result
    seconds: float


class Lookup:
    """`witness` is told of every attempt, except those whose answer was not needed any more. `timeout` is how many
    seconds one server has for one question."""

    def __init__(
        self,
        ranking: Ranking,
        transport: DnsTransport,
        timeout: float,
        family: Family,
        clock: Clock,
        witness: Callable[[Attempt], None],
    ) -> None:
        self._ranking = ranking
        self._transport = transport
        self._timeout = timeout
        self._kinds = KINDS[family]
        self._clock = clock
        self._witness = witness

    async def look_up(self, host: HostName, is_given_up: Callable[[], bool]) -> Answer:
        """A and AAAA together. Once one of them has settled the result, the other gets little more time. `is_given_up`
        says, where it is cancelled, that it took too long."""
        name = dns.name.from_text(host)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._follow(Question(name, kind), is_given_up)) for kind in self._kinds]
            done, open_ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if open_ and any(_settles(task.result()) for task in done):
                _, open_ = await asyncio.wait(open_, timeout=OTHER_FAMILY_SECONDS)
                for task in open_:
                    task.cancel()
        return merge([task.result() for task in tasks if not task.cancelled()], asked=len(tasks))

    async def _follow(self, question: Question, is_given_up: Callable[[], bool]) -> Answer:
        """The answer at the end of a CNAME chain, also of one that leaves its response."""
        shortest = float("inf")
        for _ in range(LONGEST_CHAIN):
            answer = await self._ask(question, is_given_up)
            if isinstance(answer, Found):
                return Found(answer.addresses, min(shortest, answer.ttl))
            if isinstance(answer, Missing):
                return answer
            question, shortest = Question(answer.name, question.kind), min(shortest, answer.ttl)
        return Missing(Reason.DNS_FAILURE, f"a CNAME chain of more than {LONGEST_CHAIN} answers")

    async def _ask(self, question: Question, is_given_up: Callable[[], bool]) -> Answer | Alias:
        """The answer of the first server that gives one. One that fails is not asked again, one that is silent is once
        more."""
        answer: Answer | Alias = Missing(Reason.DNS_FAILURE, "no name server is configured")
        servers = self._ranking.in_order(self._clock.monotonic())
        first = servers[0] if servers else None
        for _ in range(ROUNDS):
            silent = []
            for server in servers:
                attempt = await self._try(server, question, is_given_up, is_first=server == first)
                answer = attempt.answer
                if not isinstance(answer, Missing) or not answer.is_failure:
                    return answer
                if attempt.result is Result.TIMEOUT:
                    silent.append(server)
            servers = silent
        return answer

    async def _try(
        self, server: NameServer, question: Question, is_given_up: Callable[[], bool], is_first: bool
    ) -> Attempt:
        """Ask one server once. A server that sends no response at all is asked last for a while; if it is cut short,
        only the first, which had all the time that there was."""
        asked_at = self._clock.monotonic()
        over, response = self._transport.over, None
        answer: Answer | Alias
        try:
            async with asyncio.timeout(self._timeout):
                response, over = await self._transport.ask(server, question)
            answer = read_response(response)
        except TimeoutError:
            answer = _silent(server)
        except asyncio.CancelledError:
            if is_given_up():
                if is_first:
                    self._ranking.shun(server, self._clock.monotonic())
                self._tell(server, question, over, _silent(server), False, asked_at)
            raise
        except (OSError, dns.exception.DNSException) as error:
            answer = Missing(_reason_of(error), f"{server}: {error}")
        self._rank(server, answer, responded=response is not None)
        return self._tell(server, question, over, answer, response is not None, asked_at)

    def _rank(self, server: NameServer, answer: Answer | Alias, responded: bool) -> None:
        if responded:
            self._ranking.restore(server)
        elif not (isinstance(answer, Missing) and answer.is_ours):
            self._ranking.shun(server, self._clock.monotonic())

    def _tell(
        self, server: NameServer, question: Question, over: Over, answer: Answer | Alias, responded: bool, at: float
    ) -> Attempt:
        """Tell the witness of an attempt that began `at` that instant and ended."""
        attempt = Attempt(server, question, over, answer, _result(answer, responded), self._clock.monotonic() - at)
        self._witness(attempt)
        return attempt


def _silent(server: NameServer) -> Missing:
    return Missing(Reason.DNS_TIMEOUT, f"{server} is silent")


def _reason_of(error: Exception) -> Reason:
    is_ours = isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)
    return Reason.DESCRIPTORS_EXHAUSTED if is_ours else Reason.DNS_FAILURE


def _result(answer: Answer | Alias, was_answered: bool) -> Result:
    if not isinstance(answer, Missing):
        return Result.ANSWER
    return _RESULTS.get(answer.reason, Result.FAILURE if was_answered else Result.UNREACHABLE)


def _settles(answer: Answer) -> bool:
    """Whether there are addresses, or no such name: then the other question may add addresses, and change no more."""
    return isinstance(answer, Found) or answer.reason is Reason.DNS_NAME_NOT_FOUND
