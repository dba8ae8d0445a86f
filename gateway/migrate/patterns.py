"""Host patterns: how sources spell them, what ours mean, and what two of them have in common.

The star means something else in every source; what each pattern became is reported, with an example that is easily
missed.
"""

import re
from collections.abc import Iterable, Iterator
from functools import cache

from publicsuffixlist import PublicSuffixList

from gateway.migrate.findings import Findings
from gateway.model.names import parse_host_name
from gateway.policy.rules import ANY_HOST, HostPattern, Reach

Patterns = tuple[HostPattern, ...]
ANYTHING: Patterns = (ANY_HOST,)
_NO_TEXT = re.compile(r"-|true|false|null|0o[0-7]+|[-.0-9]+(?:e-?[0-9]+)?", re.ASCII)
"""Names that YAML would not read as text."""


def name_at(text: str, reach: Reach) -> HostPattern | None:
    """A pattern at a name; None if that is no host name."""
    name = parse_host_name(text)
    return None if name is None else HostPattern(name, reach)


def name_or_below(written: str) -> HostPattern | None:
    """Where `*.name` is every name below at any depth, and a star stands nowhere else; None for anything else."""
    return name_at(written.removeprefix("*."), Reach.BELOW if written.startswith("*.") else Reach.EXACT)


def spelled(pattern: HostPattern) -> str:
    """As in our files, inside a list."""
    match pattern.reach:
        case Reach.EXACT:
            return f'"{pattern.name}"' if _NO_TEXT.fullmatch(pattern.name) else pattern.name
        case Reach.BELOW:
            return f'"*.{pattern.name}"'
        case Reach.CHILD:
            return f'{{name: "*.{pattern.name}", depth: 1}}'
        case Reach.ANY:
            return '"*"'


def meaning(patterns: Iterable[HostPattern]) -> str:
    """What the patterns that one entry became stand for, in words."""
    said = {
        Reach.EXACT: "{0} itself",
        Reach.BELOW: "every name below {0} at any depth",
        Reach.CHILD: "one label below {0}, not a.b.{0}",
        Reach.ANY: "every name, no address",
    }
    reaches = {pattern.reach for pattern in patterns}
    words = [said[pattern.reach].format(pattern.name) for pattern in patterns]
    if not reaches & {Reach.EXACT, Reach.ANY}:
        words.append(f"not {next(iter(patterns)).name} itself")
    return ", ".join(words)


def tell(findings: Findings, written: str, patterns: Patterns) -> None:
    """Note what a pattern of the source became."""
    if any(pattern.reach is not Reach.EXACT for pattern in patterns):
        findings.wildcards[written] = meaning(patterns)


def in_common(one: Patterns, other: Patterns) -> Patterns:
    """The names that stand in both lists; in a time that grows with their lengths, not with the number of pairs."""
    if ANYTHING in (one, other):
        return other if one == ANYTHING else one
    ours, theirs = frozenset(one), frozenset(other)
    found = {pattern for pattern in ours if is_covered(pattern, theirs)}
    return least(found | {pattern for pattern in theirs if is_covered(pattern, ours)})


def least(patterns: Iterable[HostPattern]) -> Patterns:
    """Without those that others of them cover, in order."""
    every = frozenset(patterns)
    return tuple(sorted(pattern for pattern in every if every.isdisjoint(_around(pattern))))


def with_exceptions(patterns: Patterns, but: Patterns) -> dict[HostPattern, Patterns]:
    """Each pattern of which something is left, and those of `but` that lie inside of it."""
    inside: dict[HostPattern, list[HostPattern]] = {pattern: [] for pattern in patterns}
    for excepted in least(but):
        for outer in _around(excepted):
            if outer in inside:
                inside[outer].append(excepted)
    gone = frozenset(but)
    return {pattern: tuple(found) for pattern, found in inside.items() if not is_covered(pattern, gone)}


def is_covered(pattern: HostPattern, by: frozenset[HostPattern]) -> bool:
    """Whether one of the patterns covers this one. Two patterns are nested or apart."""
    return pattern in by or any(outer in by for outer in _around(pattern))


def _around(pattern: HostPattern) -> Iterator[HostPattern]:
    """Every other pattern that covers it."""
    if pattern.reach is Reach.ANY:
        return
    yield ANY_HOST
    if pattern.reach is Reach.CHILD:
        yield HostPattern(pattern.name, Reach.BELOW)
    _, _, parent = pattern.name.partition(".")
    if pattern.reach is Reach.EXACT and parent:
        yield HostPattern(parent, Reach.CHILD)
    while parent:
        yield HostPattern(parent, Reach.BELOW)
        _, _, parent = parent.partition(".")


@cache
def _registries() -> PublicSuffixList:
    return PublicSuffixList(accept_unknown=False)


def is_public_suffix(pattern: HostPattern) -> bool:
    """Whether the pattern covers names of many owners, which a rule must confirm."""
    if pattern.reach not in (Reach.BELOW, Reach.CHILD):
        return False
    below = f"any-label.{pattern.name}"
    return _registries().publicsuffix(below) in (pattern.name, below)
