"""A policy as plain values: rules, groups and the address policy. `settings` makes these from text, `policy.index`
indexes them, `policy.decide` queries the index."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from gateway.model.addresses import Address, Network
from gateway.model.decision import RuleRef, Terms, Timeouts
from gateway.model.intent import Protocol
from gateway.model.limits.limit import Limit
from gateway.model.names import HostName


class Mode(StrEnum):
    """`report` turns policy refusals into `would_deny`."""

    ENFORCE = "enforce"
    REPORT = "report"


class Tier(StrEnum):
    """Who wrote a rule; a team rule applies only where no platform rule matches."""

    PLATFORM = "platform"
    TEAM = "team"


class Action(StrEnum):
    """What a rule does with what it matches."""

    ALLOW = "allow"
    DENY = "deny"


class Reach(StrEnum):
    """How much of the tree at `HostPattern.name` a pattern covers."""

    EXACT = "exact"  # the name itself
    BELOW = "below"  # every name below it, at any depth, never itself
    CHILD = "child"  # one label below it
    ANY = "any"  # `*`: any name at all; `name` is empty

    __hash__ = str.__hash__  # an enumeration's own is many times slower, and patterns are keys by the million


class HostPattern(NamedTuple):
    """One pattern. `.s` in a file counts as the two patterns `s` (exact) and `*.s` (below)."""

    name: str
    reach: Reach


ANY_HOST = HostPattern("", Reach.ANY)


@dataclass(frozen=True, slots=True)
class Match:
    """One entry of a group's `match`: every key that is not None must match the client.

    `spiffe` may end in `/*` (any one or more further path segments); `labels` (of the pod) and
    `namespace_labels` must all be present with these values.
    """

    cidr: Network | None = None
    user: str | None = None
    namespace: str | None = None
    service_account: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    namespace_labels: tuple[tuple[str, str], ...] = ()
    spiffe: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """A named set of workloads: to match any entry of `match` makes a member. `limits` hold for all that members do."""

    name: str
    match: tuple[Match, ...]
    mode: Mode | None = None
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True)
class PortRange:
    """Both ends are included."""

    first: int
    last: int


ANY_PORT = (PortRange(1, 65535),)


@dataclass(frozen=True, slots=True)
class Except:
    """What is taken out of one rule; `clients` are group names."""

    hosts: tuple[HostPattern, ...] = ()
    cidrs: tuple[Network, ...] = ()
    clients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `clients` are group names, empty for everyone. `expires` is the first Unix second at which an allow
    rule no longer holds. `hosts` and `cidrs` include what list files gave. `protocol` None goes by the port asked
    (`tls` on 443, `http` on 80, else `auto`); the terms of a permit hold the answer, `terms.protocol` here does not.
    `note` is for people."""

    ref: RuleRef
    terms: Terms
    action: Action = Action.ALLOW
    tier: Tier = Tier.PLATFORM
    namespace: str | None = None  # a team rule applies to this namespace only
    hosts: tuple[HostPattern, ...] = ()
    cidrs: tuple[Network, ...] = ()
    ports: tuple[PortRange, ...] = ANY_PORT
    clients: tuple[str, ...] = ()
    except_: Except = Except()
    mode: Mode | None = None
    expires: float | None = None
    protocol: Protocol | None = None
    note: str | None = None

    @property
    def name(self) -> str:
        """The short name, the part after `#`."""
        return self.ref.name.rpartition("#")[2]


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """gateway.yaml's `addresses`, and what this gateway listens on (`listening`: every bound address and port; an
    unspecified address stands for every address of this machine in `own`)."""

    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()
    listening: frozenset[tuple[Address, int]] = frozenset()
    own: frozenset[Address] = frozenset()


@dataclass(frozen=True, slots=True)
class ClusterPolicy:
    """In-cluster names (gateway.yaml's `cluster.domains`): reached only through an exact rule."""

    domains: tuple[HostName, ...] = (HostName("cluster.local"),)


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything that a verdict depends on, not yet indexed. `timeouts` hold where no rule decides."""

    rules: tuple[Rule, ...] = ()
    groups: tuple[Group, ...] = ()
    mode: Mode = Mode.ENFORCE
    addresses: AddressPolicy = field(default_factory=AddressPolicy)
    cluster: ClusterPolicy = field(default_factory=ClusterPolicy)
    identity_required: bool = False
    timeouts: Timeouts = field(default_factory=Timeouts)
