"""How what is in force gets to those who serve by it: in slices, so that taking it over holds up no loop.

The supervisor makes the slices once and passes them on as they are; each worker assembles them for itself.
"""

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.app.configuration import identifier_for
from gateway.policy.plan import Rules, build_rules
from gateway.policy.rules import Policy
from gateway.serve.identify import Identifier
from gateway.settings.gateway import GatewaySettings


@dataclass(frozen=True, slots=True)
class InForce:
    """What connections are judged by from now on."""

    settings: GatewaySettings
    rules: Rules
    identifier: Identifier


@dataclass(frozen=True, slots=True)
class Generation:
    """The same as it travels. Slices are pickled by our own code and for our own code only."""

    number: int
    slices: Sequence[bytes]


def slice_up(settings: GatewaySettings, rules: Rules, users: Mapping[str, bytes]) -> Generation:
    """Takes a while for a large policy: not on the loop."""
    whole: tuple[GatewaySettings, Policy, int, Mapping[str, bytes]]
    whole = settings, rules.policy, rules.generation, dict(users)
    return Generation(rules.generation, (pickle.dumps(whole),))


class Assembly:
    """Takes the slices of one generation in their order."""

    def __init__(self) -> None:
        self._slices: list[bytes] = []

    def feed(self, part: bytes) -> None:
        """The next slice."""
        self._slices.append(part)

    def finish(self) -> InForce:
        """What they make together; the next slice begins another generation."""
        [whole] = self._slices
        self._slices = []
        settings, policy, generation, users = pickle.loads(whole)  # noqa: S301  # from our own supervisor
        return InForce(settings, build_rules(policy, generation), identifier_for(settings, users))
