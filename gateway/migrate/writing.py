"""Writes rules as the text of a policy: one block a rule, beside each entry where it comes from."""

import re
from collections.abc import Iterable, Iterator, Sequence

from gateway.migrate.findings import Effect
from gateway.migrate.grants import GroupEntry, GroupText, Imported, Inspected
from gateway.migrate.patterns import spelled
from gateway.migrate.rules import Entry, RuleText
from gateway.migrate.sets import EVERY_PORT, AddressSet, Spans
from gateway.migrate.sets import addresses as addresses_of
from gateway.model.addresses import Network
from gateway.policy.rules import HostPattern

_HEADINGS = {
    Effect.WIDER: "WIDER than the source: what could not be carried over, and the source refuses",
    Effect.LEFT_OUT: "Left out, so that less is allowed or done than by the source",
    Effect.NOTE: "Notes",
}
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*", re.ASCII)


def policy_text(imported: Imported, rules: Sequence[RuleText], source: str) -> str:
    """policy.yaml. `source` says what it was made of."""
    return "\n".join([*_head(imported, source), *_body(imported, rules)]) + "\n"


def _head(imported: Imported, source: str) -> Iterator[str]:
    yield comment(f"Imported from {source}.")
    for effect, heading in _HEADINGS.items():
        lines = imported.findings.lines(effect)
        if lines:
            yield "#"
            yield comment(f"{heading}:")
            yield from (comment(f"- {line}") for line in lines)
    if imported.findings.wildcards:
        yield "#"
        yield comment("Wildcards of the source, and what they are here:")
        yield from (comment(f"- {line}") for line in imported.findings.wildcard_lines())


def _body(imported: Imported, rules: Sequence[RuleText]) -> Iterator[str]:
    yield "version: 1"
    if imported.mode is not None:
        yield f"mode: {imported.mode}"
    if imported.groups:
        yield "clients:"
        for group in imported.groups.values():
            yield from _group(group)
    if not rules:
        yield "rules: []"
        return
    yield "rules:"
    for rule in rules:
        first, *others = _rule(rule)
        yield f"  - {first}"
        yield from (f"    {line}" for line in others)


def _group(group: GroupText) -> Iterator[str]:
    yield f"  {text(group.name)}:{comment(group.origin, '  ') if group.origin else ''}"
    if group.mode is not None:
        yield f"    mode: {group.mode}"
    yield "    match:"
    yield from (f"      - {{{_match(entry)}}}" for entry in group.entries)


def _match(entry: GroupEntry) -> str:
    said = [f"{key}: {text(value)}" for key, value in entry.facts]
    if entry.labels:
        said.append(f"labels: {{{', '.join(f'{text(key)}: {text(value)}' for key, value in entry.labels)}}}")
    return ", ".join(said)


def _rule(rule: RuleText) -> Iterator[str]:
    yield f"name: {text(rule.name)}{comment(', '.join(rule.places), '  ') if rule.places else ''}"
    if rule.refusal is not None:
        yield "action: deny"
        if rule.refusal.mode is not None:
            yield f"mode: {rule.refusal.mode}"
    if rule.who.groups:
        yield f"clients: {_listed(map(text, rule.who.groups))}"
    if rule.hosts:
        yield "hosts:"
        yield from (_host(entry) for entry in rule.hosts)
    yield from _where(rule)
    if rule.refusal is None or rule.ports != EVERY_PORT:
        yield f"ports: {_ports(rule.ports)}"
    yield from _terms(rule)


def _host(entry: Entry) -> str:
    return f"  - {spelled(entry.pattern)}{comment(', '.join(entry.places), '  ')}"


def _where(rule: RuleText) -> Iterator[str]:
    """Networks, and all that is taken out of the rule."""
    cidrs, excepted = _networks(rule.addresses)
    if cidrs:
        yield f"cidrs: {_listed(cidrs)}"
    hosts: Iterable[HostPattern] = rule.refusal.but if rule.refusal is not None else rule.terms.but
    taken_out = {
        "hosts": [spelled(pattern) for pattern in hosts],
        "cidrs": excepted,
        "clients": [text(name) for name in rule.who.but],
    }
    if any(taken_out.values()):
        yield "except:"
        yield from (f"  {key}: {_listed(values)}" for key, values in taken_out.items() if values)


def _terms(rule: RuleText) -> Iterator[str]:
    terms = rule.terms
    if terms.protocol is not None:
        yield f"protocol: {terms.protocol}"
    if terms.within is not None:
        yield f"within: {_listed(_texts(terms.within.networks()))}"
    if terms.private:
        yield f"private: {_listed(_texts(terms.private.networks()))}"
    if rule.public_suffix:
        yield "public_suffix: true"
    if terms.inspected is not None:
        yield from _inspect(terms.inspected)


def _inspect(inspected: Inspected) -> Iterator[str]:
    if not inspected.headers and not inspected.logged:
        yield "inspect: {}"
        return
    yield "inspect:"
    if inspected.headers:
        yield "  headers:"
        yield "    set:"
        yield from (f"      {text(name)}: {text(value)}" for name, value in inspected.headers)
    if inspected.logged:
        yield f"  log: {{headers: {_listed(map(text, inspected.logged))}}}"


def _networks(addresses: AddressSet) -> tuple[list[str], list[str]]:
    """`cidrs` and `except.cidrs`: all prefixes, or the one around them and what is taken out of it, if that is less."""
    cidrs: list[str] = []
    taken_out: list[str] = []
    for part in (AddressSet(v4=addresses.v4), AddressSet(v6=addresses.v6)):
        plain = _texts(part.networks())
        if part:
            around = part.around()
            left = _texts((addresses_of((around,)) - part).networks())
            if 1 + len(left) < len(plain):
                plain, taken_out = [_cidr(around)], taken_out + left
        cidrs += plain
    return cidrs, taken_out


def _ports(ports: Spans) -> str:
    if ports == EVERY_PORT:
        return "any"
    return _listed(str(first) if first == last else f"{first}-{last}" for first, last in ports.ranges)


def _texts(networks: Iterable[Network]) -> list[str]:
    return [_cidr(network) for network in networks]


def _cidr(network: Network) -> str:
    shown = str(network)
    return f'"{shown}"' if ":" in shown else shown


def _listed(items: Iterable[str]) -> str:
    return f"[{', '.join(items)}]"


def text(value: str) -> str:
    """A YAML scalar for this text, also inside brackets."""
    if _PLAIN.fullmatch(value) and value.lower() not in ("true", "false", "null"):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'


def comment(said: str, before: str = "") -> str:
    """On one line, whatever the source's text holds."""
    return f"{before}# " + "".join(c if c.isprintable() else "?" for c in said)
