"""The interface of what serves, for the process that keeps the policy, the admin port and the signals."""

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from gateway.admin.state import LimitFill, OpenTunnel
from gateway.app.generation.frames import Frame, Head
from gateway.app.live.snapshot import Snapshot
from gateway.telemetry.metrics import Tally


class CrewFailed(Exception):
    """Nobody can serve any more: workers end as fast as they are started."""


class Crew(Protocol):
    """`snapshot` and `tally` may be called in another thread; everything else belongs to the loop."""

    @property
    def size(self) -> int:
        """How many serve when all is well."""
        ...

    @property
    def generation(self) -> int:
        """The oldest one in force in any member; 0 while none serves."""
        ...

    @property
    def is_complete(self) -> bool:
        """No member is missing: as many serve as there are sockets for connections to wait at."""
        ...

    async def take(self, number: int, frames: AsyncIterator[Frame]) -> Head:
        """Put a generation in force; returns when all members have. Passes on what `frames` raise, and a member's
        `ConfigError`; nothing has changed then. The first one comes before `start`."""
        ...

    async def start(self) -> None:
        """Returns when all of them serve. Raises `CrewFailed`."""
        ...

    def why_not_renew(self) -> str | None:
        """None if it can be done now."""
        ...

    async def renew(self) -> str | None:
        """Replace all members, one after the other, without refusing a connection. Returns why not, if that failed."""
        ...

    def refuse(self) -> None:
        """Refuse requests that are still to come on open connections from now on, as far as this process serves them:
        `drain` follows in a later turn of the loop, and a client that asks meanwhile learns that it has begun."""
        ...

    async def drain(self, seconds: float) -> None:
        """Accept no more, and return when every connection has ended and every record is written."""
        ...

    def cut_off(self) -> None:
        """Let a drain end now."""
        ...

    async def tunnels(self) -> Sequence[OpenTunnel]:
        """Open tunnels, the oldest first."""
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

    def snapshot(self) -> Snapshot:
        """The counts and readings of all members."""
        ...

    def tally(self) -> Tally:
        """The totals of all members."""
        ...
