"""Each promise of SECURITY.md and each clause of docs/standards.md names what keeps it, and that exists."""

import ast
import re
from collections import Counter
from pathlib import Path

from tests.abuse.suite import CASES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
KEPT_BY = re.compile(r"`(abuse/[a-z0-9]+|tests/[a-z0-9_/]+\.py::test_\w+)`")
FAMILIES = {f"abuse/{case.family}" for case in CASES}


def exists(name: str) -> bool:
    """A family of the suite, or a function of that name at the top of that file."""
    path, _, test = name.partition("::")
    if not test:
        return name in FAMILIES
    file = ROOT / path
    if not file.is_file():
        return False
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    return any(isinstance(node, functions) and node.name == test for node in ast.parse(file.read_text()).body)


def promises() -> list[str]:
    """The rows of the table of what is protected, and the rules of the house."""
    table, _, rest = PAGE.partition("## What it does not protect from")
    rows = [line for line in table.splitlines() if line.startswith("| ") and not line.startswith("| who | wants")]
    rules = re.split(r"^(?=\d\. )", rest.partition("## Rules of the house")[2], flags=re.MULTILINE)[1:]
    return [*rows, *rules]


def test_every_promise_names_what_keeps_it() -> None:
    assert len(promises()) > 20
    assert [promise for promise in promises() if not KEPT_BY.search(promise)] == []


def test_everything_that_is_named_exists() -> None:
    assert [name for name in KEPT_BY.findall(PAGE) if not exists(name)] == []


def test_every_clause_is_kept_somewhere_and_shown_by_a_test() -> None:
    page = (ROOT / "docs" / "standards.md").read_text(encoding="utf-8")
    table = page.partition("|---|---|---|---|\n")[2].partition("\n\n")[0]
    clauses = [line.split(" | ") for line in table.splitlines()]
    assert len(clauses) > 30
    for _, _, modules, tests in clauses:
        assert [
            name for name in re.findall(r"`(\S+)`", modules) or [""] if not (ROOT / "gateway" / name).is_file()
        ] == []
        assert [name for name in re.findall(r"`(\S+)`", tests) or [""] if not exists(f"tests/{name}")] == []


def test_what_does_not_exist_would_be_told() -> None:
    assert not exists("abuse/nothing")
    assert not exists("tests/architecture/test_promises.py::test_nothing")
    assert not exists("tests/nowhere.py::test_nothing")
    assert exists("tests/architecture/test_promises.py::test_what_does_not_exist_would_be_told")


def test_the_page_of_the_abuse_suite_counts_what_there_is() -> None:
    page = (ROOT / "docs" / "abuse.md").read_text(encoding="utf-8")
    table = page.split("\n## The families\n")[1].split("\n## ")[0]
    attacks = Counter(case.family for case in CASES if not case.is_control)
    assert {
        family: int(count) for family, count in re.findall(r"^\| `(\w+)` \| (\d+) \|", table, re.MULTILINE)
    } == attacks
    assert f"Beside these {attacks.total()} attacks there are {len(CASES) - attacks.total()} controls" in table
