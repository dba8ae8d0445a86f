"""Makes values.schema.json from values.yaml: types from the defaults, descriptions from the comments above the keys,
and what these cannot tell from comments `@schema {...}`, which hold JSON Schema.

A mapping is closed, so that a misspelt key is an error, unless its `@schema` says what else may be in it. Lists, empty
mappings and nulls do not show their types: `@schema` must.

    python -m helm.values_schema VALUES > SCHEMA
    python -m helm.values_schema VALUES --needed > LIST        # what the templates refuse to be without
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

_ANNOTATION = "@schema "
_TYPES = {"str": "string", "int": "integer", "bool": "boolean", "float": "number"}


class UnknownType(ValueError):
    """Nothing tells the type of a key; the text says which one and where."""


def schema_of(text: str) -> dict[str, Any]:
    """The JSON Schema (draft 7) of a values.yaml. Raises `UnknownType`."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        raise UnknownType("not a mapping")
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values of the chart egress-gateway"}
    return schema | _closed(root, text.splitlines(), "")


def _closed(node: yaml.MappingNode, lines: Sequence[str], path: str) -> dict[str, Any]:
    properties = {key.value: _property(key, value, lines, f"{path}{key.value}") for key, value in node.value}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _property(key: yaml.Node, value: yaml.Node, lines: Sequence[str], path: str) -> dict[str, Any]:
    description, annotated = _comment(lines, key.start_mark.line, key.start_mark.column)
    place = f"line {key.start_mark.line + 1}: {path}"
    schema: dict[str, Any] = {"description": description} if description else {}
    if isinstance(value, yaml.MappingNode) and "additionalProperties" not in annotated:
        if not value.value:
            raise UnknownType(f"{place}: an empty mapping must say what may be in it")
        return schema | _closed(value, lines, f"{path}.") | annotated
    default = schema["default"] = _plain(value)
    if "type" not in annotated:
        schema["type"] = _type(default, annotated, place)
    return schema | annotated


def _type(default: Any, annotated: dict[str, Any], place: str) -> str:
    if isinstance(default, dict):
        return "object"
    if isinstance(default, list):
        if "items" not in annotated:
            raise UnknownType(f"{place}: a list must say what its items are")
        return "array"
    name = _TYPES.get(type(default).__name__)
    if name is None:
        raise UnknownType(f"{place}: null has no type")
    return name


def _comment(lines: Sequence[str], line: int, column: int) -> tuple[str, dict[str, Any]]:
    """What is directly above a key, at its indentation: the text, and what annotations say."""
    above = list(_above(lines, line, " " * column + "#"))[::-1]
    annotated: dict[str, Any] = {}
    for each in above:
        if each.startswith(_ANNOTATION):
            annotated |= yaml.safe_load(each.removeprefix(_ANNOTATION))
    return " ".join(each for each in above if not each.startswith(_ANNOTATION)), annotated


def _above(lines: Sequence[str], line: int, mark: str) -> Iterator[str]:
    for index in range(line - 1, -1, -1):
        if not lines[index].startswith(mark):
            return
        yield lines[index].removeprefix(mark).strip()


def needed_keys(schema: dict[str, Any], path: str = "") -> Iterator[str]:
    """The keys of which a null would take away a section, or a default that is not empty, each after its section. A
    schema that requires them would have editors mark every file that leaves defaults alone."""
    for name, each in schema["properties"].items():
        if "properties" in each:
            yield f"{path}{name}"
            yield from needed_keys(each, f"{path}{name}.")
        elif "additionalProperties" not in each and "null" not in each["type"] and each["default"] not in ("", [], {}):
            yield f"{path}{name}"


def _plain(node: yaml.Node) -> Any:
    return yaml.safe_load(yaml.serialize(node))


def as_text(schema: dict[str, Any]) -> str:
    """As in the repository."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    made = schema_of(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.stdout.write("".join(f"{key}\n" for key in needed_keys(made)) if "--needed" in sys.argv else as_text(made))
