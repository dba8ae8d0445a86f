"""What exchanges work with; built once by `app`, shared by every connection of the process."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gateway.exchange.fields import pseudonym
from gateway.exchange.inlet import Signal
from gateway.model.authority import Host
from gateway.model.errors import InternalError
from gateway.model.inspection.secret import Secret
from gateway.model.inspection.watching import Watch, Watchers
from gateway.model.reasons import Reason
from gateway.model.roles import Breakers, Clock, Deadlines, Dialer, Recorder, SecretStore
from gateway.net.kernel.descriptors import Descriptors
from gateway.net.splice import Splices
from gateway.net.stream import Stream
from gateway.wire.http.codec import DEFAULT_BOUNDS, Bounds, Codec


class NoSecrets:
    """Fulfils `SecretStore` where none is declared."""

    def find(self, name: str, host: Host, groups: Sequence[str]) -> Secret | None:
        """See `SecretStore`."""
        return None


class NoWatchers:
    """Fulfils `Watchers` where no inspector is declared: then no rule that loads names any."""

    def watch(self, names: Sequence[str], ring: Callable[[], None], report: bool) -> Watch:
        """See `Watchers`."""
        raise InternalError(Reason.INTERNAL_ERROR, "inspectors that nobody declared")


_NO_SECRETS = NoSecrets()
_NO_WATCHERS = NoWatchers()


@dataclass(slots=True)
class Parts:
    """`name` is our member in Proxy-Status, `via` our pseudonym; `draining` is set once. `signals` are those of
    the connections that carry requests, rung when draining begins. `breakers` are told of responses. `traces`:
    something exports what only traces hold."""

    codec: Codec
    dialer: Dialer[Stream]
    recorder: Recorder
    deadlines: Deadlines
    clock: Clock
    splices: Splices
    name: str
    bounds: Bounds = DEFAULT_BOUNDS
    descriptors: Descriptors = field(default_factory=Descriptors)
    secrets: SecretStore = _NO_SECRETS
    breakers: Breakers | None = None
    watchers: Watchers = _NO_WATCHERS
    draining: bool = False
    traces: bool = False
    signals: set[Signal] = field(default_factory=set)
    via: str = field(init=False)

    def __post_init__(self) -> None:
        self.via = pseudonym(self.name)

    def follow(self, name: str, bounds: Bounds) -> None:
        """Use these from now on. A connection keeps the bounds that it began with."""
        self.name, self.via, self.bounds = name, pseudonym(name), bounds

    def drain(self) -> None:
        """Take no further request, and wake those that wait for one."""
        self.draining = True
        for signal in self.signals:
            signal.ring()
