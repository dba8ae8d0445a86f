"""Destinations that fail are left alone for a while: by rule, host, port and address. Then one probe tells whether to
go on. Other destinations at the address are not left alone: clients choose what they ask for, and one could bar all
others from an address.

closed     everyone may connect; `failures` connections or answers failing within `window` seconds open it
open       nobody may for `open` seconds
half open  one may: its success closes, its failure opens again
on trial   closed by a probe: if the first answer is a failure it opens again
"""

from collections import deque
from collections.abc import Callable

from gateway.model.addresses import Address
from gateway.model.authority import Authority
from gateway.model.decision import Permit
from gateway.model.limits.limit import Breaker

REMEMBERED = 10_000
PROBE_SECONDS = 1.0
"""When to try again while the probe is under way."""

_Route = tuple[str, Authority, Address]


class _Failing:
    __slots__ = ("failed_at", "on_trial", "opened_at", "probes")

    def __init__(self, failures: int) -> None:
        self.failed_at: deque[float] = deque(maxlen=failures)
        self.opened_at: float | None = None
        self.probes = False
        self.on_trial = False


class Breakers:
    """Fulfils `roles.Breakers`. Remembers what failed, at most `REMEMBERED`; the oldest is forgotten, and so closed."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._failing: dict[_Route, _Failing] = {}

    def admit(self, permit: Permit, address: Address) -> float:
        """See `roles.Breakers`."""
        failing, breaker = self._failing.get(_route(permit, address)), permit.terms.breaker
        if failing is None or failing.opened_at is None or breaker is None:
            return 0.0
        # By the rule in force: a reload may have changed it.
        wait = failing.opened_at + breaker.open - self._monotonic()
        if wait > 0:
            return wait
        if failing.probes:
            return PROBE_SECONDS
        failing.probes = True
        return 0.0

    def succeeded(self, permit: Permit, address: Address) -> None:
        """See `roles.Breakers`."""
        failing = self._failing.get(_route(permit, address))
        if failing is not None and failing.opened_at is not None:
            failing.failed_at.clear()
            failing.opened_at, failing.probes, failing.on_trial = None, False, True

    def failed(self, permit: Permit, address: Address) -> None:
        """See `roles.Breakers`."""
        self._fail(permit, address, by_answer=False)

    def answered(self, permit: Permit, address: Address, well: bool) -> None:
        """See `roles.Breakers`."""
        if not well:
            self._fail(permit, address, by_answer=True)
        elif (failing := self._failing.get(_route(permit, address))) is not None:
            failing.on_trial = False

    def _fail(self, permit: Permit, address: Address, by_answer: bool) -> None:
        breaker = permit.terms.breaker
        if breaker is None:
            return
        route = _route(permit, address)
        failing = self._failing.get(route)
        if failing is None or failing.failed_at.maxlen != breaker.failures:
            if len(self._failing) >= REMEMBERED:
                del self._failing[next(iter(self._failing))]
            failing = self._failing[route] = _Failing(breaker.failures)
        self._count(failing, breaker, failing.probes or (by_answer and failing.on_trial))

    def given_up(self, permit: Permit, address: Address) -> None:
        """See `roles.Breakers`."""
        failing = self._failing.get(_route(permit, address))
        if failing is not None:
            failing.probes = False

    def _count(self, failing: _Failing, breaker: Breaker, at_once: bool) -> None:
        now = self._monotonic()
        failing.failed_at.append(now)
        full = len(failing.failed_at) == breaker.failures
        if at_once or (full and failing.failed_at[0] >= now - breaker.window):
            failing.opened_at = now
            failing.on_trial = False
        failing.probes = False


def _route(permit: Permit, address: Address) -> _Route:
    return permit.rule.name, permit.authority, address
