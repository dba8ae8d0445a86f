"""One record, one line for people: who, where, and what came of it, then `key=value` for the rest.

    2027-01-15T08:00:00.123Z allow 10.0.0.1:40000 -> api.stripe.com:443 status=200 up=517 down=4096 ms=1500.0 ...

A value that is empty or contains spaces, quotes or an equals sign is a JSON string; lists are joined by commas. An
unknown destination or key is left out.
"""

import re
from typing import Any

import orjson

from gateway.telemetry.formats.fields import NotARecord, Record, Recorded, authority_of, split_authority

_KEYS: tuple[tuple[str, str, type], ...] = (
    ("method", "method", str),
    ("path", "path", str),
    ("status", "status", int),
    ("reason", "reason", str),
    ("would_deny", "would_deny", str),
    ("rule", "rule", str),
    ("would_deny_rule", "would_deny_rule", str),
    ("user", "user", str),
    ("namespace", "namespace", str),
    ("account", "service_account", str),
    ("pod", "pod", str),
    ("workload", "workload", str),
    ("doubt", "identity_doubt", str),
    ("spiffe", "spiffe", str),
    ("groups", "groups", tuple),
    ("up", "bytes_up", int),
    ("down", "bytes_down", int),
    ("ms", "total_ms", float),
    ("ended", "ended", str),
    ("by", "ended_by", str),
    ("address", "dialled_address", str),
    ("original", "original_address", str),
    ("door", "door", str),
    ("protocol", "protocol", str),
    ("sni", "sni", str),
    ("requests", "requests", int),
    ("listener", "listener", str),
    ("id", "connection_id", str),
    ("exchange", "exchange_id", str),
    ("detail", "detail", str),
)
"""The name in the line, the record's key, and its type."""

_ALWAYS = frozenset({"bytes_up", "bytes_down", "connection_id"})
"""Of the keys behind the destination, those that a line always has and that are needed, or are near its end."""

_PLAIN = re.compile(r'[^\s"=]+')
_HEAD = re.compile(r"(\S+) (allow|deny|none) (\S+)(?: -> (\S+))?(?= |$)")
_PAIR = re.compile(r' ([a-z_]+)=("(?:[^"\\]|\\.)*"|[^\s"=]+)')
_BY_WORD = {word: (key, kind) for word, key, kind in _KEYS}


def encode(record: Record) -> bytes:
    """The line, its newline included."""
    known: Any = record
    parts = [record["time"], record["decision"], authority_of(record["client_address"], record["client_port"])]
    if "host" in record and "port" in record:
        parts += ("->", authority_of(record["host"], record["port"]))
    for word, key, kind in _KEYS:
        value = known.get(key)
        if value is not None:
            parts.append(f"{word}={_shown(','.join(value) if kind is tuple else str(value))}")
    return " ".join(parts).encode("utf-8", "backslashreplace") + b"\n"


def _shown(value: str) -> str:
    return value if value.isprintable() and _PLAIN.fullmatch(value) else orjson.dumps(value).decode()


def decode(line: bytes) -> Recorded:
    """What `encode` wrote. Raises `NotARecord`."""
    try:
        text = line.decode().rstrip("\n")
        head = _HEAD.match(text)
        if head is None:
            raise NotARecord("not a record in the text format")
        record: Recorded = {"time": head[1], "decision": head[2]}
        record["client_address"], record["client_port"] = split_authority(head[3])
        if head[4] is not None:
            record["host"], record["port"] = split_authority(head[4])
        return _with_pairs(record, text, head.end())
    except ValueError as error:
        raise NotARecord("not a record in the text format") from error


def _with_pairs(record: Recorded, text: str, start: int) -> Recorded:
    for pair in _PAIR.finditer(text, start):
        if pair.start() != start:
            break
        start = pair.end()
        value = orjson.loads(pair[2]) if pair[2].startswith('"') else pair[2]
        key, kind = _BY_WORD.get(pair[1], ("", str))
        if key:
            record[key] = tuple(value.split(",")) if kind is tuple else kind(value)
    if start != len(text):
        raise NotARecord("not a record in the text format: it does not end in key=value")
    if not record.keys() >= _ALWAYS:
        raise NotARecord("not a whole record in the text format")
    return record
