"""JSON Schema of both files, for completion and checks in an editor.

It accepts whatever the parser accepts, and more: only the loader checks references, conflicts, and keys that do not fit
together.
"""

from typing import Any

from gateway.settings.gateway import GatewaySettings
from gateway.settings.policy import PolicyFile
from gateway.settings.section import Section

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def gateway_schema() -> dict[str, Any]:
    """The schema of gateway.yaml."""
    return _schema(GatewaySettings)


def policy_schema() -> dict[str, Any]:
    """The schema of a file of a policy."""
    return _schema(PolicyFile)


def _schema(model: type[Section]) -> dict[str, Any]:
    schema = _tidied(model.model_json_schema(by_alias=True, mode="validation"))
    # An empty file is valid, and to YAML it is null.
    return {"$schema": _DIALECT, **schema, "type": ["object", "null"]}


def _tidied(node: Any) -> Any:
    """Without the titles, which repeat keys, and without defaults that only say that a key may be absent."""
    if isinstance(node, list):
        return [_tidied(item) for item in node]
    if not isinstance(node, dict):
        return node
    tidied = {}
    for key, value in node.items():
        if key == "properties":
            tidied[key] = {name: _tidied(each) for name, each in value.items()}
        elif not (key == "title" or (key == "default" and value in (None, [], {}))):
            tidied[key] = _tidied(value)
    return tidied
