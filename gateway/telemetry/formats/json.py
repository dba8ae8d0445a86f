"""One record, one line of JSON (RFC 8259). A line with an `exchange_id` is an exchange's, any other a connection's."""

from functools import cache
from typing import Any, cast, get_type_hints

import orjson
from pydantic import BaseModel, ValidationError, create_model

from gateway.model.record import ConnectionRecord, ExchangeRecord


class NotARecord(ValueError):
    """A line that `encode` did not write, or not whole."""


def encode(record: ConnectionRecord | ExchangeRecord) -> bytes:
    """The line, its newline included."""
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


def decode(line: bytes) -> ConnectionRecord | ExchangeRecord:
    """What `encode` wrote; keys of a later version are passed over. Raises `NotARecord`."""
    try:
        keys = orjson.loads(line)
        kind = ExchangeRecord if isinstance(keys, dict) and "exchange_id" in keys else ConnectionRecord
        read = _reader(kind).model_validate_json(line, strict=True)
    except (orjson.JSONDecodeError, ValidationError) as error:
        raise NotARecord("neither a connection's record nor an exchange's") from error
    return cast("ConnectionRecord | ExchangeRecord", read.model_dump(exclude_unset=True))


@cache
def _reader(kind: type[Any]) -> type[BaseModel]:
    """Made from the record's own types. (pydantic takes a `TypedDict` of the standard library from Python 3.12 on.)"""
    required = kind.__required_keys__
    types = get_type_hints(kind)
    fields: dict[str, Any] = {key: (type_, ... if key in required else None) for key, type_ in types.items()}
    return create_model("Line", **fields)
