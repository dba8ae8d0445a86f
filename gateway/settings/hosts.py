"""Host patterns as files spell them: `name`, `*.name`, `.name`, `*`, `{name: "*.name", depth: 1}`.

Only here is Unicode turned into A-labels (UTS 46, non-transitional); the wire's names are never mapped.
"""

from typing import NamedTuple

import idna

from gateway.model.addresses import parse_address, parse_network
from gateway.model.names import HostName, parse_host_name
from gateway.policy.rules import ANY_HOST, HostPattern, Reach
from gateway.settings.problems import BadValue, show_value

_OF_EXPRESSIONS = frozenset("\\^$()[]|+?{}")


class HostEntry(NamedTuple):
    """One entry of a list of hosts: how it was written and what it stands for."""

    text: str
    patterns: tuple[HostPattern, ...]

    @property
    def ascii(self) -> str:
        """The entry as it is compared."""
        star = "*." if self.text.startswith("*.") else "." if self.text.startswith(".") else ""
        return star + self.patterns[0].name


def parse_host_entry(value: object) -> HostEntry:
    """An entry of `hosts`. Raises BadValue that says what is wrong and what to write instead."""
    if isinstance(value, dict):
        return _parse_mapping(value)
    if not isinstance(value, str):
        raise BadValue(f"must be a host name or a pattern as text, not {show_value(value)}")
    if value == "*":
        return HostEntry(value, (ANY_HOST,))
    if "*" in value.removeprefix("*."):
        regular = "this is not a regular expression: " if set(value) & _OF_EXPRESSIONS else ""
        raise BadValue(f'{value!r}: {regular}a star is alone or the first label, as in "*.example.com"')
    if value.startswith("*."):
        return HostEntry(value, (HostPattern(parse_name(value[2:]), Reach.BELOW),))
    if value.startswith("."):
        name = parse_name(value[1:])
        return HostEntry(value, (HostPattern(name, Reach.EXACT), HostPattern(name, Reach.BELOW)))
    return HostEntry(value, (HostPattern(parse_name(value), Reach.EXACT),))


def _parse_mapping(value: dict[str, object]) -> HostEntry:
    unknown = [name for name in value if name not in ("name", "depth")]
    if unknown:
        raise BadValue(f"unknown key {unknown[0]!r}: a host is text, or a mapping with name and depth")
    entry = parse_host_entry(value.get("name"))
    if "depth" not in value:
        return entry
    depth = value["depth"]
    if depth != 1 or isinstance(depth, bool):
        raise BadValue(f"depth must be 1, not {show_value(depth)}: omit it for any depth")
    if not entry.text.startswith("*."):
        raise BadValue(f'depth: 1 is only for a name that begins with "*.", not for {entry.text!r}')
    return HostEntry(entry.text, (HostPattern(entry.patterns[0].name, Reach.CHILD),))


def show_pattern(pattern: HostPattern) -> str:
    """As it would be written in a file."""
    match pattern.reach:
        case Reach.EXACT:
            return pattern.name
        case Reach.BELOW:
            return f"*.{pattern.name}"
        case Reach.CHILD:
            return f"*.{pattern.name} (depth 1)"
        case Reach.ANY:
            return "*"


def parse_name(text: str) -> HostName:
    """The canonical form of a name in a file. Raises BadValue that says why it is not a name."""
    plain = parse_host_name(text)
    if plain is not None:
        return plain
    if parse_address(text) is not None or text.startswith("["):
        raise BadValue(f"{text!r} is an address: in a rule, addresses go into cidrs")
    if "*" in text:
        raise BadValue(f"{text!r} is not a host name: only what stands in hosts may have a star")
    ascii_text = to_ascii(text)
    name = parse_host_name(ascii_text)
    if name is None:
        raise BadValue(f"{text!r} is not a host name{_why_not(ascii_text)}")
    return name


def _why_not(text: str) -> str:
    """The most likely mistake in words, or nothing."""
    last = text.removesuffix(".").rpartition(".")[2]
    if "/" in text:
        if "://" in text:
            return ": write it without scheme and path"
        return ": in a rule, networks go into cidrs" if parse_network(text) else ": write it without path"
    if ":" in text:
        return ": in a rule, ports go into ports"
    if last.isdecimal() or last.startswith("0x"):
        return ": its last label is a number, as in a spelling of an address"
    if not text:
        return ": it is empty"
    if any(len(label) > 63 for label in text.split(".")) or len(text) > 254:
        return ": labels have at most 63 characters, names 253"
    return ": labels of letters, digits, hyphens and underscores, with dots between"


def to_ascii(text: str) -> str:
    """Non-ASCII text as A-labels, by UTS 46; ASCII stays as it is. Raises BadValue."""
    if text.isascii():
        return text
    try:
        mapped = idna.uts46_remap(text, std3_rules=False, transitional=False)
        labels = [label if label.isascii() else idna.alabel(label).decode("ascii") for label in mapped.split(".")]
    except idna.IDNAError as refusal:
        raise BadValue(f"{text!r} is not a host name: {refusal}") from refusal
    return ".".join(labels)
