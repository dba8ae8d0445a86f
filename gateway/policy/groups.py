"""The groups of a client, and whether it is in report mode.

Every entry of a group's `match` is indexed by its most selective key, so that only the few entries are checked that
could match a client, and only for what the key leaves open. Groups are added, and taken down, a few at a time.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gateway.model.addresses import Address
from gateway.model.client import Client
from gateway.model.limits.limit import Applied, KeyPart, Limit
from gateway.policy.rules import Group, Match, Mode
from gateway.policy.tables.divided import SLICE, take_down
from gateway.policy.tables.networks import NetworkTable

REMEMBERED = 1024
"""Combinations of groups that are kept."""

_Entry = tuple[Match | None, str]
"""What is left to check of an entry that was found by its key, and the entry's group."""


@dataclass(frozen=True, slots=True)
class Membership:
    """The groups of one client. `listed` has `names` in alphabetical order, `mode` is that of every rule that states
    none, `limits` are those of the groups. `known` is as in `Client.known`; an unknown client is a member of nothing.
    The client may also be in the groups in `doubted`, which only ever count against it."""

    names: frozenset[str]
    listed: tuple[str, ...]
    mode: Mode
    known: bool = True
    limits: tuple[Applied, ...] = ()
    doubted: frozenset[str] = frozenset()


class GroupIndex:
    """All groups of one policy; unchanged once it is asked. `looks_at_labels`: some groups ask for labels.
    `provable_in_report_mode` are those that credentials could prove and whose mode is report."""

    __slots__ = (
        "_by_namespace_label",
        "_by_network",
        "_by_spiffe",
        "_by_user",
        "_by_workload",
        "_default",
        "_limits",
        "_nobody",
        "_of_pods",
        "_proved_by_tokens",
        "_proved_by_users",
        "_stated",
        "_together",
        "_unknown",
        "looks_at_labels",
        "provable_in_report_mode",
    )

    def __init__(self, groups: Iterable[Group], default: Mode) -> None:
        self._default = default
        self._stated: dict[str, Mode] = {}
        self._together: dict[frozenset[str], Membership] = {}
        self._limits: dict[str, Sequence[Limit]] = {}
        self._nobody = Membership(frozenset(), (), default)
        self._unknown = replace(self._nobody, known=False)
        self._by_network: NetworkTable[frozenset[str]] = NetworkTable()
        self._by_user: dict[str, list[_Entry]] = defaultdict(list)
        self._by_spiffe: dict[str, list[_Entry]] = defaultdict(list)
        self._by_workload: dict[tuple[str, str | None], list[_Entry]] = defaultdict(list)
        self._by_namespace_label: dict[tuple[str, str], list[_Entry]] = defaultdict(list)
        self._of_pods: list[tuple[Match, str]] = []
        self.looks_at_labels = False
        self._proved_by_users: dict[str, list[Match]] = defaultdict(list)
        self._proved_by_tokens: dict[str, list[Match]] = defaultdict(list)
        self.provable_in_report_mode: set[str] = set()
        self.add(groups)

    def add(self, groups: Iterable[Group]) -> None:
        """Add some more."""
        for group in groups:
            self._add(group)

    def _add(self, group: Group) -> None:
        if group.mode is not None:
            self._stated[group.name] = group.mode
        if group.mode is Mode.ENFORCE:
            # An unknown client may be in any group: if one group enforces, its mode is enforce whatever others say.
            self._unknown = replace(self._unknown, mode=Mode.ENFORCE)
        if group.limits:
            self._limits[group.name] = group.limits
        for match in group.match:
            self._add_entry(match, group.name)
        if group.mode is Mode.REPORT and (group.name in self._proved_by_users or group.name in self._proved_by_tokens):
            self.provable_in_report_mode.add(group.name)

    def _add_entry(self, match: Match, name: str) -> None:
        self.looks_at_labels = self.looks_at_labels or bool(match.labels or match.namespace_labels)
        if _asks_for_pod(match):
            self._of_pods.append((match, name))
        if _is_provable(match):
            proved = self._proved_by_tokens if match.user is None else self._proved_by_users
            proved[name].append(match)
        if match.user is not None:
            self._by_user[match.user].append((_left(replace(match, user=None)), name))
        elif match.spiffe is not None:
            self._by_spiffe[match.spiffe].append((_left(replace(match, spiffe=None)), name))
        elif match.namespace is not None:
            rest = _left(replace(match, namespace=None, service_account=None))
            self._by_workload[match.namespace, match.service_account].append((rest, name))
        elif match.namespace_labels:
            first, *others = match.namespace_labels
            rest = _left(replace(match, namespace_labels=tuple(others)))
            self._by_namespace_label[first].append((rest, name))
        elif match.cidr is not None:
            self._by_network.add(match.cidr, (self._by_network.at(match.cidr) or frozenset()) | {name})

    def membership_of(self, client: Client) -> Membership:
        """The groups that the client's facts make it a member of."""
        if not client.known:
            return self._unknown
        if client.doubt is not None:
            return self._with_doubts(client)
        by_address = self.membership_at(client.address)
        if client.user is None and client.namespace is None and client.spiffe is None and not client.namespace_labels:
            return by_address
        further = {group for rest, group in self._entries(client) if rest is None or _matches(rest, client)}
        return self._membership(by_address.names | further) if further else by_address

    def _with_doubts(self, client: Client) -> Membership:
        """For a client that is known by its credentials, but whose pod is not."""
        doubted = frozenset([name for match, name in self._of_pods if _may_match(match, client)])
        return self._doubting(self.membership_of(client._replace(doubt=None)), doubted)

    def _doubting(self, membership: Membership, doubted: frozenset[str]) -> Membership:
        enforced = any(self._stated.get(name) is Mode.ENFORCE for name in doubted)
        return replace(membership, doubted=doubted, mode=Mode.ENFORCE if enforced else membership.mode)

    def membership_at(self, address: Address) -> Membership:
        """The groups that its address alone makes a client a member of."""
        around = self._by_network.find(address)
        if not around:
            return self._nobody
        return self._membership(around[0] if len(around) == 1 else frozenset().union(*around))

    def is_proved_by_user(self, address: Address, group: str) -> bool:
        """Whether a password sent from `address` could make a client a member of `group`."""
        return _holds_at(address, self._proved_by_users, group)

    def is_proved_by_token(self, address: Address, group: str) -> bool:
        """Whether a token sent from `address` could."""
        return _holds_at(address, self._proved_by_tokens, group)

    def joined(self, membership: Membership, group: str) -> Membership:
        """The membership with one group more."""
        joined = self._membership(membership.names | {group})
        return self._doubting(joined, membership.doubted) if membership.doubted else joined

    def _membership(self, names: frozenset[str]) -> Membership:
        """Combinations of groups are put together once. (`lru_cache` on a method would be a reference cycle, and an
        index must be gone when nobody refers to it any more.)"""
        known = self._together.get(names)
        if known is None:
            if len(self._together) >= REMEMBERED:
                self._together.clear()
            known = self._together[names] = self._put_together(names)
        return known

    def _put_together(self, names: frozenset[str]) -> Membership:
        listed = tuple(sorted(names))
        limits = (
            Applied(limit, (name,) if KeyPart.GROUP in limit.key else ())
            for name in listed
            for limit in self._limits.get(name, ())
        )
        return Membership(names, listed, self._mode(names), limits=tuple(dict.fromkeys(limits)))

    def _mode(self, names: frozenset[str]) -> Mode:
        """One group that enforces outweighs all that only report."""
        stated = [self._stated[name] for name in names if name in self._stated]
        if Mode.ENFORCE in stated:
            return Mode.ENFORCE
        return Mode.REPORT if stated else self._default

    def take_down(self) -> Iterator[None]:
        """Empty it, a slice before each yield. For an index that nobody asks any more."""
        yield from self._by_network.take_down()
        entries: list[dict[Any, Any]] = [self._by_user, self._by_spiffe, self._by_workload, self._by_namespace_label]
        provable = self._proved_by_users, self._proved_by_tokens
        for table in (*entries, *provable, self._limits, self._stated, self._together):
            yield from take_down(table)
        while self._of_pods:
            del self._of_pods[-SLICE:]
            yield

    def _entries(self, client: Client) -> Iterator[_Entry]:
        if client.user is not None:
            yield from self._by_user.get(client.user, ())
        if client.spiffe is not None:
            for pattern in _patterns_over(client.spiffe):
                yield from self._by_spiffe.get(pattern, ())
        if client.namespace is not None:
            yield from self._by_workload.get((client.namespace, None), ())
            if client.service_account is not None:
                yield from self._by_workload.get((client.namespace, client.service_account), ())
        if self._by_namespace_label:
            for label in (client.namespace_labels or {}).items():
                yield from self._by_namespace_label.get(label, ())


def _left(match: Match) -> Match | None:
    return None if match == Match() else match


def _patterns_over(spiffe: str) -> Iterator[str]:
    """The ID itself, and every `/*` pattern whose star stands for one or more segments of it, none of them empty."""
    yield spiffe
    parent, slash, rest = spiffe.rpartition("/")
    while slash and rest and not rest.startswith("/"):
        yield f"{parent}/*"
        parent, slash, segment = parent.rpartition("/")
        rest = f"{segment}/{rest}"


def _matches(match: Match, client: Client) -> bool:
    """Whether every key of the entry holds."""
    return (
        (match.cidr is None or client.address in match.cidr)
        and (match.user is None or match.user == client.user)
        and (match.namespace is None or match.namespace == client.namespace)
        and (match.service_account is None or match.service_account == client.service_account)
        and (match.spiffe is None or (client.spiffe is not None and match.spiffe in _patterns_over(client.spiffe)))
        and _has(match.labels, client.labels)
        and _has(match.namespace_labels, client.namespace_labels)
    )


def _has(wanted: tuple[tuple[str, str], ...], labels: Mapping[str, str] | None) -> bool:
    return not wanted or (labels is not None and all(labels.get(key) == value for key, value in wanted))


def _asks_for_pod(match: Match) -> bool:
    """Labels of a pod stand beside its namespace."""
    return match.namespace is not None or bool(match.namespace_labels)


def _may_match(match: Match, client: Client) -> bool:
    """Whether the entry would match if everything unknown about the client were what it asks for."""
    labels, of_namespace = client.labels, client.namespace_labels
    told = client._replace(
        namespace=client.namespace or match.namespace,
        service_account=client.service_account or match.service_account,
        labels=dict(match.labels) if labels is None else labels,
        namespace_labels=dict(match.namespace_labels) if of_namespace is None else of_namespace,
    )
    return _matches(match, told)


def _holds_at(address: Address, provable: Mapping[str, Sequence[Match]], group: str) -> bool:
    """Whether an entry of the group can be proved from that address."""
    return any(match.cidr is None or address in match.cidr for match in provable.get(group, ()))


def _is_provable(match: Match) -> bool:
    """Whether credentials sent after a 407 can prove it: a user or a service account, never labels or a certificate."""
    proves = match.user is not None or match.namespace is not None or bool(match.namespace_labels)
    return proves and match.spiffe is None and not match.labels
