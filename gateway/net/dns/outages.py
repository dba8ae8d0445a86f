"""Tells the operator when a name server stops answering, and when it answers again: a line each.

One lost datagram is not worth any, and a server that comes and goes not one each time.
"""

import logging
from dataclasses import dataclass

from gateway.model.roles import Clock
from gateway.net.dns.answers import Missing
from gateway.net.dns.lookup import Attempt, Result
from gateway.net.names import NameServer

IN_A_ROW = 3
"""Questions that a server leaves without an answer until it is told."""
PAUSE_SECONDS = 30.0
"""From one outage of a server until another is told."""

_UNANSWERED = frozenset((Result.TIMEOUT, Result.UNREACHABLE))

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Server:
    """`missed` are the questions in a row that it left without an answer; instants are monotonic."""

    missed: int = 0
    silent_since: float = 0.0
    is_told: bool = False
    quiet_until: float = 0.0


class Outages:
    """Knows those servers that ever left a question without an answer."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._servers: dict[NameServer, _Server] = {}

    def notice(self, attempt: Attempt) -> None:
        """One question ended. One for which we had no descriptor says nothing of the server."""
        if isinstance(attempt.answer, Missing) and attempt.answer.is_ours:
            return
        server = self._servers.get(attempt.server)
        if attempt.result in _UNANSWERED:
            self._miss(server or self._servers.setdefault(attempt.server, _Server()), attempt)
        elif server is not None and server.missed:
            self._answer(server, attempt)

    def _miss(self, server: _Server, attempt: Attempt) -> None:
        now = self._clock.monotonic()
        if not server.missed:
            server.silent_since = now - attempt.seconds
        server.missed += 1
        if not server.is_told and server.missed >= IN_A_ROW and now >= server.quiet_until:
            server.is_told = True
            why = attempt.answer.detail if isinstance(attempt.answer, Missing) else attempt.server
            _logger.warning("a name server does not answer: %s", why)

    def _answer(self, server: _Server, attempt: Attempt) -> None:
        if server.is_told:
            now = self._clock.monotonic()
            server.quiet_until = now + PAUSE_SECONDS
            _logger.info("name server %s answers again, after %.0f s", attempt.server, now - server.silent_since)
        server.missed, server.is_told = 0, False
