"""Admission of connections. One that is not admitted is refused before a byte of it is read; open tunnels are never
touched.

An admitted connection may become a tunnel, which takes two descriptors. So connections count from their accept. Some
take more, and so it is asked as well how many are left.
"""

from collections.abc import Callable
from dataclasses import dataclass
from heapq import nlargest
from operator import itemgetter
from typing import NamedTuple

from gateway.model.addresses import Address
from gateway.model.reasons import Reason
from gateway.net.kernel.descriptors import Descriptors
from gateway.settings.gateway import BoundSettings

RESERVED_DESCRIPTORS = 512
"""For listeners, and what `Descriptors` keeps back."""
MEMORY_LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Ceiling:
    """How many connections there may be, in total and from one client's address."""

    tunnels: int
    per_client: int


class Held(NamedTuple):
    """Connections that are open, and how many were refused beside them."""

    open: int
    refused: int


def ceiling_of(bounds: BoundSettings, descriptors: int) -> Ceiling:
    """`auto` is half of the descriptor limit less the reserve."""
    automatic = max(1, (descriptors - RESERVED_DESCRIPTORS) // 2)
    return Ceiling(automatic if bounds.tunnels == "auto" else bounds.tunnels, bounds.tunnels_per_client)


class Admission:
    """Counts connections. `memory_is_short` is asked once a second at most, and only when a connection comes."""

    def __init__(
        self,
        ceiling: Ceiling,
        descriptors: Descriptors,
        memory_is_short: Callable[[], bool],
        monotonic: Callable[[], float],
    ) -> None:
        self.ceiling = ceiling
        self.memory_is_short = memory_is_short
        self.descriptors = descriptors
        self._monotonic = monotonic
        self._inside = 0
        self._by_client: dict[Address, int] = {}
        self._refused = 0
        self._refused_of: dict[Address, int] = {}
        self._is_short = False
        self._look_again_at = float("-inf")

    def admit(self, client: Address) -> Reason | None:
        """Let one more connection of `client` in, or say why not."""
        held = self._by_client.get(client, 0)
        if self._inside >= self.ceiling.tunnels:
            self._refused += 1
            return Reason.TOO_MANY_TUNNELS
        if held >= self.ceiling.per_client:
            return self._too_many_of(client)
        if self.descriptors.are_short():
            return Reason.DESCRIPTORS_EXHAUSTED
        if self._monotonic() >= self._look_again_at:
            self._look_at_memory()
        if self._is_short:
            return Reason.MEMORY_EXHAUSTED
        self._inside += 1
        self._by_client[client] = held + 1
        return None

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
        self._inside += 1
        held = self._by_client[client] = self._by_client.get(client, 0) + 1
        return self._too_many_of(client) if held > self.ceiling.per_client else None

    def total(self) -> Held:
        """Of all clients."""
        return Held(self._inside, self._refused)

    def fullest(self, count: int) -> list[tuple[Address, Held]]:
        """The clients that have most connections, and how many."""
        most = nlargest(count, self._by_client.items(), key=itemgetter(1))
        return [(client, Held(number, self._refused_of.get(client, 0))) for client, number in most]

    def _too_many_of(self, client: Address) -> Reason:
        if client not in self._refused_of:  # those that are gone are forgotten
            self._refused_of = {each: count for each, count in self._refused_of.items() if each in self._by_client}
        self._refused_of[client] = self._refused_of.get(client, 0) + 1
        return Reason.TOO_MANY_TUNNELS_OF_CLIENT

    def _look_at_memory(self) -> None:
        self._is_short = self.memory_is_short()
        self._look_again_at = self._monotonic() + MEMORY_LOOK_SECONDS
