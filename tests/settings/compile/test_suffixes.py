"""Whether a pattern covers a whole public suffix, asked of a part of the list, is what the whole list says."""

from pathlib import Path

from publicsuffixlist import PSLFILE, PublicSuffixList

from gateway.policy.rules import HostPattern, Reach
from gateway.settings.compile.suffixes import Suffix, public_suffix
from gateway.settings.hosts import parse_host_entry
from gateway.settings.problems import BadValue

WHOLE = {False: PublicSuffixList(accept_unknown=False), True: PublicSuffixList(accept_unknown=False, only_icann=True)}
EVERY = 5


def names() -> list[str]:
    """Entries of the list, what stands above and below them, and names that are in no list."""
    lines = Path(PSLFILE).read_text(encoding="utf-8").splitlines()
    entries = [line.lstrip("!*.") for line in lines if line and not line.startswith("//")][::EVERY]
    around = [name for entry in entries for name in (entry, f"below.{entry}", entry.partition(".")[2]) if name]
    return [*around, "nowhere", "a.nowhere", "xn--nowhere"]


def said_by_the_whole_list(pattern: HostPattern) -> Suffix | None:
    below = f"any-label.{pattern.name}"
    found = {only_icann: suffixes.publicsuffix(below) for only_icann, suffixes in WHOLE.items()}
    if found[False] not in (pattern.name, below):
        return None
    return Suffix.ICANN if found[True] in (pattern.name, below) else Suffix.PRIVATE


def test_what_is_said_of_a_name_is_what_the_whole_list_says() -> None:
    told: dict[Suffix | None, int] = {}
    for name in names():
        try:
            [pattern] = parse_host_entry(f"*.{name}").patterns
        except BadValue:  # an entry that IDNA 2008 does not take
            continue
        assert public_suffix(pattern) == said_by_the_whole_list(pattern), name
        told[public_suffix(pattern)] = told.get(public_suffix(pattern), 0) + 1
    assert min(told[Suffix.ICANN], told[Suffix.PRIVATE], told[None]) > 100


def test_a_name_itself_is_no_whole_suffix() -> None:
    assert public_suffix(HostPattern("com", Reach.EXACT)) is None
