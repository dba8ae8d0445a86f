"""One record, one line of JSON (RFC 8259)."""

from functools import cache
from typing import Any, cast, get_type_hints

import orjson
from pydantic import BaseModel, ValidationError, create_model

from gateway.model.record import ConnectionRecord


class NotARecord(ValueError):
    """A line that `encode` did not write, or not whole."""


def encode(record: ConnectionRecord) -> bytes:
    """The line, its newline included."""
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


def decode(line: bytes) -> ConnectionRecord:
    """What `encode` wrote; keys of a later version are passed over. Raises `NotARecord`."""
    try:
        read = _reader().model_validate_json(line, strict=True)
    except ValidationError as error:
        raise NotARecord("not a connection record") from error
    return cast("ConnectionRecord", read.model_dump(exclude_unset=True))


@cache
def _reader() -> type[BaseModel]:
    """Made from the record's own types. (pydantic takes a `TypedDict` of the standard library from Python 3.12 on.)"""
    required = ConnectionRecord.__required_keys__
    types = get_type_hints(ConnectionRecord)
    fields: dict[str, Any] = {key: (kind, ... if key in required else None) for key, kind in types.items()}
    return create_model("Line", **fields)
