"""docs/policy.md has every key with its default and no other, and no page names a key that does not exist."""

import re
from collections.abc import Iterator
from typing import Any

import yaml

from gateway.settings.gateway import GatewaySettings
from gateway.settings.policy import LimitSettings, MatchSettings, PolicyFile, RequestSettings, RuleSettings
from gateway.settings.section import Section, field_type, inner_type, is_section, keys_of
from tests.helpers.pages import PAGES, ROOT, text_of

KeyPath = tuple[str, ...]

VALUES = yaml.safe_load((ROOT / "helm" / "egress-gateway" / "values.yaml").read_text())
DOTTED = re.compile(r"`([A-Za-z_]+(?:\[\])?(?:\.[A-Za-z_\[\]]+)+)`", re.ASCII)
NO_KEY = re.compile(
    r".*\.(?:yaml|py|md)|cluster\.local|kubernetes\.io|rules\.http|service\.instance\.id|tls\.(?:client|protocol)\..*"
)
"""Files, domains, attributes and the keys of others that begin like a key of ours."""


def leaves_of(section: type[Section], above: KeyPath = ()) -> Iterator[KeyPath]:
    """Every key that holds no other, with those above it. What a list or a mapping holds stands below its key."""
    for key in keys_of(section):
        annotation = field_type(section, key)
        below = inner_type(annotation) or annotation
        if is_section(below):
            yield from leaves_of(below, (*above, key))
        else:
            yield (*above, key)


def words(text: str) -> set[str]:
    """Of what stands in backquotes."""
    return set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]+)`", text))))


def rows(page: str, heading: str, until: str = "\n## ") -> dict[KeyPath, str]:
    """Of the tables below a heading: each name in the first column as a path, and the row that it stands in."""
    section = text_of(page).split(f"\n{heading}")[1].split(until)[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return {name: line for line in lines for name in names_in(line.split("|")[1])}


def names_in(cell: str) -> Iterator[KeyPath]:
    """`a.b`, `.c` are a.b and a.c."""
    above: KeyPath = ()
    for name in re.findall(r"`([^`]+)`", cell):
        path = tuple(part.removesuffix("[]") for part in name.lstrip(".").split("."))
        yield (*above, *path) if name.startswith(".") else path
        above = above if name.startswith(".") else path[:-1]


def within(part: KeyPath, whole: KeyPath) -> int | None:
    """Where in `whole` what follows `part` begins: tables abbreviate (`access_log[].path`)."""
    ends = (start + len(part) for start in range(len(whole)) if whole[start : start + len(part)] == part)
    return next(ends, None)


def is_described(path: KeyPath, described: dict[KeyPath, str]) -> bool:
    """A row is about it, or about a key above and names it."""
    ends = ((within(name, path), row) for name, row in described.items())
    return any(end is not None and set(path[end:]) <= words(row) for end, row in ends)


def test_every_key_of_gateway_yaml_is_described_and_no_other() -> None:
    described = rows("docs/policy.md", "## gateway.yaml")
    inspectors = words(text_of("docs/inspectors.md")) | set(re.findall(r"\w+(?=:)", text_of("docs/inspectors.md")))
    keys = list(leaves_of(GatewaySettings))
    missing = [path for path in keys if not is_described(path, described)]
    assert [path for path in missing if path[0] != "inspectors" or path[-1] not in inspectors] == []
    assert [name for name in described if not any(within(name, path) for path in keys)] == []


def is_a_value(path: KeyPath) -> bool:
    """Of the chart. Below an open one anything is."""
    node: Any = VALUES
    for key in path:
        if not isinstance(node, dict) or (node and key not in node):
            return False
        node = node.get(key, {})
    return True


def unknown_keys(text: str) -> list[str]:
    """Dotted names that begin like a key of a file or a value of the chart, and are none."""
    keys = [*leaves_of(GatewaySettings), *leaves_of(PolicyFile), *leaves_of(RuleSettings)]
    first = {path[0] for path in keys if len(path) > 1} | set(VALUES)
    named = {name: tuple(part.removesuffix("[]") for part in name.split(".")) for name in DOTTED.findall(text)}
    asked = {name: path for name, path in named.items() if path[0] in first and not NO_KEY.fullmatch(name)}
    return [n for n, path in asked.items() if not (any(within(path, key) for key in keys) or is_a_value(path))]


def test_every_dotted_key_that_a_page_names_exists() -> None:
    assert {page: found for page in PAGES if (found := unknown_keys(text_of(page)))} == {}


def test_a_dotted_key_that_does_not_exist_would_be_told() -> None:
    text = (
        "`timeouts.idle` `resolver.cache.stale` `lock.namespaces` `networkPolicy.extraIngres` `gateway.cluster.cidrs`"
    )
    assert unknown_keys(text) == ["resolver.cache.stale", "networkPolicy.extraIngres"]


def default_of(path: KeyPath, section: type[Section] = GatewaySettings) -> object:
    """As files would spell it. Raises `KeyError`: there is no such key."""
    key, *rest = path
    annotation = field_type(section, key)
    below = inner_type(annotation) or annotation
    if rest:
        return default_of(tuple(rest), below)
    [field] = [field for name, field in section.model_fields.items() if (field.alias or name) == key]
    if field.default_factory is None:
        return field.default
    return {each: default_of((each,), below) for each in keys_of(below)}


def test_defaults_are_those_that_the_page_names() -> None:
    described = rows("docs/policy.md", "## gateway.yaml")
    compared = 0
    for name, row in described.items():
        shown = row.split("|")[2].strip()
        if re.fullmatch(r"(`[^`]+` ?)+", shown):
            whole = name if name[0] in keys_of(GatewaySettings) else ("telemetry", *name)
            several = shown.count("`") > 2
            text = "{" + ", ".join(re.findall(r"`([^`]+)`", shown)) + "}" if several else shown.strip("`")
            assert default_of(whole) == ("-" if text == "-" else yaml.safe_load(text)), name
            compared += 1
    assert compared > 50


def test_every_key_of_a_group_a_rule_a_limit_and_a_request_has_a_row_and_no_other() -> None:
    page = "docs/policy.md"
    assert {key for (key,) in rows(page, "**A group**", "**A rule**")} == set(keys_of(MatchSettings))
    assert {key for (key,) in rows(page, "**A rule**", "**Patterns.**")} == set(keys_of(RuleSettings))
    assert {key for (key,) in rows(page, "**`requests`**", "A path is")} == set(keys_of(RequestSettings))
    limits = {re.split(r"\W", key)[0] for (key, *_) in rows(page, "| a limit of", "**What a client")} - {""}
    assert limits == set(keys_of(LimitSettings))


def test_every_key_of_policy_yaml_is_named() -> None:
    named = words(text_of("docs/policy.md"))
    assert [path for path in leaves_of(PolicyFile) if not set(path) <= named] == []


def test_a_key_without_a_word_about_it_would_be_told() -> None:
    described = {("timeouts",): "| `timeouts` | `head: 10s` |", ("access_log", "path"): "| `access_log[].path` | `-` |"}
    assert is_described(("timeouts", "head"), described)
    assert is_described(("telemetry", "access_log", "path"), described)
    assert not is_described(("timeouts", "idle"), described)
    assert not is_described(("telemetry", "access_log", "format"), described)
