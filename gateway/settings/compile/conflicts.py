"""Finds rules that contradict each other: for each destination, in one sweep over the ports of its rules."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from gateway.model.addresses import Network
from gateway.model.decision import RuleRef, Terms
from gateway.model.intent import Protocol
from gateway.policy.candidates import port_bounds
from gateway.policy.rules import Action, HostPattern, Mode, Policy, Rule, Tier


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two allow rules for one destination and a common port. `fatal`: also for the same clients, so that neither takes
    precedence; otherwise they differ in groups and in settings, and a client of both groups gets one by rank."""

    first: RuleRef
    second: RuleRef
    destination: HostPattern | Network
    fatal: bool


@dataclass(frozen=True, slots=True)
class _Span:
    """Ports of one rule, `end` excluded."""

    first: int
    end: int
    rule: Rule

    @property
    def clients(self) -> frozenset[str]:
        return frozenset(self.rule.clients)

    @property
    def settings(self) -> tuple[Terms, Protocol | None, Mode | None]:
        return self.rule.terms, self.rule.protocol, self.rule.mode


def find_conflicts(policy: Policy) -> Sequence[Conflict]:
    """Every rule that conflicts with another is in at least one conflict, and no pair of rules is in two. Takes time
    proportional to the number of destinations, not of pairs."""
    found: dict[tuple[RuleRef, RuleRef], Conflict] = {}
    for destination, rules in _shared(policy.rules):
        for first, second, fatal in _collisions(rules):
            pair = first.rule.ref, second.rule.ref
            if pair not in found or (fatal and not found[pair].fatal):
                found[pair] = Conflict(*pair, destination, fatal)
    return list(found.values())


def _shared(rules: Iterable[Rule]) -> Iterator[tuple[HostPattern | Network, Sequence[Rule]]]:
    """Destinations that several allow rules have. Most have one, even in lists of a million entries."""
    first: dict[tuple[Tier, str | None], dict[HostPattern | Network, Rule]] = defaultdict(dict)
    several: dict[tuple[Tier, str | None, HostPattern | Network], list[Rule]] = {}
    for rule in rules:
        if rule.action is not Action.ALLOW:
            continue
        tier = first[rule.tier, rule.namespace]
        for destination in chain[HostPattern | Network](rule.hosts, rule.cidrs):
            known = tier.setdefault(destination, rule)
            if known is not rule:
                together = several.setdefault((rule.tier, rule.namespace, destination), [known])
                if together[-1] is not rule:
                    together.append(rule)
    for (_, _, destination), together in several.items():
        yield destination, together


def _collisions(rules: Sequence[Rule]) -> Iterator[tuple[_Span, _Span, bool]]:
    spans = []
    for rule in rules:
        bounds = port_bounds(rule.ports)
        spans += [_Span(first, end, rule) for first, end in zip(bounds[::2], bounds[1::2], strict=True)]
    spans.sort(key=lambda span: span.first)
    for first, second in _same_clients(spans):
        yield first, second, True
    for first, second in _other_settings([span for span in spans if span.rule.clients]):
        yield first, second, False


def _same_clients(spans: Iterable[_Span]) -> Iterator[tuple[_Span, _Span]]:
    """Ordered by their first ports, a span overlaps an earlier one if it overlaps the one that reaches furthest."""
    furthest: dict[frozenset[str], _Span] = {}
    for span in spans:
        earlier = furthest.get(span.clients)
        if earlier is not None and span.first < earlier.end:
            yield earlier, span
        if earlier is None or span.end > earlier.end:
            furthest[span.clients] = span


def _other_settings(spans: Iterable[_Span]) -> Iterator[tuple[_Span, _Span]]:
    """As above, with the furthest of all (`first`) and the furthest whose settings differ from those of `first`."""
    first: _Span | None = None
    second: _Span | None = None
    for span in spans:
        rival = second if first is not None and first.settings == span.settings else first
        if rival is not None and span.first < rival.end and span.clients != rival.clients:
            yield rival, span
        if first is None or span.end > first.end:
            first, second = span, (second if rival is second else first)
        elif rival is first and (second is None or span.end > second.end):
            second = span
