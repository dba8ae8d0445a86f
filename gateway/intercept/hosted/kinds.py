"""Kinds of inspectors that other distributions install as entry points."""

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from gateway.intercept.inspectors import ENTRY_POINTS, Build, Inspector


class BadInspector(Exception):
    """It cannot be made: its kind is not installed, cannot be loaded, or does not take the options."""


def installed_kinds() -> list[str]:
    """Their names."""
    return sorted({each.name for each in entry_points(group=ENTRY_POINTS)})


def build_kind(kind: str, options: Mapping[str, Any]) -> Callable[[], Inspector]:
    """The factory of inspectors of this kind. It runs third-party code: call it only in a process made for that. Raises
    `BadInspector`."""
    found = next(iter(entry_points(group=ENTRY_POINTS, name=kind)), None)
    if found is None:
        raise BadInspector(f"no kind {kind!r} is installed")
    try:
        build: Build = found.load()
        make = build(options)
        first = make()
    except ValueError as refusal:
        raise BadInspector(str(refusal)) from refusal
    except Exception as bug:
        raise BadInspector(f"the kind {kind!r} cannot be made: {type(bug).__name__}: {bug}") from bug
    if not isinstance(first, Inspector):
        raise BadInspector(f"the kind {kind!r} makes no Inspector")
    return make
