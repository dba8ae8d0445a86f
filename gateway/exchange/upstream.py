"""The connections to destinations that exchanges use, and the pool that keeps them between exchanges.

A connection is used again only for the same client, under the same rule of the same generation, for the same host and
port: it then leads where a dial would lead, with the same permit. One that began with a PROXY header belongs to its
client connection.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from operator import attrgetter
from typing import Any, Protocol

from gateway.exchange.http1.upstream import UpstreamConnection
from gateway.exchange.inlet import Head, Inlet, Sink
from gateway.exchange.plan import RequestPlan
from gateway.exchange.response import ResponsePlan
from gateway.model.addresses import Address
from gateway.model.client import Client
from gateway.model.decision import Permit
from gateway.model.errors import GatewayError, Refused, UpstreamError
from gateway.model.record import Dialled
from gateway.model.roles import Alarm, Deadlines
from gateway.wire.http.messages import Response

IDLE_SECONDS = 15.0
LONGEST_USE = 120.0  # seconds from the dial
IDLE_AT_MOST = 1000  # one client keeps at most as many as are still free, and so leaves room for others
IDLE_FOR_ONE_KEY = 32

_WHO = attrgetter("source", "user", "namespace", "service_account", "pod", "spiffe", "certificate", "known", "doubt")


class UpstreamSide(Protocol):
    """The destination's side of an exchange: a connection of HTTP/1 for as long as it lasts, or one stream of HTTP/2.
    `is_reused`: it was dialled for another exchange, or the dial was recorded elsewhere. `is_verified` as in
    `Upstream.verified`."""

    @property
    def dialled(self) -> Dialled: ...

    @property
    def is_reused(self) -> bool: ...

    @property
    def is_verified(self) -> bool: ...

    @property
    def stream(self) -> Sink: ...

    @property
    def inlet(self) -> Inlet[Response]: ...

    last_response: ResponsePlan | None
    """The last response, as it was sent."""

    def expect(self, method: str, upgrade: bool, tell: Callable[[], None]) -> None:
        """A request with this method is sent next. Raises `UpstreamError` if an answer is there already."""
        ...

    def head(self, plan: RequestPlan, host: str, fields: list[tuple[str, str]] | None) -> Head:
        """The head of the request, with `fields` in place of the plan's unless they are None."""
        ...

    def check(self) -> None:
        """Raise `UpstreamError` if no answer can come any more."""
        ...

    @property
    def is_unprocessed(self) -> bool:
        """Whether the destination has said that it did not process the request (RFC 9113 section 8.7)."""
        ...

    @property
    def is_clean(self) -> bool:
        """The last answer is complete, nothing came after it, and another request may be sent."""
        ...

    def retire(self) -> None:
        """Let no later exchange share its connection."""
        ...

    def close(self) -> None:
        """Close it between two exchanges."""
        ...

    def abort(self) -> None:
        """Cut it off during an exchange: an orderly end would make an incomplete upload look complete."""
        ...


class Shared(Protocol):
    """A connection that carries many exchanges at once."""

    @property
    def has_room(self) -> bool:
        """Whether it can carry one more."""
        ...

    @property
    def idle_since(self) -> float | None:
        """The monotonic instant since which it carries none."""
        ...

    def new_stream(self) -> UpstreamSide:
        """A stream for one more exchange."""
        ...

    def close(self) -> None:
        """Close it, and end the exchanges on it."""
        ...


PoolKey = tuple[Address, Hashable]
"""What connections in a pool are told apart by: the client's address, and everything else."""


def pool_key(client: Client, permit: Permit, peer: tuple[Address, int]) -> PoolKey:
    """What must be equal for a connection to be used again; `peer` counts only if the destination was told of it. The
    client's groups count because they decide which addresses are denied, and a pod's labels may change at any time."""
    told = peer if permit.terms.proxy_protocol is not None else None
    who = _WHO(client), permit.groups
    return client.address, (who, permit.rule.name, permit.generation, permit.authority, told)


class Pool:
    """Idle connections, the most recently used first, at most `at_most`. Its maker closes it. A connection is dropped
    when it ends, receives something unasked or waits too long, and after `LONGEST_USE`, so that a changed DNS answer
    takes effect."""

    def __init__(self, deadlines: Deadlines, monotonic: Callable[[], float], at_most: int = IDLE_AT_MOST) -> None:
        self._deadlines = deadlines
        self._monotonic = monotonic
        self._at_most = at_most
        self._idle: dict[PoolKey, list[UpstreamConnection]] = {}
        self._keys: dict[UpstreamConnection, PoolKey] = {}  # of all that are idle
        self._of_client: dict[Address, int] = {}
        self._alarm: Alarm | None = None
        self._shared: dict[PoolKey, list[Shared]] = {}
        self._dialling = asyncio.Lock()
        self._failures = 0
        self._failure: UpstreamError | Refused | None = None
        self._owed: dict[PoolKey, GatewayError] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def needs_dial(self, key: PoolKey) -> bool:
        """Whether an exchange that begins now has to dial: `take` would give it nothing, and it will not share the
        connection that is dialled for another at the moment."""
        if key in self._idle or (self._owed and key in self._owed):
            return False
        return not self._shared or (self._with_room(key) is None and not self._dialling.locked())

    def owe(self, key: PoolKey, failure: GatewayError) -> None:
        """Have the next `take` fail as the dial did that was made ahead of it."""
        self._owed[key] = failure

    async def reach(
        self, key: PoolKey, dial: Callable[[], Coroutine[Any, Any, UpstreamSide]], may_repeat: bool
    ) -> UpstreamSide:
        """Makes one by `dial`; `may_repeat` is as for `take`. Once connections of this pool have proved to carry
        many exchanges at once, only one is dialled at a time, and the others share its result: a connection, an error,
        or a refusal by a limit of new connections."""
        if not self._shared:
            return await dial()
        failures = self._failures
        async with self._dialling:
            taken = self.take(key, may_repeat)
            if taken is not None:
                return taken
            if self._failure is not None and self._failures != failures:  # while this one waited
                raise _again(self._failure)
            try:
                return await dial()
            except (UpstreamError, Refused) as error:
                self._failures, self._failure = self._failures + 1, _again(error)
                raise

    def share(self, key: PoolKey, connection: Shared) -> None:
        """Let exchanges share this one from now on."""
        self._shared.setdefault(key, []).append(connection)
        if self._alarm is None:
            self._watch()

    def _with_room(self, key: PoolKey) -> Shared | None:
        shared = self._shared.get(key)
        return next((each for each in shared if each.has_room), None) if shared else None

    def take(self, key: PoolKey, may_repeat: bool = True) -> UpstreamSide | None:
        """One that is still open; the caller gives it back or closes it. None: dial a fresh one, also where a request
        that may not be repeated would go over one that its destination could be about to close. Raises what is owed."""
        if self._owed and key in self._owed:
            raise self._owed.pop(key)
        shared = self._with_room(key) if self._shared else None
        if shared is not None:
            return shared.new_stream()
        now = self._monotonic()
        while (waiting := self._idle.get(key)) is not None:
            connection = waiting[-1]
            if now < connection.kept_until and (may_repeat or connection.is_surely_open(now)):
                connection.leave_pool()
                return connection
            connection.close()
            if not may_repeat:
                break
        return None

    def give(self, key: PoolKey, connection: UpstreamConnection) -> None:
        """Keep one until the next exchange, or close it if there is no room or it has been used for long."""
        waiting, client, now = self._idle.setdefault(key, []), key[0], self._monotonic()
        of_client = self._of_client.get(client, 0)
        has_room = of_client < self._at_most - len(self._keys) and len(waiting) < IDLE_FOR_ONE_KEY
        if has_room and now - connection.dialled_at <= LONGEST_USE:
            waiting.append(connection)
            self._keys[connection] = key
            self._of_client[client] = of_client + 1
            connection.enter_pool(self._forget, now)
            if self._alarm is None:
                self._watch()
            return
        if not waiting:
            del self._idle[key]
        connection.close()

    def _watch(self) -> None:
        self._alarm = self._deadlines.after(IDLE_SECONDS, self._sweep)

    def close(self) -> None:
        """Close all connections."""
        for connection in list(self._keys):
            connection.close()
        for shared in self._all_shared():
            shared.close()
        self._shared.clear()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _forget(self, connection: UpstreamConnection) -> None:
        """It has left the pool."""
        key = self._keys.pop(connection)
        waiting, client = self._idle.pop(key), key[0]
        if len(waiting) > 1:
            waiting.remove(connection)
            self._idle[key] = waiting
        left = self._of_client.pop(client) - 1
        if left:
            self._of_client[client] = left

    def _all_shared(self) -> list[Shared]:
        return [connection for shared in self._shared.values() for connection in shared]

    def _sweep(self) -> None:
        """Close what has waited for `IDLE_SECONDS`: nothing waits for more than twice that."""
        self._alarm = None
        long_ago = self._monotonic() - IDLE_SECONDS
        for connection in list(self._keys):
            if connection.idle_since <= long_ago:
                connection.close()
        for key, shared in self._shared.items():
            self._shared[key] = [each for each in shared if not _is_done(each, long_ago)]
        if self._keys or self._all_shared():
            self._watch()


def _is_done(shared: Shared, long_ago: float) -> bool:
    """Close it if it has carried nothing for long, or carries nothing and may not any more; True: it was closed."""
    if shared.idle_since is None or (shared.has_room and shared.idle_since > long_ago):
        return False
    shared.close()
    return True


def _again(error: UpstreamError | Refused) -> UpstreamError | Refused:
    """The same error, without the frames that it was raised through."""
    if isinstance(error, Refused):
        return Refused(error.denial, error.retry)
    return UpstreamError(error.reason, error.detail, error.rcode, error.retry)
