"""From contents to what serves: one content a turn of the loop, and at the end one whole generation.

Where it is put together nothing changes until somebody swaps the finished generation for the one in force.
"""

from dataclasses import dataclass, replace

from gateway.app.generation.frames import Content, Head
from gateway.model.addresses import Address
from gateway.policy.parts import Outline
from gateway.policy.plan import Assembly, Rules


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What only the serving process knows: the gateway's own sockets, never to be dialled, and the addresses of this
    machine."""

    listening: frozenset[tuple[Address, int]] = frozenset()
    own: frozenset[Address] = frozenset()


@dataclass(frozen=True, slots=True)
class Generation:
    """All that one connection takes its snapshot of."""

    head: Head
    rules: Rules


class Assembler:
    """Puts generation `number` together."""

    def __init__(self, number: int, whereabouts: Whereabouts) -> None:
        self._assembly = Assembly(number)
        self._whereabouts = whereabouts
        self._head: Head | None = None

    def take(self, content: Content) -> None:
        """The next one, in order: a few milliseconds at most."""
        match content:
            case Head():
                self._head = content
            case Outline():
                addresses = replace(
                    content.policy.addresses, listening=self._whereabouts.listening, own=self._whereabouts.own
                )
                self._assembly.take(replace(content, policy=replace(content.policy, addresses=addresses)))
            case _:
                self._assembly.take(content)

    def finish(self) -> Generation:
        """Once all were taken. Raises ValueError if there was no head or no outline."""
        if self._head is None:
            raise ValueError("there is no head")
        return Generation(self._head, self._assembly.finish())


def same_identities(one: Head, other: Head) -> bool:
    """Whether an identifier, with all that it has found out about passwords and tokens, suits both."""
    same_networks = one.settings.cluster.cidrs == other.settings.cluster.cidrs
    return one.users == other.users and one.settings.identity == other.settings.identity and same_networks
