"""Lines of JSON as records, every key of which has the type that the record declares."""

from functools import cache
from typing import Any, cast, get_type_hints

import orjson
from pydantic import BaseModel, create_model

from gateway.model.record import ConnectionRecord, ExchangeRecord
from gateway.telemetry.formats.fields import Record


def read_line(line: bytes) -> Record:
    """Raises `ValueError` for anything else."""
    kind = ExchangeRecord if "exchange_id" in orjson.loads(line) else ConnectionRecord
    return cast("Record", _reader(kind).model_validate_json(line, strict=True).model_dump(exclude_unset=True))


@cache
def _reader(kind: type[Any]) -> type[BaseModel]:
    """Made from the record's own types. (pydantic accepts `typing.TypedDict` only from Python 3.12 on.)"""
    required = kind.__required_keys__
    types = get_type_hints(kind)
    fields: dict[str, Any] = {key: (type_, ... if key in required else None) for key, type_ in types.items()}
    return create_model("Line", **fields)
