"""Adds rules to the text of a policy. Lines are only inserted, so that comments and order stay; except that an empty
list in one line, `rules: []`, becomes `rules:`.

The text was loaded before and is loaded again afterwards: this need not work for every YAML, but must not damage any.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from gateway.insight.learn import Proposal, Workload

_ITEM = re.compile(r"( *)- ")
_GROUP = re.compile(r"( +)[^\s#]")
_PLAIN = re.compile(r"[A-Za-z_./][A-Za-z0-9_./-]*")
_MORE_THAN_TEXT = frozenset({"true", "false", "null", "True", "False", "Null", "TRUE", "FALSE", "NULL"})


class NotAppendable(Exception):
    """Nothing can be added to the text without rewriting some of it; the message says why."""


def patched(
    text: str, proposals: Sequence[Proposal], names: Sequence[str], groups: Mapping[Workload, str], fresh: set[str]
) -> str:
    """`text`, a policy file (empty for a new one), with a rule for each proposal and a group for each of `fresh`.
    Raises `NotAppendable`."""
    if not proposals:
        return text
    newline = "\r\n" if "\r\n" in text else "\n"
    lines = text.splitlines() if text.strip() else ["version: 1"]
    added = {workload: name for workload, name in groups.items() if name in fresh}
    if added:
        _insert(lines, "clients", lambda indent: _group_lines(added, indent or 2), _GROUP)
    _insert(
        lines, "rules", lambda indent: _rule_lines(proposals, names, groups, 2 if indent is None else indent), _ITEM
    )
    return newline.join(lines) + newline


def _insert(lines: list[str], key: str, made: Callable[[int | None], Iterator[str]], entry: re.Pattern[str]) -> None:
    """After the last entry of the block `key`, or as a new block at the end."""
    start = next((place for place, line in enumerate(lines) if re.match(rf"{key}\s*:", line)), None)
    if start is None:
        end = next((place for place, line in enumerate(lines) if place and line.startswith("...")), len(lines))
        lines[end:end] = [f"{key}:", *made(None)]
        return
    written = re.fullmatch(rf"({key}\s*:)\s*(\[\s*\]|\{{\s*\}})?\s*(#.*)?", lines[start])
    if written is None:
        raise NotAppendable(f"{key}: is written in one line; put each entry on a line of its own")
    if written[2] is not None:
        lines[start] = f"{written[1]} {written[3] or ''}".rstrip()
    end, indent = start + 1, None
    for place in range(start + 1, len(lines)):
        line = lines[place]
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not line.startswith((" ", "-")) or (key != "rules" and line.startswith("-")):
            break
        if indent is None and (found := entry.match(line)) is not None:
            indent = len(found[1])
        end = place + 1
    lines[end:end] = list(made(indent))


def _group_lines(groups: Mapping[Workload, str], indent: int) -> Iterator[str]:
    for workload, name in sorted(groups.items(), key=lambda item: item[1]):
        yield f"{' ' * indent}{quoted(name)}: {{match: [{{{workload.key}: {quoted(workload.value)}}}]}}"


def _rule_lines(
    proposals: Sequence[Proposal], names: Sequence[str], groups: Mapping[Workload, str], indent: int
) -> Iterator[str]:
    for proposal, name in zip(proposals, names, strict=True):
        first, *others = _keys(proposal, name, groups)
        yield f"{' ' * indent}- {first}"
        yield from (f"{' ' * (indent + 2)}{line}" for line in others)


def _keys(proposal: Proposal, name: str, groups: Mapping[Workload, str]) -> Iterator[str]:
    yield f"name: {quoted(name)}"
    if proposal.workloads:
        yield f"clients: [{', '.join(quoted(groups[workload]) for workload in proposal.workloads)}]"
    for key, entries in (("hosts", proposal.hosts), ("cidrs", proposal.cidrs)):
        if entries:
            yield f"{key}:"
            yield from (_entry(entry, proposal.remarks.get(entry, ())) for entry in entries)
    if proposal.port != 443:
        yield f"ports: [{proposal.port}]"
    if proposal.protocol is not None:
        yield f"protocol: {proposal.protocol}"
    if proposal.loose_sni:
        yield "sni: any"


def _entry(text: str, remarks: Sequence[str]) -> str:
    comment = "; ".join(remarks)
    return f"  - {quoted(text)}{'  # ' + _printable(comment) if comment else ''}"


def _printable(comment: str) -> str:
    """Safe on one line, whatever a client calls itself."""
    return "".join(c if c.isprintable() else "?" for c in comment)


def quoted(text: str) -> str:
    """The text as a YAML scalar, also inside `[...]` and `{...}`."""
    if _PLAIN.fullmatch(text) and text not in _MORE_THAN_TEXT and not text.startswith("."):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'
