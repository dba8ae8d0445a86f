"""Typed sections of a file: pydantic models whose errors become `FILE:LINE: path: message`.

Sections are frozen, refuse unknown keys and convert nothing silently: every leaf has its own parser (units.py).
"""

import re
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from gateway.model.errors import ConfigError
from gateway.settings.problems import ConfigErrors, did_you_mean, show_value
from gateway.settings.source.places import Document, KeyPath


class Section(BaseModel):
    """A mapping with known keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


S = TypeVar("S", bound=Section)

_KINDS = {
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "string_type": "text",
    "bool_type": "true or false",
}

_MOST_LISTED = 10
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}", re.ASCII)


def key(default: Any, description: str) -> Any:
    """A key with its default as users write it, and its meaning; both are in the JSON Schema."""
    return Field(default, description=description, validate_default=True)


def validate(model: type[S], document: Document, directory: Path) -> S:
    """The typed form of a document. Paths in it are relative to `directory`. Raises `ConfigErrors`."""
    try:
        return model.model_validate(document.data, context={"directory": directory})
    except ValidationError as refusal:
        # A list whose items are all invalid is reported as too short as well.
        errors = (error for error in refusal.errors() if error["type"] != "too_short" or not error["input"])
        found = [(tuple(step for step in error["loc"] if step != "[key]"), error) for error in errors]
        found.sort(key=lambda each: document.line(each[0]))
        problems = (ConfigError(document.place(path), _message(model, path, error)) for path, error in found)
        raise ConfigErrors(problems) from None


def _message(model: type[Section], path: KeyPath, error: ErrorDetails) -> str:
    kind = error["type"]
    context = error.get("ctx", {})
    if kind in _KINDS:
        return f"must be {_KINDS[kind]}{_meant(model, path, error)}, not {show_value(error['input'])}"
    match kind:
        case "missing":
            return "is required"
        case "extra_forbidden":
            section = _section_at(model, path[:-1])
            known = list(keys_of(section)) if section is not None else []
            return f"unknown key{did_you_mean(str(path[-1]), known) or _keys_listed(known)}"
        case "literal_error" | "enum":
            return f"must be {context['expected']}, not {show_value(error['input'])}"
        case "too_short":
            return "must not be empty"
        case "value_error":
            return str(context["error"])
    return error["msg"]


def _meant(model: type[Section], path: KeyPath, error: ErrorDetails) -> str:
    """A hint for a user who wrote one value where a list belongs."""
    section, value = _section_at(model, path), error["input"]
    if section is not None:
        known = list(keys_of(section))
        return _keys_listed(known) if len(known) <= _MOST_LISTED else ""
    one_of_many = _KINDS[error["type"]] == "a list" and _section_at(model, (*path, 0)) is None
    return f" such as [{value}]" if one_of_many and type(value) in (int, str) and _PLAIN.fullmatch(str(value)) else ""


def keys_of(section: type[Section]) -> Iterator[str]:
    """The keys as files spell them."""
    for name, field in section.model_fields.items():
        yield field.alias or name


def _keys_listed(keys: list[str]) -> str:
    return f" (known keys: {', '.join(sorted(keys))})"


def field_type(section: type[Section], name: str) -> Any:
    """The annotation of the key `name`, without `| None`; None if there is no such key."""
    for attribute, field in section.model_fields.items():
        if (field.alias or attribute) == name:
            return _without_none(field.annotation)
    return None


def inner_type(annotation: Any) -> Any:
    """The type of a list's items, or of the values of a mapping with free keys; None for everything else."""
    arguments = get_args(annotation)
    if get_origin(annotation) in (list, tuple, dict) and arguments:
        return _without_none(arguments[1] if get_origin(annotation) is dict else arguments[0])
    return None


def is_section(annotation: Any) -> bool:
    """Whether the annotation is one of our models."""
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _without_none(annotation: Any) -> Any:
    while True:
        arguments = get_args(annotation)
        if get_origin(annotation) in (Union, UnionType):
            arguments = tuple(argument for argument in arguments if argument is not type(None))
        elif not hasattr(annotation, "__metadata__"):
            return annotation
        if not arguments:
            return annotation
        annotation = arguments[0]


def _section_at(model: type[Section], path: KeyPath) -> type[Section] | None:
    """The model that describes the mapping at `path`."""
    annotation: Any = model
    for step in path:
        inner = inner_type(annotation)
        annotation = inner if inner is not None else field_type(annotation, str(step))
    return annotation if is_section(annotation) else None
