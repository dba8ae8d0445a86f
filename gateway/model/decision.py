"""Verdicts as values: a permit that travels with the connection, or a denial.

Only `policy.decide` constructs a `Permit`; nothing is dialled without one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple
from typing import Protocol as Role

from gateway.model.addresses import Address, Network
from gateway.model.authority import Authority
from gateway.model.inspection.terms import Inspection
from gateway.model.intent import Protocol
from gateway.model.limits.limit import Applied, Breaker, Limit
from gateway.model.reasons import Reason


@dataclass(frozen=True, slots=True)
class RuleRef:
    """Where a rule stands. `name` is its full name, `file#rule` or `namespace/resource#rule`."""

    name: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.name} ({self.file}:{self.line})"


class SniRule(StrEnum):
    """How the TLS name is compared with the CONNECT name."""

    MATCH = "match"
    RULE = "rule"
    ANY = "any"


class EchRule(StrEnum):
    """`outer` judges the outer name like any, `deny` refuses every ClientHello with the extension."""

    OUTER = "outer"
    DENY = "deny"


class Resolve(StrEnum):
    """Which address is dialled for the name of a captured connection: `gateway` takes the gateway's own answer, `match`
    the one that the client chose, which must be in that answer."""

    GATEWAY = "gateway"
    MATCH = "match"


class ProxyVersion(StrEnum):
    """The form of the PROXY header that a destination is sent."""

    V1 = "v1"
    V2 = "v2"


class Source(NamedTuple):
    """Local addresses; the first that has a port left is dialled from. `foreign`: they are the client's, not ours."""

    addresses: tuple[Address, ...]
    foreign: bool = False


OF_THE_CLIENT = Source((), foreign=True)
"""In a rule's terms: the client's own address."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `lifetime` None is unlimited."""

    head: float = 10.0
    dns: float = 5.0
    connect: float = 10.0
    client_hello: float = 10.0
    tls_handshake: float = 10.0
    idle: float = 3600.0
    lifetime: float | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """What the deciding rule says about a connection that it lets pass. All of it comes from that one rule."""

    protocol: Protocol = Protocol.AUTO
    sni: SniRule = SniRule.MATCH
    ech: EchRule = EchRule.OUTER
    inspection: Inspection | None = None  # what it says of requests; None: it inspects none
    private: tuple[Network, ...] = ()  # what it opens beyond global unicast
    within: tuple[Network, ...] = ()  # what it is pinned to; empty: to nothing
    resolve: Resolve = Resolve.GATEWAY
    source: Source | None = None  # None: the kernel chooses the local address
    timeouts: Timeouts = Timeouts()
    limits: tuple[Limit, ...] = ()
    honour_retry_after: bool = False
    breaker: Breaker | None = None
    proxy_protocol: ProxyVersion | None = None  # the header that the destination is sent first

    @property
    def inspect(self) -> bool:
        """Whether TLS is to be terminated."""
        return self.inspection is not None


@dataclass(frozen=True, slots=True)
class AddressRefusal:
    """One resolved or literal address that must not be dialled, and why.

    `rule` is the deny rule (or the deciding rule for `within`), None for the address guard itself. `enforced=False`:
    report mode has set a deny rule aside, so the address may be dialled and the record says would_deny.
    """

    address: Address
    reason: Reason
    detail: str
    rule: RuleRef | None = None
    enforced: bool = True


class AddressScreen(Role):
    """Judges candidates for one permit; made by `policy`, asked by the dialer for every address."""

    def __call__(self, address: Address) -> AddressRefusal | None:
        """None: this address may be dialled."""
        ...


@dataclass(frozen=True, slots=True)
class WouldDeny:
    """A refusal that report mode set aside."""

    reason: Reason
    rule: RuleRef | None = None


class Common:
    """Kept with a decision, which clients meet again and again: facts, and what is alike in the records of all
    connections with these facts. It is telemetry's, and is forgotten with the decision."""

    __slots__ = ("sealed",)

    def __init__(self) -> None:
        self.sealed: tuple[object, Any] | None = None


@dataclass(frozen=True, slots=True)
class Deny:
    """Policy says no."""

    reason: Reason
    generation: int
    rule: RuleRef | None = None
    groups: Sequence[str] = ()  # names of the client's
    also: tuple[str, ...] = ()  # full names of other rules worth naming
    detail: str = ""  # for the operator
    refused: tuple[AddressRefusal, ...] = ()  # all addresses of the host, where no other is left
    common: Common = field(default_factory=Common, init=False, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Permit:
    """Policy says yes to exactly this authority, for one client, under these terms, from one snapshot of the rules."""

    authority: Authority
    rule: RuleRef
    terms: Terms
    screen: AddressScreen
    generation: int
    groups: Sequence[str] = ()  # names of the client's
    also: tuple[str, ...] = ()  # full names of the other allows with the same destination
    would_deny: WouldDeny | None = None
    report: bool = False  # report mode: what the rule would refuse later is only recorded
    limits: tuple[Applied, ...] = ()  # of the rule and of the client's groups; report mode does not set them aside
    source: Source | None = None  # the addresses to dial from, in this client's own order; None: any
    common: Common = field(default_factory=Common, init=False, repr=False, compare=False)

    def denial(self, reason: Reason, detail: str = "") -> Deny:
        """The refusal, under the same rule, of what the client does next."""
        return Deny(reason, self.generation, self.rule, self.groups, self.also, detail)


Decision = Permit | Deny
