"""Admission of connections. One that is not admitted is refused before a byte of it is read; open tunnels are never
touched.

An admitted connection may become a tunnel, which takes two descriptors, so connections count from their accept.
"""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.model.addresses import Address
from gateway.model.reasons import Reason
from gateway.settings.gateway import BoundSettings

RESERVED_DESCRIPTORS = 512
"""For listeners, logs, name servers, the admin port, and connections that are being refused."""
LAST_DESCRIPTORS = 64
MEMORY_CHECK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Ceiling:
    """How many connections there may be, in total and from one client's address."""

    tunnels: int
    per_client: int


def ceiling_of(bounds: BoundSettings, descriptors: int) -> Ceiling:
    """`auto` is half of the descriptor limit less the reserve."""
    automatic = max(1, (descriptors - RESERVED_DESCRIPTORS) // 2)
    return Ceiling(automatic if bounds.tunnels == "auto" else bounds.tunnels, bounds.tunnels_per_client)


class Admission:
    """Counts connections. `descriptors` is this process's limit; `memory_is_short` is asked at most once a second, and
    only when a connection comes."""

    def __init__(
        self, ceiling: Ceiling, descriptors: int, memory_is_short: Callable[[], bool], monotonic: Callable[[], float]
    ) -> None:
        self.ceiling = ceiling
        self.memory_is_short = memory_is_short
        self.descriptors = descriptors
        self._monotonic = monotonic
        self._inside = 0
        self._by_client: dict[Address, int] = {}
        self._is_short = False
        self._look_again_at = float("-inf")

    def refusal(self, client: Address, descriptor: Callable[[], int]) -> Reason | None:
        """Why the next connection of `client` is not admitted; None if it is. `descriptor` gives its number: the kernel
        hands out the lowest free one, so a number near the limit means that nearly all are taken."""
        if self._inside >= self.ceiling.tunnels:
            return Reason.TOO_MANY_TUNNELS
        if self._by_client.get(client, 0) >= self.ceiling.per_client:
            return Reason.TOO_MANY_TUNNELS_OF_CLIENT
        if 4 * self._inside >= self.descriptors and descriptor() >= self.descriptors - LAST_DESCRIPTORS:
            return Reason.DESCRIPTORS_EXHAUSTED
        return Reason.MEMORY_EXHAUSTED if self._memory_is_short() else None

    def enter(self, client: Address) -> None:
        """One connection more."""
        self._inside += 1
        self._by_client[client] = self._by_client.get(client, 0) + 1

    def leave(self, client: Address) -> None:
        """One less."""
        self._inside -= 1
        left = self._by_client[client] - 1
        if left:
            self._by_client[client] = left
        else:
            del self._by_client[client]

    def readmit(self, sender: Address, client: Address) -> Reason | None:
        """Count a connection of `sender` as one of `client`, whom it named; returns the reason if that client has too
        many."""
        self.leave(sender)
        self.enter(client)
        too_many = self._by_client[client] > self.ceiling.per_client
        return Reason.TOO_MANY_TUNNELS_OF_CLIENT if too_many else None

    def _memory_is_short(self) -> bool:
        now = self._monotonic()
        if now >= self._look_again_at:
            self._is_short = self.memory_is_short()
            self._look_again_at = now + MEMORY_CHECK_SECONDS
        return self._is_short
