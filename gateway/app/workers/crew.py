"""Those who serve, as the process that keeps the policy, the admin port and the signals sees them."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from gateway.admin.state import LimitFill, OpenTunnel
from gateway.app.generation.frames import Frame, Head
from gateway.telemetry.counters import Counters
from gateway.telemetry.limits import LimitReadings
from gateway.telemetry.metrics import Tally
from gateway.telemetry.questions import DnsReadings


class CrewFailed(Exception):
    """Nobody can serve any more: workers end as fast as they are started."""


class Crew(Protocol):
    """`counters`, `dns`, `limits` and `tally` may be called in another thread; everything else belongs to the loop."""

    @property
    def size(self) -> int:
        """How many serve when all is well."""
        ...

    @property
    def generation(self) -> int:
        """The oldest that any of those who serve judges by; 0 while nobody serves."""
        ...

    @property
    def is_complete(self) -> bool:
        """Nobody is missing: as many serve as there are sockets for connections to wait at."""
        ...

    async def take(self, number: int, frames: AsyncIterator[Frame]) -> Head:
        """Put a generation in force; returns when all that serve judge by it. What `frames` raise is passed on, or a
        `ConfigError` of one who serves, and then nothing has changed. The first one comes before `start`."""
        ...

    async def start(self) -> None:
        """Returns when all of them serve. Raises `CrewFailed`."""
        ...

    def why_not_renew(self) -> str | None:
        """None if it can be done now."""
        ...

    async def renew(self) -> str | None:
        """Replace all of them, one after the other, without refusing a connection. Why not, if that failed."""
        ...

    def refuse(self) -> None:
        """Let requests that are still to come on open connections be refused from now on, as far as this process
        serves them: `drain` follows in a later turn of the loop, and who asks meanwhile knows that it has begun."""
        ...

    async def drain(self, seconds: float) -> None:
        """Accept no more, and return when every connection has ended and every record is written."""
        ...

    def cut_off(self) -> None:
        """Let a drain end now."""
        ...

    async def tunnels(self) -> Sequence[OpenTunnel]:
        """What is open now, the oldest first."""
        ...

    async def fills(self) -> Sequence[LimitFill]:
        """How full limits are."""
        ...

    async def close_tunnel(self, connection_id: str) -> bool:
        """End one; False if there is none with that id."""
        ...

    def reopen_logs(self) -> None:
        """They were rotated away."""
        ...

    async def failure(self) -> CrewFailed:
        """Returns when the crew has given up."""
        ...

    def counters(self) -> Counters:
        """What all of them counted."""
        ...

    def dns(self) -> DnsReadings:
        """What all of them know of name service."""
        ...

    def limits(self) -> LimitReadings:
        """What the limits of all of them did."""
        ...

    def tally(self) -> Tally:
        """How much all of them did."""
        ...
