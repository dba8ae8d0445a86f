"""Environment over file: `EGRESS__TIMEOUTS__IDLE=5m` sets `timeouts.idle`.

A scalar is written as in YAML but needs no quotes (`EGRESS__ADMIN__BIND=[::1]:9128`); a list or a mapping is YAML text.
Names with a single underscore after `EGRESS` are not ours: Kubernetes sets such variables for a Service of that name.
"""

import re
from collections.abc import Mapping
from typing import Any, get_origin

from gateway.settings.gateway import GatewaySettings
from gateway.settings.problems import ConfigErrors, Problems, did_you_mean
from gateway.settings.section import field_type, inner_type, is_section, keys_of
from gateway.settings.source.places import Document, MarkedMapping, show_path
from gateway.settings.source.yaml import parse_yaml, resolve_scalar

PREFIX = "EGRESS__"

_SURROGATE = re.compile("[\ud800-\udfff]")  # Python's surrogates for bytes in the environment that are not UTF-8


def apply_overrides(document: Document, environ: Mapping[str, str]) -> None:
    """Put every `EGRESS__` variable into the data, shorter paths first, and note where each value came from.

    Raises `ConfigErrors` with one problem per variable.
    """
    problems = Problems()
    for variable in sorted(name for name in environ if name.startswith(PREFIX)):
        path = tuple(variable.removeprefix(PREFIX).lower().split("__"))
        known, annotation = _find(path)
        if known != len(path):
            problems.add(variable, f"there is no setting {show_path(path)}{_near(path, known)}")
            continue
        if _SURROGATE.search(environ[variable]):
            problems.add(variable, "is not UTF-8 text")
            continue
        try:
            _put(document, path, _parse(environ[variable], annotation, variable), variable)
        except ConfigErrors as refusal:
            problems.add(variable, refusal.problems[0].problem)
    problems.raise_if_any()


def _put(document: Document, path: tuple[str, ...], value: object, origin: str) -> None:
    node = document.data
    for step in path[:-1]:
        inner = node.get(step)
        if not isinstance(inner, MarkedMapping):
            inner = node[step] = MarkedMapping(document.line(()))
        node = inner
    node[path[-1]] = value
    document.origins[path] = origin


def _find(path: tuple[str, ...]) -> tuple[int, Any]:
    """How many steps of the path are known, and the type of the last known one."""
    annotation: Any = GatewaySettings
    for known, step in enumerate(path):
        if get_origin(annotation) is dict and step:
            annotation = inner_type(annotation)
        elif is_section(annotation) and field_type(annotation, step) is not None:
            annotation = field_type(annotation, step)
        else:
            return known, annotation
    return len(path), annotation


def _near(path: tuple[str, ...], known: int) -> str:
    _, section = _find(path[:known])
    return did_you_mean(path[known], keys_of(section)) if is_section(section) else ""


def _parse(text: str, annotation: Any, variable: str) -> object:
    is_container = is_section(annotation) or get_origin(annotation) in (list, tuple, dict)
    if is_container or text[:1] in ('"', "'"):
        return parse_yaml(f"value: {text}", variable).data.get("value")
    return resolve_scalar(text.strip())
