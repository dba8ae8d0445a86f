"""Kinds that other distributions bring: found by their entry points, and told apart from what is none."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.intercept.hosted.kinds import BadInspector, build_kind, installed_kinds
from gateway.intercept.inspectors import Inspector
from tests.helpers.distribution import install

MODULE = """
from gateway.intercept.inspectors import Inspector

def good(options):
    if options.get("size", 0) < 0:
        raise ValueError("size is negative")
    return Inspector

def bad(options):
    return object

def worse(options):
    raise RuntimeError("it rains")
"""
ENTRY_POINTS = """[egress_gateway.inspectors]
kinds-good = kinds_of_tests:good
kinds-bad = kinds_of_tests:bad
kinds-worse = kinds_of_tests:worse
kinds-missing = kinds_of_tests:missing
"""


@pytest.fixture(autouse=True)
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(install(tmp_path / "site", "kinds-of-tests", {"kinds_of_tests": MODULE}, ENTRY_POINTS))
    yield
    sys.modules.pop("kinds_of_tests", None)


def test_an_installed_kind_is_found_and_makes_inspectors() -> None:
    assert "kinds-good" in installed_kinds()
    assert isinstance(build_kind("kinds-good", {"size": 1})(), Inspector)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("kinds-good", "^size is negative$"),
        ("kinds-bad", "makes no Inspector"),
        ("kinds-worse", "RuntimeError: it rains"),
        ("kinds-missing", "AttributeError"),
        ("kinds-nowhere", "no kind 'kinds-nowhere' is installed"),
    ],
)
def test_what_cannot_be_made_says_why(kind: str, why: str) -> None:
    with pytest.raises(BadInspector, match=why):
        build_kind(kind, {"size": -1})
