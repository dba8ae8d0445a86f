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

_Place = tuple[str, Authority, Address]


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
        self._failing: dict[_Place, _Failing] = {}

    def admit(self, permit: Permit, address: Address) -> float:
        """See `roles.Breakers`."""
        failing, terms = self._failing.get(_place(permit, address)), permit.terms.breaker
        if failing is None or failing.opened_at is None or terms is None:
            return 0.0
        wait = failing.opened_at + terms.open - self._monotonic()  # by the rule in force: a reload may have changed it
        if wait > 0:
            return wait
        if failing.probes:
            return PROBE_SECONDS
        failing.probes = True
        return 0.0

    def succeeded(self, permit: Permit, address: Address) -> None:
        """See `roles.Breakers`."""
        failing = self._failing.get(_place(permit, address))
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
        elif (failing := self._failing.get(_place(permit, address))) is not None:
            failing.on_trial = False

    def _fail(self, permit: Permit, address: Address, by_answer: bool) -> None:
        terms = permit.terms.breaker
        if terms is None:
            return
        place = _place(permit, address)
        failing = self._failing.get(place)
        if failing is None or failing.failed_at.maxlen != terms.failures:
            if len(self._failing) >= REMEMBERED:
                del self._failing[next(iter(self._failing))]
            failing = self._failing[place] = _Failing(terms.failures)
        self._count(failing, terms, failing.probes or (by_answer and failing.on_trial))

    def given_up(self, permit: Permit, address: Address) -> None:
        """See `roles.Breakers`."""
        failing = self._failing.get(_place(permit, address))
        if failing is not None:
            failing.probes = False

    def _count(self, failing: _Failing, terms: Breaker, at_once: bool) -> None:
        now = self._monotonic()
        failing.failed_at.append(now)
        full = len(failing.failed_at) == terms.failures
        if at_once or (full and failing.failed_at[0] >= now - terms.window):
            failing.opened_at = now
            failing.on_trial = False
        failing.probes = False


def _place(permit: Permit, address: Address) -> _Place:
    return permit.rule.name, permit.authority, address
