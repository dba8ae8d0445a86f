"""What the walk of a connection works with; built once by `app`, shared by every connection of the process."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.exchange.parts import Parts
from gateway.exchange.upstream import Pool
from gateway.model.addresses import Address, Network
from gateway.model.reasons import Reason
from gateway.model.roles import Clock, Deadlines, Dialer, Limiter, Recorder
from gateway.net.splice import Splices
from gateway.net.stream import Stream
from gateway.net.tls.contexts import ListenerTls
from gateway.policy.index import Rules
from gateway.serve.identify import Identifier

if TYPE_CHECKING:  # it is large, and loaded only with inspection
    from gateway.intercept.interception import Interception


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most bytes that each may have."""

    head: int = 64 * 1024
    client_hello: int = 64 * 1024


@dataclass(frozen=True, slots=True)
class Entrance:
    """What a listener expects before the first request. `trusted` are the senders that must send a PROXY header; None
    where none is expected."""

    trusted: tuple[Network, ...] | None = None
    tls: ListenerTls | None = None


@dataclass(slots=True)
class Services:
    """`rules`, `identifier` and `entrance` (of the listener with that name) answer what is in force; `draining` is set
    once, when the process begins to end. `admit_as` moves a connection's count from the first address to the second,
    and answers why not if that one has too many. `proxy_name` is our member in Proxy-Status; `pool` keeps connections
    of absolute-form requests. `traces`: something exports what only traces hold; `counts_packets`: an access log asks
    for packets."""

    rules: Callable[[], Rules]
    identifier: Callable[[], Identifier]
    entrance: Callable[[str], Entrance | None]
    admit_as: Callable[[Address, Address], Reason | None]
    limiter: Limiter
    dialer: Dialer[Stream]
    recorder: Recorder
    deadlines: Deadlines
    clock: Clock
    splices: Splices
    exchanges: Parts
    interception: "Callable[[], Interception | None]"
    pool: Pool
    bounds: Bounds
    proxy_name: str
    traces: bool = False
    counts_packets: bool = False
    draining: bool = False

    def drain(self) -> None:
        """Take nothing new, and close what only waits."""
        self.draining = True
        self.exchanges.drain()
        self.pool.close()

    @property
    def head_timeout(self) -> float:
        """Seconds that a client has for its request head."""
        return self.rules().policy.timeouts.head
