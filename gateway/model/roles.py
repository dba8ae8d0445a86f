"""The roles that rooms play for each other. `app`, which builds every object, knows who fulfils them."""

from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from gateway.model.addresses import Address
from gateway.model.authority import Host
from gateway.model.client import Client
from gateway.model.decision import Permit
from gateway.model.errors import GatewayError
from gateway.model.inspection.secret import Secret
from gateway.model.limits.limit import Counted, Retry
from gateway.model.record import Dialled, Draft, ExchangeDraft


class Clock(Protocol):
    """Two readings, both in seconds."""

    def monotonic(self) -> float:
        """For instants and durations."""
        ...

    def time(self) -> float:
        """Unix time, for records and expiry dates."""
        ...


class Alarm(Protocol):
    """A pending call of `Deadlines.after`."""

    def cancel(self) -> None:
        """Forget it; harmless when it already rang."""
        ...


class Waiting(Protocol):
    """An entry of `Deadlines.enlist`."""

    def expire(self) -> None:
        """Its time is over."""
        ...


class Deadlines(Protocol):
    """Coarse time-outs, cheap enough for every stage of every connection; a little late, never early."""

    def within(self, seconds: float, error: Callable[[], GatewayError]) -> AbstractContextManager[None]:
        """In a task: after `seconds` cancel what the block awaits, and raise `error()` in its place."""
        ...

    def after(self, seconds: float, ring: Callable[[], None]) -> Alarm:
        """Call `ring` on the loop after `seconds`."""
        ...

    def enlist(self, waiting: Waiting, seconds: float) -> set[Waiting]:
        """Let it expire after `seconds`, unless it is taken out of the set before. The cheapest form, for whoever waits
        often and can keep the set."""
        ...


class HeaderFields(Protocol):
    """The head of a request, as far as credentials are looked for in it."""

    def values(self, name: str) -> list[str]:
        """Every value of the field `name` (lower case), one for each line."""
        ...


class ByteStream(Protocol):
    """One side of a connection, to be read and answered. What is peeked stays; only `consume` takes it.

    A reset by the peer shows as an end like any other (`more` returns False); `was_reset` tells the difference.
    """

    def peek(self) -> bytes:
        """All that is buffered and not yet consumed; empty if nothing."""
        ...

    def consume(self, size: int) -> None:
        """Drop the first `size` buffered bytes."""
        ...

    async def more(self) -> bool:
        """Wait until more is buffered than when it was called; False at the end of the stream."""
        ...

    def write(self, data: bytes) -> None:
        """Queue bytes. For heads and alerts; bulk goes through a relay."""
        ...

    @property
    def was_reset(self) -> bool:
        """The connection is gone without an orderly end."""
        ...

    async def aclose(self) -> None:
        """Flush what is queued, let the peer read it, and close; idempotent."""
        ...

    def abort(self) -> None:
        """Reset: drop what is queued and send RST; idempotent."""
        ...


S_co = TypeVar("S_co", bound=ByteStream, covariant=True)


@dataclass(slots=True)
class Upstream(Generic[S_co]):
    """A connected destination and the facts about how it was reached. Whoever holds it closes the stream.

    `verified`: it proved over TLS, with a certificate that we trust, to be whom the permit names. `alpn`: the protocol
    that it chose there. `presents`: it is shown a certificate of ours if it asks for one.
    """

    dialled: Dialled
    stream: S_co
    verified: bool = False
    alpn: str | None = None
    presents: bool = False


class Dialer(Protocol[S_co]):
    """Connects to destinations."""

    async def dial(self, permit: Permit) -> Upstream[S_co]:
        """Resolve, screen and connect. Raises `Refused` (every address refused) or `UpstreamError`."""
        ...


class Pace(Protocol):
    """What bounds the bytes of one direction."""

    @property
    def piece(self) -> int:
        """How many bytes may move at once."""
        ...

    def spend(self, size: int) -> float:
        """`size` bytes have moved. Returns for how many seconds none may follow; `inf` if none may any more."""
        ...

    def settle(self) -> float:
        """The same, with every byte that has moved counted."""
        ...

    def refuse(self) -> Retry:
        """Count that something ends because none may move any more. Returns when some may again, and which limit it
        met."""
        ...


class Meter(Protocol):
    """What bounds the bytes of one lease; None for a direction that nothing bounds."""

    @property
    def up(self) -> Pace | None: ...

    @property
    def down(self) -> Pace | None: ...


class SecretStore(Protocol):
    """The secrets that gateway.yaml declares."""

    def find(self, name: str, host: Host, groups: Sequence[str]) -> Secret | None:
        """The secret, for a client of these groups and to be sent to `host`. None: not available, or not for them."""
        ...


class Lease(Protocol):
    """The right to be one open tunnel or exchange under all limits that apply."""

    @property
    def meter(self) -> Meter | None:
        """None: nothing bounds its bytes."""
        ...

    @property
    def would_limit(self) -> str | None:
        """The limit in report mode that would have refused it."""
        ...


class Limiter(Protocol):
    """Gives leases."""

    def lease(
        self,
        permit: Permit,
        client: Client,
        counted: frozenset[Counted],
        presence: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> AbstractAsyncContextManager[Lease]:
        """Taken before the dial, given back when the block ends, whatever ends it. Raises `Refused`. `counted` is what
        is about to begin. `presence` returns once the client is gone, which ends the wait in a queue."""
        ...

    def hold_off(self, permit: Permit, client: Client, seconds: float) -> None:
        """The destination sent this client a Retry-After: give the rule's clients no lease for it in the meantime."""
        ...


class Breakers(Protocol):
    """Which addresses fail too often to be dialled, for rules that have a breaker."""

    def admit(self, permit: Permit, address: Address) -> float:
        """0 if it may be dialled: then `succeeded`, `failed` or `given_up` has to follow. Else seconds until it may."""
        ...

    def succeeded(self, permit: Permit, address: Address) -> None:
        """It connected."""
        ...

    def failed(self, permit: Permit, address: Address) -> None:
        """It did not."""
        ...

    def answered(self, permit: Permit, address: Address, well: bool) -> None:
        """A request over a connection to it was answered; not `well`: as a failure, or not at all."""
        ...

    def given_up(self, permit: Permit, address: Address) -> None:
        """The attempt was cancelled before it connected or failed."""
        ...


class Recorder(Protocol):
    """Takes every connection's and every exchange's draft once, at its end; never blocks and never raises."""

    def record(self, draft: Draft) -> None:
        """Count it and queue its line."""
        ...

    def record_exchange(self, draft: ExchangeDraft) -> None:
        """The same for one HTTP exchange."""
        ...
