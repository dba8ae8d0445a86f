"""docs/cli.md has every command with its options, and no page names one that does not exist."""

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from gateway.cli.main import app
from tests.helpers.pages import PAGES, text_of

PAGE = text_of("docs/cli.md")
NOTES = "helm/egress-gateway/templates/NOTES.txt"
SECTION = re.compile(r"^## `([a-z -]+)`\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
OPTION = re.compile(r"(?<!\S)--?[a-z][a-z-]*")


def options_of(command: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, set[str]]]:
    """Every command by its whole name, and how its options are spelt."""
    if isinstance(command, TyperGroup):
        for name, inner in command.commands.items():
            yield from options_of(inner, (*path, name))
    else:
        parameters = getattr(command, "params", [])
        yield " ".join(path), {each for one in parameters for each in one.opts if each.startswith("-")}


COMMANDS = dict(options_of(get_command(app)))
CALL = re.compile(rf"egress-gateway ({'|'.join(sorted(COMMANDS, key=len, reverse=True))})(?![\w-])([^`|#;&]*)")


def unknown_options(text: str) -> list[str]:
    """Of every call in a text whose command exists: options that this command does not have."""
    joined = text.replace("\\\n", " ")
    calls = (call for line in joined.splitlines() for call in CALL.finditer(line))
    return [
        f"{call[1]} {option}" for call in calls for option in OPTION.findall(call[2]) if option not in COMMANDS[call[1]]
    ]


def test_every_command_has_a_section_with_all_of_its_options() -> None:
    described = {
        name: {
            option
            for cell in re.findall(r"^\|([^|]*)\|", text, re.MULTILINE)
            for option in re.findall(r"`(-[^`]+)`", cell)
        }
        for name, text in SECTION.findall(PAGE)
    }
    assert described == COMMANDS


def test_no_page_calls_a_command_with_an_option_that_it_does_not_have() -> None:
    assert {page: found for page in (*PAGES, NOTES) if (found := unknown_options(text_of(page)))} == {}


def test_explain_says_what_the_page_on_troubleshooting_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = re.search(
        r"^    \$ egress-gateway (.*)\n((?:    .*\n|\n)+)", text_of("docs/troubleshooting.md"), re.MULTILINE
    )
    assert shown is not None
    monkeypatch.chdir(tmp_path)
    Path("policy.yaml").write_text("rules: [{name: a, hosts: [a.example]}]\n")
    said = CliRunner().invoke(app, shown[1].split())
    assert (said.exit_code, said.stdout.strip()) == (1, textwrap.dedent(shown[2]).strip())


def test_an_option_that_does_not_exist_would_be_told() -> None:
    assert unknown_options("    egress-gateway learn --policy p.yaml --wild log | egress-gateway ca init --step 1") == [
        "learn --wild",
        "ca init --step",
    ]
