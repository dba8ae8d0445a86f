"""values.schema.json from values.yaml: types from the defaults, descriptions from the comments above the keys, and what
neither tells from a comment `@schema {...}`, which is JSON Schema.

A mapping is closed, so that a misspelt key is an error, unless its `@schema` says what else may be in it. An empty
list or mapping and a null have no type to tell: they must say one.

    python -m helm.values_schema VALUES > SCHEMA
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

_ANNOTATION = "@schema "
_TYPES = {"str": "string", "int": "integer", "bool": "boolean", "float": "number"}


class Untold(ValueError):
    """A key whose type nothing tells."""


def schema_of(text: str) -> dict[str, Any]:
    """The JSON Schema (draft 7) of a values.yaml. Raises `Untold` that names key and line."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        raise Untold("not a mapping")
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values of the chart egress-gateway"}
    return schema | _closed(root, text.splitlines(), "")


def _closed(node: yaml.MappingNode, lines: Sequence[str], path: str) -> dict[str, Any]:
    properties = {key.value: _property(key, value, lines, f"{path}{key.value}") for key, value in node.value}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _property(key: yaml.Node, value: yaml.Node, lines: Sequence[str], path: str) -> dict[str, Any]:
    description, told = _comment(lines, key.start_mark.line, key.start_mark.column)
    default = _plain(value)
    schema: dict[str, Any] = {"description": description} if description else {}
    if isinstance(value, yaml.MappingNode) and "additionalProperties" not in told:
        if not value.value:
            raise Untold(f"line {key.start_mark.line + 1}: {path}: an empty mapping must say what may be in it")
        return schema | _closed(value, lines, f"{path}.") | told
    schema["default"] = default
    if "type" not in told:
        schema["type"] = _type(default, told, f"line {key.start_mark.line + 1}: {path}")
    return schema | told


def _type(default: Any, told: dict[str, Any], where: str) -> str:
    if isinstance(default, dict):
        return "object"
    if isinstance(default, list):
        if "items" not in told:
            raise Untold(f"{where}: a list must say what its items are")
        return "array"
    name = _TYPES.get(type(default).__name__)
    if name is None:
        raise Untold(f"{where}: null has no type")
    return name


def _comment(lines: Sequence[str], line: int, column: int) -> tuple[str, dict[str, Any]]:
    """What stands directly above a key, at its own indentation: the text, and what is said to be schema."""
    above = list(_above(lines, line, " " * column + "#"))[::-1]
    told: dict[str, Any] = {}
    for each in above:
        if each.startswith(_ANNOTATION):
            told |= yaml.safe_load(each.removeprefix(_ANNOTATION))
    return " ".join(each for each in above if not each.startswith(_ANNOTATION)), told


def _above(lines: Sequence[str], line: int, mark: str) -> Iterator[str]:
    for index in range(line - 1, -1, -1):
        if not lines[index].startswith(mark):
            return
        yield lines[index].removeprefix(mark).strip()


def _plain(node: yaml.Node) -> Any:
    return yaml.safe_load(yaml.serialize(node))


def as_text(schema: dict[str, Any]) -> str:
    """As it stands in the repository."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(as_text(schema_of(Path(sys.argv[1]).read_text(encoding="utf-8"))))
