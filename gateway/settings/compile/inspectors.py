"""Checks of inspectors: whether their keys fit together, and whether rules name declared ones."""

import re
from collections.abc import Container, Iterator, Mapping, Sequence

from gateway.settings.problems import did_you_mean, show_value
from gateway.settings.sections.inspectors import BarSettings, InspectorSettings, SecretsSettings
from gateway.settings.source.places import Finding, inside

LONGEST = 4096
_KINDS = ("secrets", "media", "kind")
_MEDIA_TYPE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/(?:\*|[!#$%&'+.^_`|~0-9A-Za-z-]+)")


def check_inspector(inspector: InspectorSettings) -> Iterator[Finding]:
    """Paths begin inside the inspector."""
    said = [kind for kind in _KINDS if getattr(inspector, kind) is not None]
    if len(said) != 1:
        yield (), f"has {' and '.join(said) or 'no kind'}: an inspector has exactly one of {', '.join(_KINDS)}"
    if inspector.kind is None:
        for name in ("options", "timeout"):
            if name in inspector.model_fields_set:
                yield (name,), "is only for kind: the shipped ones have keys of their own, and need no timeout"
    if inspector.secrets is not None:
        yield from _check_secrets(inspector.secrets)
    if inspector.media is not None:
        for direction in ("request", "response"):
            yield from _check_bar(direction, getattr(inspector.media, direction))


def _check_secrets(secrets: SecretsSettings) -> Iterator[Finding]:
    if secrets.patterns == () and not secrets.own:
        yield ("secrets", "patterns"), "looks for nothing: name forms, or omit it for all of them"
    for name, own in secrets.own.items():
        if own.longest > LONGEST:
            yield ("secrets", "own", name, "longest"), "is more than 4KiB"


def _check_bar(direction: str, bar: BarSettings) -> Iterator[Finding]:
    for name, types in (("types", bar.types), ("deny_types", bar.deny_types)):
        yield from inside(check_media_types(types or ()), "media", direction, name)


def check_media_types(types: Sequence[str]) -> Iterator[Finding]:
    """Paths begin inside the list."""
    for index, media_type in enumerate(types):
        if _MEDIA_TYPE.fullmatch(media_type) is None or media_type.startswith("*/"):
            yield (index,), f"{show_value(media_type)} is not type/subtype or type/* without parameters"


def check_named(names: Sequence[str], declared: Mapping[str, InspectorSettings]) -> Iterator[Finding]:
    """The inspectors that a rule names. Paths begin inside its list."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name not in declared:
            yield (index,), f"the inspector {name!r} is not declared in gateway.yaml{did_you_mean(name, declared)}"
        elif name in seen:
            yield (index,), f"the inspector {name!r} is named twice"
        seen.add(name)


def unknown_patterns(secrets: SecretsSettings, known: Container[str]) -> Iterator[tuple[int, str]]:
    """Those of its `patterns` that are not `known`, with their indices."""
    return ((index, name) for index, name in enumerate(secrets.patterns or ()) if name not in known)
