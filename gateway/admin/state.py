"""What the admin port needs from the gateway; `app` fulfils it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.telemetry.flows.ring import Ring


@dataclass(frozen=True, slots=True)
class ReloadOutcome:
    """How a reload ended: the generation now in force, and why a newer one was not taken, empty if it was."""

    generation: int
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change through the admin port, made or tried by somebody with the token. `outcome` is `done`, `failed` or
    `begun`."""

    action: str
    peer: str
    outcome: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class OpenTunnel:
    """One tunnel that is being relayed. `opened` is RFC 3339 of the accept; bytes are payload."""

    connection_id: str
    opened: str
    age_seconds: float
    listener: str
    client: str
    user: str | None
    host: str
    port: int
    rule: str
    generation: int
    bytes_up: int
    bytes_down: int


@dataclass(frozen=True, slots=True)
class LimitFill:
    """One bucket of a limit. `counts` is what it counts; `rate` and `burst` are as in the policy, per second; `left` is
    what could be taken now, `used` the share of the capacity that is not left; `refused` is how often it refused."""

    limit: str
    key: tuple[str, ...]
    counts: str
    rate: float
    burst: float
    left: float
    used: float
    refused: int
    report: bool


class Traffic(Protocol):
    """What goes on now, in all processes that serve."""

    async def tunnels(self) -> Sequence[OpenTunnel]:
        """Open tunnels, the oldest first."""
        ...

    async def limits(self) -> Sequence[LimitFill]:
        """How full limits are: those that refused most, then the fullest; a bounded number."""
        ...

    async def close_tunnel(self, connection_id: str) -> bool:
        """End one; False if there is none with that id."""
        ...


class GatewayState(Protocol):
    """The running gateway as the admin port sees it."""

    @property
    def traffic(self) -> Traffic:
        """At this instant: workers come and go."""
        ...

    @property
    def flows(self) -> Ring:
        """The newest records of all workers."""
        ...

    def unready(self) -> str | None:
        """Why no traffic should be sent here (`starting`, `draining`, or what is missing still); None if it should."""
        ...

    def metrics(self) -> bytes:
        """The text exposition format; called in a thread."""
        ...

    def authorities(self) -> bytes | None:
        """The certificates that clients of inspected destinations trust, as PEM; None if nothing is inspected."""
        ...

    def trust_bundle(self) -> bytes | None:
        """The same with all that this machine trusts; None too if that cannot be read. Called in a thread."""
        ...

    async def reload(self) -> ReloadOutcome:
        """Read the policy again, all or nothing; may be called while another reload runs."""
        ...

    def restart(self) -> str | None:
        """Begin to replace every worker, one after the other, while the others serve. Returns why that is impossible,
        if it is."""
        ...

    def audit(self, entry: AuditEntry) -> None:
        """Log one entry."""
        ...
