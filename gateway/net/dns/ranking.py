"""The order in which name servers are asked: as configured, but those last that did not answer lately. Time is an
argument, in monotonic seconds.

After `SHUN_SECONDS` one lookup tries such a server first, wherever it stands in the list: nobody else would find out
that it answers again. The others still ask it last until it has answered. So a dead server costs one lookup its
time-out in that time, not all of them.
"""

from collections.abc import Mapping
from math import inf

from gateway.net.names import NameServer, NameServers

SHUN_SECONDS = 30.0
"""How long a server that did not answer is asked last, until it is tried again."""


class Ranking:
    """Ranks the servers that are configured at the time."""

    def __init__(self, servers: NameServers) -> None:
        self._servers = servers
        self._shunned_until: dict[NameServer, float] = {}
        self._known: tuple[NameServer, ...] = ()

    def in_order(self, now: float) -> list[NameServer]:
        """The servers, in the order in which to ask them."""
        self._known = self._servers.current(now)
        self._shunned_until = {one: until for one, until in self._shunned_until.items() if one in self._known}
        due = next((server for server in self._known if self._shunned_until.get(server, inf) <= now), None)
        order = sorted(self._known, key=lambda server: (server != due, self._shunned_until.get(server, now) > now))
        if due is not None:
            self.shun(due, now)
        return order

    def shun(self, server: NameServer, now: float) -> None:
        """The server was silent, unreachable or not authenticated."""
        self._shunned_until[server] = now + SHUN_SECONDS

    def restore(self, server: NameServer) -> None:
        """It answered."""
        self._shunned_until.pop(server, None)

    def health(self) -> Mapping[NameServer, bool]:
        """For each server as of the last lookup: False if it is asked last."""
        shunned = self._shunned_until
        return {server: server not in shunned for server in self._known}
