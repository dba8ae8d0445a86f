"""Who serves connections, as seen by the process that keeps the policy, the admin port and the signals."""

from collections.abc import AsyncIterator
from typing import Protocol

from gateway.admin.state import Traffic
from gateway.app.configuration import Head
from gateway.app.generation.frames import Frame
from gateway.app.live.snapshot import Snapshot
from gateway.telemetry.metrics import Totals


class CrewFailed(Exception):
    """Nobody can serve any more: workers fail as fast as they are started."""


class Crew(Protocol):
    """`snapshot` and `totals` may be called in another thread; everything else belongs to the loop."""

    @property
    def size(self) -> int:
        """The number of members."""
        ...

    @property
    def generation(self) -> int:
        """The oldest one in force in any member; 0 while none serves."""
        ...

    @property
    def traffic(self) -> Traffic:
        """Of the members that there are at this instant."""
        ...

    @property
    def is_complete(self) -> bool:
        """Whether every member serves, so that no connection waits in a socket that nobody accepts from."""
        ...

    async def take(self, number: int, frames: AsyncIterator[Frame]) -> Head:
        """Put a generation in force; returns when all members have done so. Raises what `frames` raise, and a member's
        `ConfigError`; nothing has changed then. The first generation comes before `start`."""
        ...

    async def start(self) -> None:
        """Returns when all of them serve. Raises `CrewFailed`."""
        ...

    def why_not_renew(self) -> str | None:
        """Why the members cannot be replaced now; None if they can."""
        ...

    async def renew(self) -> str | None:
        """Replace all members, one after the other, without refusing a connection. Returns why that failed, if so."""
        ...

    def refuse(self) -> None:
        """Refuse further requests on open connections, as far as this process serves them: `drain` follows only in a
        later turn of the loop, and a client that asks meanwhile is told that draining has begun."""
        ...

    async def drain(self, seconds: float) -> None:
        """Accept no more, and return when every connection has ended and every record is written."""
        ...

    def cut_off(self) -> None:
        """End the drain now, and with it every connection."""
        ...

    def reopen_logs(self) -> None:
        """Open the access logs again: somebody has rotated them."""
        ...

    async def failure(self) -> CrewFailed:
        """Wait until the crew has given up."""
        ...

    def snapshot(self) -> Snapshot:
        """The counts and readings of all members."""
        ...

    def totals(self) -> Totals:
        """The totals of all members."""
        ...
