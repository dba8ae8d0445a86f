"""One record, one line of JSON (RFC 8259). A line with an `exchange_id` is an exchange's, any other a connection's."""

from contextlib import suppress
from types import NoneType
from typing import cast

import orjson

from gateway.telemetry.formats.fields import NotARecord, Record, Recorded, milliseconds_of, time_of


def encode(record: Record) -> bytes:
    """The line, its newline included."""
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


_READ: tuple[tuple[str, type], ...] = (
    ("time", str),
    ("client_address", str),
    ("decision", str),
    ("bytes_up", int),
    ("bytes_down", int),
    ("host", str),
    ("port", int),
    ("user", str),
    ("namespace", str),
    ("service_account", str),
    ("spiffe", str),
    ("door", str),
    ("sni", str),
    ("original_address", str),
    ("reason", str),
    ("protocol", str),
    ("dialled_address", str),
    ("refused", list),
    ("groups", list),
    ("rule", str),
    ("would_deny", str),
)
_REQUIRED = 5  # the first of them
_KEYS = tuple(key for key, _ in _READ)
_valid: set[tuple[type, ...]] = set()
"""Combinations of types that were checked already; there are few: one for each choice of optional keys."""


def decode(line: bytes) -> Recorded:
    """What `encode` wrote. There may be millions of lines, so only the types of the keys that are read from records are
    checked. Times are in UTC, whatever their zone. A key whose value is null counts as absent: log stores write every
    key that they have a column for. Raises `NotARecord`."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise NotARecord("not JSON") from error
    if type(record) is not dict:
        raise NotARecord("not a JSON object")
    if b"null" in line:
        record = {key: value for key, value in record.items() if value is not None}
    kinds = tuple(map(type, map(record.get, _KEYS)))
    if kinds not in _valid:
        _check(kinds)
        _valid.add(kinds)
    if record["time"][-1:] != "Z":
        record["time"] = _in_utc(record["time"])
    return cast("Recorded", record)


def _in_utc(time: str) -> str:
    """Log stores print instants in the zone of whoever asks; one without a zone stays as it is."""
    with suppress(ValueError):
        return time_of(milliseconds_of(time))
    return time


def _check(kinds: tuple[type, ...]) -> None:
    for place, ((key, kind), found) in enumerate(zip(_READ, kinds, strict=True)):
        if found is not kind and (place < _REQUIRED or found is not NoneType):
            raise NotARecord(f"{key} is missing or of another type")
    if (kinds[_KEYS.index("host")] is NoneType) is not (kinds[_KEYS.index("port")] is NoneType):
        raise NotARecord("a host without a port, or the other way round")
