"""Puts a generation together from the contents of its frames, one at a time.

Nothing changes for connections until the finished generation is swapped for the one in force.
"""

from dataclasses import dataclass, replace

from gateway.app.configuration import Head
from gateway.app.generation.frames import Content
from gateway.model.addresses import Address
from gateway.policy.index import Assembly, Rules
from gateway.policy.parts import Outline


@dataclass(frozen=True, slots=True)
class OwnAddresses:
    """What only the serving process knows: the gateway's own sockets, which are never dialled, and the addresses of
    this machine."""

    listening: frozenset[tuple[Address, int]] = frozenset()
    machine: frozenset[Address] = frozenset()


@dataclass(frozen=True, slots=True)
class Generation:
    """What connections are judged by: each uses the one that is in force when it asks."""

    head: Head
    rules: Rules


class Assembler:
    """Puts generation `number` together."""

    def __init__(self, number: int, own: OwnAddresses) -> None:
        self._assembly = Assembly(number)
        self._own = own
        self._head: Head | None = None

    def take(self, content: Content) -> None:
        """Add the next content, in order. Takes about a millisecond."""
        match content:
            case Head():
                self._head = content
            case Outline():
                addresses = replace(content.policy.addresses, listening=self._own.listening, own=self._own.machine)
                self._assembly.take(replace(content, policy=replace(content.policy, addresses=addresses)))
            case _:
                self._assembly.take(content)

    def finish(self) -> Generation:
        """The generation, once all contents were taken. Raises ValueError if head or outline is missing."""
        if self._head is None:
            raise ValueError("the head is missing")
        return Generation(self._head, self._assembly.finish())


def same_identities(one: Head, other: Head) -> bool:
    """Whether both identify clients alike, so that the identifier may stay, with the passwords that it has verified."""
    same_networks = one.settings.cluster.cidrs == other.settings.cluster.cidrs
    return one.users == other.users and one.settings.identity == other.settings.identity and same_networks
