"""Connections to destinations between two exchanges.

One is used again only for the same client, under the same rule of the same generation, for the same host and port: it
then leads where a dial would lead, with the same permit. It is dropped when it ends, says something unasked, or waits
too long; and in time also while it is used, so that a changed answer of the name servers takes effect.
"""

from collections.abc import Callable, Hashable

from gateway.exchange.upstream import UpstreamConnection
from gateway.model.client import Client
from gateway.model.decision import Permit
from gateway.model.roles import Alarm, Deadlines

IDLE_SECONDS = 15.0
LONGEST_USE = 120.0  # seconds from the dial
IDLE_AT_MOST = 1000
IDLE_FOR_ONE_KEY = 32


def pool_key(client: Client, permit: Permit) -> Hashable:
    """All that has to be the same. Labels are no key: whom they describe is told by the other facts."""
    who = client.address, client.source, client.user, client.namespace, client.service_account, client.pod
    return who, client.spiffe, client.known, permit.rule.name, permit.generation, permit.authority


class Pool:
    """Idle connections, the one used last first."""

    def __init__(self, deadlines: Deadlines, monotonic: Callable[[], float]) -> None:
        self._deadlines = deadlines
        self._monotonic = monotonic
        self._idle: dict[Hashable, list[UpstreamConnection]] = {}
        self._count = 0
        self._alarm: Alarm | None = None

    def __len__(self) -> int:
        return self._count

    def take(self, key: Hashable) -> UpstreamConnection | None:
        """One that still stands; the caller gives it back or closes it."""
        waiting = self._idle.get(key)
        if waiting is None:
            return None
        connection = waiting[-1]
        connection.leave_pool()
        return connection

    def give(self, key: Hashable, connection: UpstreamConnection) -> None:
        """Keep one between two exchanges, or close it where there is no room or it has been used for long."""
        waiting = self._idle.setdefault(key, [])
        too_old = self._monotonic() - connection.dialled_at > LONGEST_USE
        if too_old or self._count >= IDLE_AT_MOST or len(waiting) >= IDLE_FOR_ONE_KEY:
            if not waiting:
                del self._idle[key]
            connection.close()
            return
        waiting.append(connection)
        self._count += 1
        connection.enter_pool(self, key, self._monotonic())
        if self._alarm is None:
            self._alarm = self._deadlines.after(IDLE_SECONDS, self._sweep)

    def close(self) -> None:
        """Close all that wait."""
        for connection in self._all():
            connection.close()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def forget(self, key: Hashable, connection: UpstreamConnection) -> None:
        """It leaves, in whatever way."""
        waiting = self._idle[key]
        waiting.remove(connection)
        self._count -= 1
        if not waiting:
            del self._idle[key]

    def _all(self) -> list[UpstreamConnection]:
        return [connection for waiting in self._idle.values() for connection in waiting]

    def _sweep(self) -> None:
        """Close what has waited for long: one waits at most twice that time."""
        self._alarm = None
        long_ago = self._monotonic() - IDLE_SECONDS
        for connection in self._all():
            if connection.idle_since <= long_ago:
                connection.close()
        if self._count:
            self._alarm = self._deadlines.after(IDLE_SECONDS, self._sweep)
