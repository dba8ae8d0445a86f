"""What pages name is there: other pages and their headings, files, make targets, modules to run, metrics, reasons."""

import importlib.util
import re
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import PurePosixPath

import pytest

from gateway.exchange import upstream
from gateway.model.reasons import Reason
from gateway.net import dialer, stream
from gateway.net.dns.cache import FAILURE_SECONDS, LONGEST_NEGATIVE_SECONDS
from gateway.serve import connection
from gateway.telemetry.counters import Counters
from gateway.telemetry.metrics import Metrics
from tests.helpers.pages import PAGES, ROOT, anchors, text_of
from tests.telemetry.readings import sources

LINK = re.compile(r"\]\(([^()\s]+)\)")
FILE = re.compile(r"`((?:gateway|tests|config|helm|benchmarks|docs|\.ci)/[\w./-]*\w)(?:::\w+)?`", re.ASCII)
SOURCE = re.compile(r"`([\w/]+\.py)`", re.ASCII)
PAGE_BY_NAME = re.compile(r"\bdocs/[\w-]+\.md\b", re.ASCII)
MODULE = re.compile(r"\bpython -m ([a-z][\w.]*)", re.ASCII)
TARGETS = re.compile(r"`make ([a-z-]+(?: [a-z-]+)*)", re.ASCII)
METRIC = re.compile(r"\begress_[a-z_]+[a-z]\b(?!\.)", re.ASCII)
HISTOGRAM = re.compile(r"_(bucket|sum|count)$")
NO_METRIC = {"egress_gateway"}
"""It looks like one, and is a table of nftables and a group of entry points."""

Check = Callable[[str, str], Iterator[str]]
"""From a page's path and text to what it names and is not there."""


def broken_links(page: str, text: str) -> Iterator[str]:
    """Relative links to what is not there."""
    for target in LINK.findall(text):
        path, _, anchor = target.partition("#")
        if path.startswith(("http:", "https:", "mailto:")):
            continue
        there = PurePosixPath(page).parent / path if path else PurePosixPath(page)
        file = (ROOT / there).resolve()
        if not file.exists() or (anchor and anchor not in anchors(file.relative_to(ROOT).as_posix())):
            yield f"{page}: {target}"


def missing_files(page: str, text: str) -> Iterator[str]:
    """Files and folders of this repository that are named and are not there."""
    for name in sorted({*FILE.findall(text), *PAGE_BY_NAME.findall(text)}):
        if not (ROOT / name).exists():
            yield f"{page}: {name}"
    for name in sorted({name for name in SOURCE.findall(text) if not FILE.fullmatch(f"`{name}`")}):
        if not any(f"/{path}".endswith(f"/{name}") for path in sources_here()):
            yield f"{page}: {name}"


@cache
def sources_here() -> frozenset[str]:
    """Every Python file by its path from the root: pages leave out where it begins."""
    folders = ("gateway", "tests", "benchmarks", "helm")
    return frozenset(file.relative_to(ROOT).as_posix() for folder in folders for file in (ROOT / folder).rglob("*.py"))


def missing_modules(page: str, text: str) -> Iterator[str]:
    """What `python -m` could not find."""
    for name in set(MODULE.findall(text)):
        if (
            name.partition(".")[0] in ("gateway", "tests", "benchmarks", "helm")
            and importlib.util.find_spec(name) is None
        ):
            yield f"{page}: python -m {name}"


def missing_targets(page: str, text: str) -> Iterator[str]:
    """Make targets that the Makefile does not have."""
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for targets in TARGETS.findall(text):
        yield from (f"{page}: make {target}" for target in targets.split() if target not in known)


def missing_metrics(page: str, text: str) -> Iterator[str]:
    """Metrics that are not exposed."""
    exposed = set(re.findall(r"^# TYPE (\w+)", Metrics(sources(Counters())).render().decode(), re.MULTILINE))
    for name in set(METRIC.findall(text)) - NO_METRIC:
        if name not in exposed and HISTOGRAM.sub("", name) not in exposed:
            yield f"{page}: {name}"


CHECKS: tuple[Check, ...] = (broken_links, missing_files, missing_modules, missing_targets, missing_metrics)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_what_pages_name_is_there(check: Check) -> None:
    assert [found for page in PAGES for found in check(page, text_of(page))] == []


def test_what_is_not_there_would_be_told() -> None:
    planted = (
        "[a](nowhere.md) [b](policy.md#no-such-heading) [c](policy.md#limits)\n"
        "`gateway/serve/nothing.py` `net/none.py` docs/none.md `net/relay.py`\n"
        "python -m benchmarks.nothing `make nothing` `make fuzz` egress_nothing_total egress_workers\n"
    )
    assert [list(check("docs/x.md", planted)) for check in CHECKS] == [
        ["docs/x.md: nowhere.md", "docs/x.md: policy.md#no-such-heading"],
        ["docs/x.md: docs/none.md", "docs/x.md: gateway/serve/nothing.py", "docs/x.md: net/none.py"],
        ["docs/x.md: python -m benchmarks.nothing"],
        ["docs/x.md: make nothing"],
        ["docs/x.md: egress_nothing_total"],
    ]


def test_the_readme_leads_to_every_page() -> None:
    pages = {page for page in PAGES if re.fullmatch(r"docs/[\w-]+\.md", page)}
    assert pages - set(LINK.findall(text_of("README.md"))) == set()


def test_decisions_are_numbered_without_a_gap_and_their_titles_say_which() -> None:
    decisions = sorted(page for page in PAGES if page.startswith("docs/decisions/"))
    assert [PurePosixPath(page).name[:4] for page in decisions] == [f"{n:04}" for n in range(1, len(decisions) + 1)]
    assert [page for n, page in enumerate(decisions, 1) if not text_of(page).startswith(f"# {n}. ")] == []


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.split(r"[^\w.-]", each)[0] for each in project["dependencies"]}
    page = text_of("docs/decisions/0001-dependencies.md")
    assert {name for name in wanted if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", page)} == set()


def test_what_no_setting_changes_is_as_operations_has_it() -> None:
    _, (*_, first), (*_, every), (*_, probes) = stream.KEEP_ALIVE
    table = text_of("docs/operations.md").split("What is fixed and not configurable:")[1].split("\n## ")[0]
    for said in (
        f"first probe after {first} s, then every {every} s; {probes} unanswered probes",
        f"after {dialer.STAGGER_SECONDS:g} s, or at once",
        f"closed after {upstream.IDLE_SECONDS:g} to {2 * upstream.IDLE_SECONDS:g} s idle, ",
        f"or if a request ends later than {upstream.LONGEST_USE:g} s after the dial",
        f"{upstream.IDLE_FOR_ONE_KEY} are kept for one client, rule and host, and {upstream.IDLE_AT_MOST:,} per",
        f"at most {LONGEST_NEGATIVE_SECONDS / 60:g} minutes; failures for {FAILURE_SECONDS:g} s",
        f"| {connection.ATTEMPTS}, then it is closed",
    ):
        assert said in table


def test_reasons_that_pages_name_in_a_filter_exist() -> None:
    named = {reason for page in PAGES for reason in re.findall(r'reason="(\w+)"', text_of(page))}
    assert named - {reason.value for reason in Reason} == set()
