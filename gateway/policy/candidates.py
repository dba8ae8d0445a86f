"""Rules prepared for evaluation, and the rules that apply to one destination.

Once the destination was found, it is left to check whether a candidate applies to the question: port, expiry and
exceptions by the candidate itself, groups by the set in which it stands.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import inf
from typing import NamedTuple

from gateway.model.addresses import Address, Network
from gateway.model.authority import Host
from gateway.model.decision import RuleRef, Terms
from gateway.policy.groups import Membership
from gateway.policy.rules import Action, Except, Mode, PortRange, Rule
from gateway.policy.tables.hosts import HostTable
from gateway.policy.tables.networks import NetworkTable, network_set


class Question(NamedTuple):
    """Who asks for what, and when (Unix seconds). `namespace` selects the team's rules. `resolved` is the address that
    a name led to, if it is this address that is judged. (A named tuple costs half as much to make as a dataclass.)"""

    membership: Membership
    namespace: str | None
    host: Host
    port: int
    now: float
    resolved: Address | None = None


class Exceptions:
    """What `except` takes out of one rule."""

    __slots__ = ("_cidrs", "_clients", "_hosts", "_takes_unknown")

    def __init__(self, except_: Except, action: Action) -> None:
        self._hosts = HostTable(dict.fromkeys(except_.hosts, True))
        self._cidrs = network_set(except_.cidrs)
        self._clients = frozenset(except_.clients)
        # An unknown client is at a disadvantage either way: it is excepted from every allow and from no deny.
        self._takes_unknown = action is Action.ALLOW

    @property
    def clients(self) -> frozenset[str]:
        """The groups that are taken out."""
        return self._clients

    def take_out(self, question: Question) -> bool:
        """Whether the rule does not apply to this client or this destination."""
        if self._clients and self._takes_out_client(question.membership):
            return True
        address = question.resolved
        if isinstance(question.host, Address):
            address = address or question.host
        elif self._hosts.covers(question.host):
            return True
        return address is not None and address in self._cidrs

    def _takes_out_client(self, membership: Membership) -> bool:
        if not membership.known:
            return self._takes_unknown
        against = self._takes_unknown and not self._clients.isdisjoint(membership.doubted)
        return against or not self._clients.isdisjoint(membership.names)


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One rule. `rank` orders the candidates of one destination, the smallest first. `terms` are by port, `otherwise`
    for every other port. `ports` are the bounds of half-open ranges in ascending order. `private` and `within` are
    those of its terms. `names_exactly`: it has hosts, and each of them is one exact name."""

    ref: RuleRef
    action: Action
    mode: Mode | None
    rank: tuple[int, str, str]
    clients: tuple[str, ...]
    ports: tuple[int, ...]
    expires: float
    exceptions: Exceptions | None
    terms: Mapping[int, Terms]
    otherwise: Terms
    private: NetworkTable[Network]
    within: NetworkTable[Network]
    names_exactly: bool

    def applies(self, question: Question) -> bool:
        """Whether the rule holds for the port and at the time, and no exception takes the question out."""
        return (
            bisect_right(self.ports, question.port) & 1 == 1
            and question.now < self.expires
            and (self.exceptions is None or not self.exceptions.take_out(question))
        )

    @property
    def excepted_clients(self) -> frozenset[str]:
        """The groups that `except` takes out."""
        return self.exceptions.clients if self.exceptions is not None else frozenset()

    def terms_at(self, port: int) -> Terms:
        """The rule's terms, with the protocol that they mean on this port."""
        return self.terms.get(port, self.otherwise)

    def mode_for(self, membership: Membership) -> Mode:
        """The rule's own mode beats that of the client's groups."""
        return self.mode or membership.mode


class CandidateSet:
    """The rules of one action that stand at one destination."""

    __slots__ = ("_denies", "_everyone", "_named")

    def __init__(self, candidates: Iterable[Candidate], action: Action) -> None:
        ranked = sorted(candidates, key=_rank)
        self._denies = action is Action.DENY
        self._everyone = [candidate for candidate in ranked if not candidate.clients]
        self._named: dict[str, list[Candidate]] = {}
        for candidate in ranked:
            for group in candidate.clients:
                self._named.setdefault(group, []).append(candidate)

    def matching(self, question: Question) -> list[Candidate]:
        """The rules that apply, in the order in which they decide."""
        found: list[Candidate] = []
        if self._named:
            groups = self._groups(question.membership)
            named = {rule for group in groups for rule in self._named[group] if rule.applies(question)}
            found += sorted(named, key=_rank) if len(named) > 1 else named
        for candidate in self._everyone:
            if candidate.applies(question):
                found.append(candidate)
        return found

    def holds(self, candidate: Candidate) -> bool:
        """Whether this rule stands here."""
        return candidate in (self._named.get(candidate.clients[0], ()) if candidate.clients else self._everyone)

    def groups_named(self, question: Question) -> Iterator[str]:
        """Every group that a rule which applies names, also as an exception: its members may be treated differently."""
        for candidate in chain(self._everyone, *self._named.values()):
            if candidate.applies(question):
                yield from candidate.clients
                yield from candidate.excepted_clients

    def _groups(self, membership: Membership) -> Iterable[str]:
        """The client's groups that a rule here names. An unknown client counts as in all of them for denies, and in
        none for allows."""
        if not membership.known:
            return self._named if self._denies else ()
        if self._denies and membership.doubted:
            return self._named.keys() & (membership.names | membership.doubted)
        return self._named.keys() & membership.names


def port_bounds(ports: Sequence[PortRange]) -> tuple[int, ...]:
    """The ranges merged, as ascending bounds: a port is inside if an odd number of bounds is not above it."""
    bounds: list[int] = []
    for first, end in sorted((ports_.first, ports_.last + 1) for ports_ in ports):
        if bounds and first <= bounds[-1]:
            bounds[-1] = max(bounds[-1], end)
        else:
            bounds += (first, end)
    return tuple(bounds)


def build_set(candidates: Iterable[Candidate], action: Action) -> CandidateSet | None:
    """The candidates with this action; None if there are none."""
    chosen = [candidate for candidate in candidates if candidate.action is action]
    return CandidateSet(chosen, action) if chosen else None


def build_candidate(rule: Rule, names_exactly: bool, terms: Mapping[int, Terms], otherwise: Terms) -> Candidate:
    """The rule but for what its place in the index says already: `hosts` and `cidrs` are not used."""
    ports = port_bounds(rule.ports)
    return Candidate(
        ref=rule.ref,
        action=rule.action,
        mode=rule.mode,
        rank=(sum(ports[1::2]) - sum(ports[::2]), rule.name, rule.ref.name),
        clients=rule.clients,
        ports=ports,
        expires=inf if rule.expires is None else rule.expires,
        exceptions=None if rule.except_ == Except() else Exceptions(rule.except_, rule.action),
        terms=terms,
        otherwise=otherwise,
        private=network_set(rule.terms.private),
        within=network_set(rule.terms.within),
        names_exactly=names_exactly,
    )


def _rank(candidate: Candidate) -> tuple[int, str, str]:
    return candidate.rank
