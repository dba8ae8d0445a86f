"""Squid's native access.log: `%ts.%03tu %6tr %>a %Ss/%03>Hs %<st %rm %ru %[un %Sh/%<a %mt`.

The time is that of the end. `%<st` is what we count: payload to the client, without heads. There is no field for bytes
to the destination. A connection that carried requests has no line: each of its requests has one.
"""

import re
from typing import Any
from urllib.parse import unquote

from gateway.telemetry.formats.fields import (
    HTTP_PORT,
    HTTPS_PORT,
    NotARecord,
    Record,
    Recorded,
    authority_of,
    is_summed_up,
    milliseconds_of,
    percent_encoded,
    split_authority,
    time_of,
)

_INVALID = "error:invalid-request"
_LINE = re.compile(
    r"(?P<ts>\d+)\.(?P<tu>\d{3}) +(?P<tr>\d+) (?P<a>\S+) (?P<Ss>[A-Z_]+)/(?P<Hs>\d{3}) (?P<st>\d+) (?P<rm>\S+) "
    r"(?P<ru>\S+) (?P<un>\S+) (?P<Sh>[A-Z_]+)/(?P<sa>\S+) \S+"
)
_URL = re.compile(r"(http|https)://([^/]+)(/.*)?")


def encode(record: Record) -> bytes:
    """The line, its newline included; nothing for a connection that sums up its requests."""
    if is_summed_up(record):
        return b""
    took = round(record["total_ms"])
    ended = milliseconds_of(record["time"]) + took
    method, url = _asked(record)
    user = record.get("user")
    dialled = record.get("dialled_address")
    line = (
        f"{ended // 1000}.{ended % 1000:03d} {took:6d} {record['client_address']} {_status(record)}/"
        f"{record.get('status', 0):03d} {record['bytes_down']} {method} {url} {_name(user)} "
        f"{'HIER_NONE/-' if dialled is None else f'HIER_DIRECT/{dialled}'} -\n"
    )
    return line.encode()


def _asked(record: Record) -> tuple[str, str]:
    known: Any = record
    if "host" not in record or "port" not in record:
        return "NONE", _INVALID
    host, port = record["host"], record["port"]
    authority = authority_of(host, port)
    if "method" not in record:
        return "CONNECT", authority
    is_inspected = known.get("inspected", False)
    usual = HTTPS_PORT if is_inspected else HTTP_PORT
    shown = authority.removesuffix(f":{usual}") if port == usual else authority
    url = f"{'https' if is_inspected else 'http'}://{shown}{percent_encoded(known['path']) or '/'}"
    return percent_encoded(known["method"]) or "NONE", url


def _status(record: Record) -> str:
    if record["decision"] == "deny":
        return "TCP_DENIED"
    if record["decision"] == "none":
        return "NONE_NONE"
    return "TCP_MISS" if "method" in record else "TCP_TUNNEL"


def _name(user: str | None) -> str:
    """As `%[un`, percent-encoded; a user called `-` is distinguished from none."""
    if not user:
        return "-"
    return "%2D" if user == "-" else percent_encoded(user, also="%")


def _decision(tags: str) -> str:
    """Squid adds to the first tags what else happened: `TCP_DENIED_REPLY`, `NONE_ABORTED`."""
    if "_DENIED" in tags:
        return "deny"
    return "none" if tags.startswith(("NONE", "TAG_NONE")) else "allow"


def decode(line: bytes) -> Recorded:
    """What `encode` or Squid wrote. Raises `NotARecord`."""
    try:
        found = _LINE.fullmatch(line.decode().rstrip("\n"))
        if found is None:
            raise NotARecord("not a line of Squid's native format")
        took = int(found["tr"])
        record: Recorded = {
            "time": time_of(int(found["ts"]) * 1000 + int(found["tu"]) - took),
            "total_ms": float(took),
            "client_address": found["a"],
            "decision": _decision(found["Ss"]),
            "bytes_up": 0,
            "bytes_down": int(found["st"]),
        }
        _add_request(record, found["rm"], found["ru"])
        if found["un"] != "-":
            record["user"] = unquote(found["un"], errors="surrogatepass")
    except ValueError as error:
        raise NotARecord("not a line of Squid's native format") from error
    if found["Hs"] != "000":
        record["status"] = int(found["Hs"])
    if found["sa"] != "-":
        record["dialled_address"] = found["sa"]
    return record


def _add_request(record: Recorded, method: str, url: str) -> None:
    if method == "CONNECT":
        record["door"] = "connect"
        record["host"], record["port"] = split_authority(url)
    elif (parts := _URL.fullmatch(url)) is not None:
        record["method"], record["path"] = method, parts[3] or "/"
        usual = HTTPS_PORT if parts[1] == "https" else HTTP_PORT
        record["host"], record["port"] = split_authority(parts[2], usual)
        record["door"] = "connect" if parts[1] == "https" else "absolute_form"
