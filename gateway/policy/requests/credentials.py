"""Where a secret may go: to which hosts, and for whom. Checked for every rule at load, and again for every request."""

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.model.addresses import Address
from gateway.model.authority import Host
from gateway.policy.rules import HostPattern, Reach


@dataclass(frozen=True, slots=True)
class SecretScope:
    """`hosts` are where it may be sent: names, never addresses. `clients` are groups, empty for everyone."""

    hosts: tuple[HostPattern, ...]
    clients: frozenset[str] = frozenset()

    def covers(self, host: Host) -> bool:
        """Whether it may be sent there."""
        return not isinstance(host, Address) and self.covers_all_of(HostPattern(host, Reach.EXACT))

    def covers_all_of(self, pattern: HostPattern) -> bool:
        """Whether it may be sent to everything that the pattern covers."""
        return any(_contains(each, pattern) for each in self.hosts)

    def is_for(self, groups: Iterable[str]) -> bool:
        """Whether a client of these groups may have it sent."""
        return not self.clients or not self.clients.isdisjoint(groups)


def _contains(outer: HostPattern, inner: HostPattern) -> bool:
    """Whether `outer` covers all that `inner` covers."""
    if outer.reach is Reach.ANY or outer == inner:
        return True
    if inner.reach is Reach.ANY or outer.reach is Reach.EXACT:
        return False
    below = inner.name.endswith(f".{outer.name}")
    if outer.reach is Reach.BELOW:
        return below or (inner.name == outer.name and inner.reach is Reach.CHILD)
    return below and inner.reach is Reach.EXACT and "." not in inner.name.removesuffix(f".{outer.name}")
