"""docs/policy.md has every key and no other, and every example of a file in the pages is one that loads."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.settings.gateway import GatewaySettings
from gateway.settings.load import load_policy, load_settings, with_policy
from gateway.settings.policy import LimitSettings, MatchSettings, PolicyFile, RequestSettings, RuleSettings
from gateway.settings.problems import ConfigErrors
from gateway.settings.section import Section, field_type, inner_type, is_section, keys_of
from tests.helpers.pages import PAGES, Block, blocks, text_of

KeyPath = tuple[str, ...]

BEGINNING = re.compile(r"# (gateway|policy)\.yaml\n|# Imported from ")
OTHERS = re.compile(r"# (?:values|mine)\.yaml\n|# of a pod\n|apiVersion: ")
"""What is not ours to load: the chart's values, pods, objects of Kubernetes."""
EXAMPLES = [block for page in PAGES for block in blocks(page, "yaml") if not OTHERS.match(block.text)]


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


def settings_on(page: str, folder: Path) -> GatewaySettings:
    """What the examples of gateway.yaml on a page say together; with an authority, which policies may need."""
    together: dict[str, Any] = {"inspection": {"ca_cert": "ca.crt", "ca_key": "ca.key"}}
    for block in EXAMPLES:
        if block.page == page and block.text.startswith("# gateway.yaml"):
            for key, value in yaml.safe_load(block.text).items():
                known = together.get(key)
                together[key] = {**known, **value} if isinstance(known, dict) else value
    file = folder / "gateway.yaml"
    file.write_text(yaml.safe_dump(together), encoding="utf-8")
    return load_settings(file, {})


def with_all_groups(policy: dict[str, Any], settings: GatewaySettings) -> dict[str, Any]:
    """An example that leaves groups out, with a stand-in for each."""
    shown = [*settings.secrets.values(), *settings.client_certificates.values()]
    groups = {group for rule in policy.get("rules") or [] for group in rule.get("clients", [])}
    groups |= {group for each in shown for group in each.clients or ()}
    stand_ins = {group: {"match": [{"user": group}]} for group in groups}
    return {**policy, "clients": stand_ins | policy.get("clients", {})}


def load(block: Block, folder: Path) -> None:
    """As a file of its own. Raises `ConfigErrors`."""
    if block.text.startswith("# gateway.yaml"):
        file = folder / "gateway.yaml"
        file.write_text(block.text, encoding="utf-8")
        load_settings(file, {})
    else:
        settings = settings_on(block.page, folder)
        file = folder / "policy.yaml"
        file.write_text(yaml.safe_dump(with_all_groups(yaml.safe_load(block.text), settings)), encoding="utf-8")
        load_policy(with_policy(settings, file))


@pytest.mark.parametrize("block", EXAMPLES, ids=str)
def test_every_example_says_which_file_it_is_and_loads(block: Block, tmp_path: Path) -> None:
    assert BEGINNING.match(block.text), "its first line must be `# gateway.yaml` or `# policy.yaml`"
    load(block, tmp_path)


def test_an_example_that_does_not_load_would_be_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match=r"timeouts\.idel: unknown key"):
        load(Block("docs/x.md", 1, "yaml", "# gateway.yaml\ntimeouts: {idel: 5m}\n"), tmp_path)
    with pytest.raises(ConfigErrors, match="hosts"):
        load(Block("docs/x.md", 1, "yaml", "# policy.yaml\nrules:\n  - {name: a, hosts: [a*b.example]}\n"), tmp_path)


def test_there_are_no_examples_outside_of_fences() -> None:
    """An indented block that reads like a file of ours is looked at by nobody."""
    keys = "version: 1|clients:|rules:|listeners:|identity:|telemetry:"
    first = rf"^(?! {{4}}).*\S.*\n\n    (?:#[^\n]*\n    )?(?:{keys}|[a-z_]+: \{{)"
    assert [page for page in PAGES if re.search(first, text_of(page), re.MULTILINE)] == []
