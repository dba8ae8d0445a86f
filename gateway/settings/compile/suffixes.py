"""Patterns over a whole public suffix (publicsuffix.org): they cover the names of many owners."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cache
from pathlib import Path

from publicsuffixlist import PSLFILE, PublicSuffixList

from gateway.policy.rules import HostPattern, Reach
from gateway.settings.hosts import HostEntry
from gateway.settings.policy import RuleSettings

_SECTIONS = {"// ===BEGIN ICANN DOMAINS===": True, "// ===END ICANN DOMAINS===": False}


class Suffix(StrEnum):
    """The section of the Public Suffix List in which a suffix stands."""

    ICANN = "icann"
    PRIVATE = "private"


def check_suffix(entry: HostEntry, rule: RuleSettings) -> Suffix | None:
    """The section of the Public Suffix List in which the entry covers a whole suffix; None too if the rule says that
    this is meant."""
    if rule.public_suffix:
        return None
    for pattern in entry.patterns:
        if (found := public_suffix(pattern)) is not None:
            return found
    return None


def public_suffix(pattern: HostPattern) -> Suffix | None:
    """The section of the Public Suffix List that has the name below which the pattern covers everything; None if none.

    The parent of a wildcard entry (`*.ck`) counts: a pattern over it covers whole suffixes.
    """
    if pattern.reach not in (Reach.BELOW, Reach.CHILD):
        return None
    name, last = pattern.name, pattern.name.rpartition(".")[2]
    listed = _listed(last)
    if name not in listed and f"*.{name.partition('.')[2]}" not in listed:
        return None
    below = f"any-label.{name}"
    whole = name, below
    if _suffix_list(last, False).publicsuffix(below) not in whole:
        return None
    return Suffix.ICANN if _suffix_list(last, True).publicsuffix(below) in whole else Suffix.PRIVATE


@cache
def _entries() -> Mapping[tuple[str, bool], Sequence[str]]:
    """Lines of the Public Suffix List by their last label, as an A-label, and by whether their section is ICANN's."""
    entries = defaultdict(list)
    is_icann = False
    for line in Path(PSLFILE).read_text(encoding="utf-8").splitlines():
        if line.startswith("//"):
            is_icann = _SECTIONS.get(line.rstrip(), is_icann)
        elif line:
            last = line.partition(" ")[0].rpartition(".")[2].lower()
            entries[last, is_icann].append(line)
    return {
        (last if last.isascii() else last.encode("idna").decode(), is_icann): lines
        for (last, is_icann), lines in entries.items()
    }


@cache
def _suffix_list(last: str, only_icann: bool) -> PublicSuffixList:
    """The list's entries with this last label. Most policies need a few of the ten thousand entries: to load them all
    would take longer than the rest of a start."""
    entries = _entries()
    lines = [*entries.get((last, True), ()), *(() if only_icann else entries.get((last, False), ()))]
    return PublicSuffixList(lines, accept_unknown=False)


@cache
def _listed(last: str) -> frozenset[str]:
    """The entries with this last label, in A-labels; for `*.ck` and `!www.ck` the names themselves as well. A look-up
    here takes a tenth of the library's time, and rules out nearly every name of a long list."""
    entries, listed = _entries(), set[str]()
    for line in (*entries.get((last, True), ()), *entries.get((last, False), ())):
        entry = line.partition(" ")[0].lower()
        named = entry.removeprefix("!").removeprefix("*.")
        ascii_name = named if named.isascii() else named.encode("idna").decode()
        listed |= {ascii_name, f"*.{ascii_name}"} if entry.startswith("*.") else {ascii_name}
    return frozenset(listed)
