"""Every example of a file in the pages is one that loads."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.settings.gateway import GatewaySettings
from gateway.settings.load import load_policy, load_settings, with_policy
from gateway.settings.problems import ConfigErrors
from tests.helpers.pages import PAGES, Block, blocks, text_of

BEGINNING = re.compile(r"# (gateway|policy)\.yaml\n|# Imported from ")
OTHERS = re.compile(r"# (?:values|mine)\.yaml\n|# of a pod\n|apiVersion: ")
"""What is not ours to load: the chart's values, pods, objects of Kubernetes."""
EXAMPLES = [block for page in PAGES for block in blocks(page, "yaml") if not OTHERS.match(block.text)]


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
    groups = {group for rule in policy.get("rules") or [] for group in rule.get("clients", [])}
    groups |= {group for secret in settings.secrets.values() for group in secret.clients or ()}
    groups |= {group for shown in settings.client_certificates.values() for group in shown.clients or ()}
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
