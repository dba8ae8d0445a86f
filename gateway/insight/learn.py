"""The rules that a policy lacks to let recorded traffic pass: the fewest and narrowest.

Only traffic that passed and reached its destination is evidence for a rule. Names are taken exactly; a wildcard stands
only for many names below one registrable domain, none of them seen only once, and never covers a public suffix. What is
worth a second look is noted beside the rule.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

from publicsuffixlist import PSLFILE, PublicSuffixList

from gateway.insight.attempts import Attempt, Occurrences
from gateway.insight.judging import InvalidAttempt, Judge, Verdict
from gateway.model.addresses import network_of, parse_address
from gateway.model.intent import Protocol
from gateway.model.names import parse_host_name
from gateway.model.reasons import Reason
from gateway.policy.addresses import Kind, block_of
from gateway.policy.index import Rules

WILDCARD_FROM = 5
_NAME_CHARACTERS = 100
_DOUBTS_SHOWN = 3  # of the names under one wildcard

_SUFFIXES = PublicSuffixList(accept_unknown=True)
_USUAL = {443: Protocol.TLS, 80: Protocol.HTTP}


class Workload(NamedTuple):
    """One entry of a group's `match` or, with the key `group`, a group of the policy."""

    key: str
    value: str


@dataclass(slots=True)
class Proposal:
    """One allow rule. `hosts` and `cidrs` are as in a file; `workloads` is empty for everyone; `remarks`, by host or
    network, are for people."""

    domain: str
    port: int
    protocol: Protocol | None
    loose_sni: bool
    workloads: tuple[Workload, ...] = ()
    hosts: list[str] = field(default_factory=list)
    cidrs: list[str] = field(default_factory=list)
    remarks: dict[str, list[str]] = field(default_factory=dict)


@dataclass(slots=True)
class Lesson:
    """The result. `left_out` are the destinations for which nothing is proposed, each with the reason."""

    proposals: list[Proposal]
    left_out: dict[str, str]
    allowed_already: int


@dataclass(slots=True)
class _Evidence:
    """All that was seen of one destination, from the workloads that its rule would be for."""

    tally: Occurrences = field(default_factory=Occurrences)
    clients: set[str] = field(default_factory=set)
    protocols: set[str | None] = field(default_factory=set)
    names: set[str | None] = field(default_factory=set)  # in TLS


class _Rule(NamedTuple):
    """What destinations that may share a rule have in common."""

    domain: str
    port: int
    protocol: Protocol | None
    loose_sni: bool
    workloads: tuple[Workload, ...]


def learn(
    attempts: Mapping[Attempt, Occurrences],
    rules: Rules,
    now: float,
    group_by: str | None = None,
    wildcard_from: int = WILDCARD_FROM,
) -> Lesson:
    """Propose rules for what passed and `rules`, the policy without report mode, would refuse. `group_by` is `group`
    (of the policy's groups that a client is in, the one with the fewest clients), `namespace`, `user` (or SPIFFE ID) or
    `address`, which also stands in for what a client does not have. `now` is Unix time in seconds."""
    wanted: dict[tuple[str, int], list[tuple[Attempt, Occurrences]]] = defaultdict(list)
    lesson, judge = Lesson([], {}, 0), Judge(rules, now)
    for attempt, tally in attempts.items():
        why_not = _why_not(attempt, tally, judge)
        if why_not is None:
            wanted[attempt.host, attempt.port].append((attempt, tally))
        elif why_not:
            lesson.left_out[attempt.destination] = why_not
        else:
            lesson.allowed_already += tally.count
    for seen in wanted.values():  # other attempts at the same destination need not have fared as well
        lesson.left_out.pop(seen[0][0].destination, None)
    shared: dict[_Rule, dict[str, _Evidence]] = defaultdict(dict)
    members = _members(wanted, judge) if group_by == "group" else {}
    for (host, port), seen in _spelt_alike(wanted).items():
        evidence = _evidence(seen)
        workloads = _workloads((attempt for attempt, _ in seen), group_by, members)
        shared[_rule_for(host, port, evidence, workloads)][host] = evidence
    for rule in sorted(shared, key=lambda each: (each.domain, each.port, each.workloads)):
        lesson.proposals.append(_proposal(rule, shared[rule], wildcard_from))
    return lesson


def within_reach(attempts: Mapping[Attempt, Occurrences], lesson: Lesson) -> dict[Attempt, Occurrences]:
    """The attempts that passed and that rules from the lesson could apply to: the verdicts on others do not change."""
    patterns = [host for proposal in lesson.proposals for host in (*proposal.hosts, *proposal.cidrs)]
    exact = {pattern.partition("/")[0] for pattern in patterns}
    below = tuple(pattern.removeprefix("*") for pattern in patterns if pattern.startswith("*."))
    spelt = {host: _canonical(host) for host in {attempt.host for attempt in attempts}}
    reached = {host for host, name in spelt.items() if name in exact or name.endswith(below)}
    return {attempt: tally for attempt, tally in attempts.items() if attempt.passed and attempt.host in reached}


def _spelt_alike(
    wanted: Mapping[tuple[str, int], list[tuple[Attempt, Occurrences]]],
) -> Mapping[tuple[str, int], list[tuple[Attempt, Occurrences]]]:
    alike: dict[tuple[str, int], list[tuple[Attempt, Occurrences]]] = defaultdict(list)
    for (host, port), seen in wanted.items():
        alike[_canonical(host), port] += seen
    return alike


def _canonical(host: str) -> str:
    """The form that names have in policies and on the wire: foreign logs hold them as they were typed."""
    return str(parse_address(host) or parse_host_name(host) or host)


def _why_not(attempt: Attempt, tally: Occurrences, judge: Judge) -> str | None:
    """None if a rule is needed, empty if there is one already, else why none is proposed."""
    try:
        verdict = judge.judge(attempt, tally)
    except InvalidAttempt as refusal:
        return str(refusal)
    if verdict.allowed:
        return ""
    if not attempt.passed:
        private = "" if tally.was_reached else ", ".join(sorted(filter(_is_special, tally.addresses)))
        return f"was refused for its address {private}: `private` in a rule opens that" if private else "was refused"
    if not tally.addresses:
        return "was never reached"
    return _beyond_rules(verdict)


def _beyond_rules(verdict: Verdict) -> str | None:
    if verdict.reason in (Reason.NO_RULE, Reason.IN_CLUSTER_NAME):
        return None
    by = f" by {verdict.rule}" if verdict.rule else ""
    return f"is refused ({verdict.reason}){by}: no further rule changes that"


def _evidence(seen: Iterable[tuple[Attempt, Occurrences]]) -> _Evidence:
    evidence = _Evidence()
    names: set[str | None] = set()
    for attempt, tally in seen:
        evidence.tally.add(tally)
        evidence.clients.add(attempt.client)
        evidence.protocols.add("http" if attempt.door == "absolute_form" else attempt.protocol)
        if attempt.protocol == "tls" and attempt.door != "absolute_form":
            names.add(attempt.sni)
    evidence.names.update(None if name is None else _canonical(name) for name in names)
    return evidence


def _members(wanted: Mapping[tuple[str, int], list[tuple[Attempt, Occurrences]]], judge: Judge) -> dict[str, set[str]]:
    """The clients of each group."""
    members: dict[str, set[str]] = defaultdict(set)
    for seen in wanted.values():
        for attempt, _ in seen:
            for group in judge.groups_of(attempt):
                members[group].add(attempt.client)
    return members


def _narrowest(client: str, members: Mapping[str, set[str]]) -> str | None:
    """Not the client's largest group: a rule for that would include many that never went there."""
    groups = [group for group, clients in members.items() if client in clients]
    return min(groups, key=lambda group: (len(members[group]), group), default=None)


def _workloads(
    attempts: Iterable[Attempt], group_by: str | None, members: Mapping[str, set[str]]
) -> tuple[Workload, ...]:
    if group_by is None:
        return ()
    found = set()
    for attempt in attempts:
        key = "spiffe" if group_by == "user" and attempt.user is None else group_by
        known = {
            "group": _narrowest(attempt.client, members),
            "namespace": attempt.namespace,
            "user": attempt.user,
            "spiffe": attempt.spiffe,
        }.get(key)
        if known is not None:
            found.add(Workload(key, known))
            continue
        address = parse_address(attempt.client_address)
        if address is not None:
            found.add(Workload("cidr", str(network_of(address))))
    return tuple(sorted(found))


def _rule_for(host: str, port: int, evidence: _Evidence, workloads: tuple[Workload, ...]) -> _Rule:
    is_literal = parse_address(host) is not None
    domain = host if is_literal else registrable_domain(host)
    loose = not is_literal and bool(evidence.names - {host})
    return _Rule(domain, port, _protocol(port, evidence.protocols), loose, workloads)


def _protocol(port: int, seen: set[str | None]) -> Protocol | None:
    """The protocol that the rule must state; None if the default of its port fits."""
    spoken = {protocol for protocol in Protocol if protocol in seen}  # foreign logs may have others
    if not spoken or spoken == {_USUAL.get(port)}:
        return None
    if Protocol.TCP in spoken:
        return Protocol.TCP
    if len(spoken) == 1:
        return spoken.pop()
    return Protocol.AUTO if port in _USUAL else None


def registrable_domain(host: str) -> str:
    """The registrable domain: one label more than the public suffix; the host itself if it has none."""
    return _SUFFIXES.privatesuffix(host) or host


def _proposal(rule: _Rule, hosts: Mapping[str, _Evidence], wildcard_from: int) -> Proposal:
    proposal = Proposal(*rule)
    address = parse_address(rule.domain)
    if address is not None:
        network = str(network_of(address))
        proposal.cidrs.append(network)
        proposal.remarks[network] = list(_remarks(rule.domain, hosts[rule.domain]))
        return proposal
    parent, covered = _wildcard(rule.domain, hosts, wildcard_from)
    if covered:
        proposal.hosts.append(f"*.{parent}")
        times = sum(hosts[host].tally.count for host in covered)
        doubts = sorted({remark for host in covered for remark in _remarks(host, hosts[host])})
        proposal.remarks[f"*.{parent}"] = [f"{len(covered)} names, {times} times", *doubts[:_DOUBTS_SHOWN]]
    for host in sorted(hosts.keys() - covered):
        proposal.hosts.append(host)
        proposal.remarks[host] = list(_remarks(host, hosts[host]))
    return proposal


def _wildcard(domain: str, hosts: Mapping[str, _Evidence], wildcard_from: int) -> tuple[str, set[str]]:
    """The deepest name above all names below `domain` that were seen more than once, and those names; nothing if they
    are too few. A name that was seen once is not evidence: exfiltration by DNS names makes many of those."""
    below = {host for host, seen in hosts.items() if host.endswith(f".{domain}") and seen.tally.count > 1}
    if len(below) < max(wildcard_from, 2):
        return "", set()
    labels = [tuple(reversed(host.split("."))) for host in below]
    shortest = min(map(len, labels)) - 1
    depth = next((place for place in range(shortest) if len({each[place] for each in labels}) > 1), shortest)
    parent = ".".join(reversed(labels[0][:depth]))
    return ("", set()) if holds_suffix(parent) else (parent, below)


def holds_suffix(name: str) -> bool:
    """Whether `name` is a public suffix or has one below it: a wildcard over it covers names of many owners."""
    return _SUFFIXES.publicsuffix(name) == name or name in _above_suffixes()


@cache
def _above_suffixes() -> frozenset[str]:
    """Every name above a public suffix, those of the list's private section included."""
    above: set[str] = set()
    with Path(PSLFILE).open(encoding="utf-8") as lines:
        for line in lines:
            rule = line.strip().removeprefix("!").removeprefix("*.")
            if rule and not rule.startswith("//"):
                labels = rule.encode("idna").decode("ascii").split(".") if not rule.isascii() else rule.split(".")
                above.update(".".join(labels[place:]) for place in range(1, len(labels)))
    return frozenset(above)


def _remarks(host: str, evidence: _Evidence) -> Iterator[str]:
    if parse_address(host) is not None:
        yield "a raw address: who is it?"
    private = [text for text in sorted({host} | evidence.tally.addresses) if _is_special(text)]
    if private:
        yield f"a private target: {', '.join(private)}"
    if evidence.tally.count == 1:
        yield f"seen once, by {', '.join(sorted(evidence.clients))}"
    spoken = sorted(protocol for protocol in Protocol if protocol in evidence.protocols)
    if len(spoken) > 1:
        yield f"spoken: {', '.join(spoken)}"
    other = sorted("none" if name is None else name for name in evidence.names - {host})
    if other and parse_address(host) is None:
        yield f"TLS named {', '.join(other[:3])}"


def _is_special(text: str) -> bool:
    address = parse_address(text)
    return address is not None and block_of(address).kind is not Kind.GLOBAL


def group_names(
    proposals: Sequence[Proposal], known: Mapping[Workload, str], taken: Iterable[str]
) -> dict[Workload, str]:
    """A group for every workload that a proposal names: one that matches exactly that, else a new name."""
    names = dict(known)
    used = {*known.values(), *taken}
    for workload in sorted({each for proposal in proposals for each in proposal.workloads}):
        if workload not in names:
            names[workload] = _fresh(f"{workload.key}-{workload.value}", used)
    return names


def _fresh(wanted: str, used: set[str]) -> str:
    """A name that policies accept, whatever a client calls itself: printable, short, without blanks at its ends."""
    shown = "".join("-" if c in "/#" or not c.isprintable() else c for c in wanted[:_NAME_CHARACTERS])
    name = shown.strip()
    candidate, number = name, 1
    while candidate in used:
        number += 1
        candidate = f"{name}-{number}"
    used.add(candidate)
    return candidate


def rule_names(proposals: Sequence[Proposal], taken: Iterable[str]) -> list[str]:
    """A name for each proposal, none of them taken."""
    used = set(taken)
    return [_fresh(f"learned-{proposal.domain}".replace(":", "-"), used) for proposal in proposals]
