"""Envoy's access log: its default text, Istio's longer one, and Istio's keys as JSON.

Headers are not in our records, so their fields are `-`, except X-Forwarded-For: that is the client's address, as an
Envoy with `use_remote_address` sets it. A connection that carried requests has no line: each of its requests has one.
"""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import orjson

from gateway.model.reasons import Reason
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

_DEFAULT = (
    '[{start_time}] "{method} {path} {protocol}" {response_code} {response_flags} {bytes_received} {bytes_sent} '
    '{duration} {upstream_service_time} "{x_forwarded_for}" "{user_agent}" "{request_id}" "{authority}" '
    '"{upstream_host}"\n'
)
_ISTIO = (
    '[{start_time}] "{method} {path} {protocol}" {response_code} {response_flags} {response_code_details} '
    '{connection_termination_details} "{upstream_transport_failure_reason}" {bytes_received} {bytes_sent} {duration} '
    '{upstream_service_time} "{x_forwarded_for}" "{user_agent}" "{request_id}" "{authority}" "{upstream_host}" '
    "{upstream_cluster} {upstream_local_address} {downstream_local_address} {downstream_remote_address} "
    "{requested_server_name} {route_name}\n"
)
_DENIED = "UAEX"
_FLAGS: dict[str, str] = {
    **dict.fromkeys((Reason.DNS_NAME_NOT_FOUND, Reason.DNS_NO_ADDRESS, Reason.DNS_FAILURE, Reason.DNS_TIMEOUT), "DF"),
    **dict.fromkeys((Reason.CONNECTION_REFUSED, Reason.CONNECTION_UNROUTABLE, Reason.CONNECTION_TIMEOUT), "UF"),
    **dict.fromkeys((Reason.UPSTREAM_RESET, Reason.CONNECTION_TERMINATED, Reason.RESPONSE_INCOMPLETE), "UC"),
    **dict.fromkeys((Reason.MALFORMED_RESPONSE, Reason.RESPONSE_HEAD_TOO_LARGE), "UPE"),
    **dict.fromkeys((Reason.MALFORMED_REQUEST, Reason.MALFORMED_AUTHORITY, Reason.MALFORMED_CLIENT_HELLO), "DPE"),
    **dict.fromkeys((Reason.DOWNSTREAM_RESET, Reason.CLIENT_CLOSED), "DC"),
    Reason.RESPONSE_TIMEOUT: "UT",
    Reason.IDLE_TIMEOUT: "SI",
    Reason.LIFETIME_REACHED: "DT",
}


def encode_default(record: Record) -> bytes:
    """Envoy's default line."""
    return b"" if is_summed_up(record) else _DEFAULT.format_map(_fields(record)).encode()


def encode_istio(record: Record) -> bytes:
    """Istio's default line."""
    return b"" if is_summed_up(record) else _ISTIO.format_map(_fields(record)).encode()


def encode_json(record: Record) -> bytes:
    """Istio's keys as a JSON object; what is not known is null."""
    if is_summed_up(record):
        return b""
    fields: dict[str, Any] = {key: None if value == "-" else value for key, value in _fields(record).items()}
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)


def _fields(record: Record) -> dict[str, str | int]:
    known: Any = record
    has_target = "host" in record and "port" in record
    dialled, port = known.get("dialled_address"), known.get("port", 0)
    connects = known.get("door") == "connect" and "method" not in record
    return {
        "start_time": record["time"],
        "method": "CONNECT" if connects else percent_encoded(known.get("method", "")) or "-",
        "path": percent_encoded(known.get("path", "")) or "-",
        "protocol": "-",
        "response_code": known.get("status", 0),
        "response_flags": _flag(known),
        "response_code_details": known.get("reason") or "-",
        "connection_termination_details": "-",
        "upstream_transport_failure_reason": "-",
        "bytes_received": record["bytes_up"],
        "bytes_sent": record["bytes_down"],
        "duration": round(record["total_ms"]),
        "upstream_service_time": "-",
        "x_forwarded_for": record["client_address"],
        "user_agent": "-",
        "request_id": known.get("exchange_id") or record["connection_id"],
        "authority": authority_of(known["host"], port) if has_target else "-",
        "upstream_host": authority_of(dialled, port) if dialled is not None else "-",
        "upstream_cluster": "-",
        "upstream_local_address": "-",
        "downstream_local_address": "-",
        "downstream_remote_address": authority_of(record["client_address"], record["client_port"]),
        "requested_server_name": known.get("sni") or "-",
        "route_name": percent_encoded(known.get("rule") or "-", also="%"),
    }


def _flag(record: Any) -> str:
    return _DENIED if record["decision"] == "deny" else _FLAGS.get(record.get("reason", ""), "-")


# -------------------------------------------------------------------------------------------------------------- readers


def _pattern(template: str) -> re.Pattern[str]:
    """An expression for a line: a field in quotes ends with the quote, any other with the next space."""
    pieces = re.split(r'("?)\{([a-z_]+)\}', template.rstrip("\n"))
    pattern = re.escape(pieces[0])
    for quote, field, text in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True):
        within = '[^"]+' if quote and text.startswith('"') else '[^ "]+?'
        pattern += f"{quote}(?P<{field}>{within}){re.escape(text)}"
    return re.compile(pattern)


_PATTERNS = (_pattern(_ISTIO), _pattern(_DEFAULT))


def decode(line: bytes) -> Recorded:
    """A line of any of the three. Raises `NotARecord`."""
    try:
        if line.startswith(b"{"):
            fields = {key: value for key, value in orjson.loads(line).items() if value is not None}
        else:
            text = line.decode().rstrip("\n")
            found = next((match for pattern in _PATTERNS if (match := pattern.fullmatch(text))), None)
            if found is None:
                raise NotARecord("not a line of Envoy's formats")
            fields = {key: value for key, value in found.groupdict().items() if value != "-"}
        return _record_of(fields)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotARecord("not a line of Envoy's formats") from error


_DOORS = {HTTP_PORT: "absolute_form", HTTPS_PORT: "connect"}
"""By which a request came, as far as its port tells: no field says whether it was inside TLS."""
_COPIED = (
    ("sni", "requested_server_name"),
    ("rule", "route_name"),
    ("reason", "response_code_details"),
    ("path", "path"),
)
"""Keys of records, and the fields that they are taken from as text."""


def _record_of(fields: dict[str, Any]) -> Recorded:
    record: Recorded = {
        "time": time_of(milliseconds_of(fields["start_time"])),
        "bytes_up": int(fields["bytes_received"]),
        "bytes_down": int(fields["bytes_sent"]),
        "total_ms": float(fields["duration"]),
        "decision": _decision(fields),
    }
    if int(fields["response_code"]):
        record["status"] = int(fields["response_code"])
    if "downstream_remote_address" in fields:
        record["client_address"], record["client_port"] = split_authority(fields["downstream_remote_address"])
    else:
        record["client_address"] = str(fields["x_forwarded_for"]).rpartition(",")[2]
    for key, name in _COPIED:
        if name in fields:
            record[key] = str(fields[name])
    if record.get("sni", "").startswith(_BETWEEN_PROXIES):
        del record["sni"]
    if "rule" in record:
        record["rule"] = unquote(record["rule"], errors="surrogatepass")
    authority = _destination(fields)
    if authority is not None:
        record["host"], record["port"] = split_authority(authority, HTTP_PORT)
    if "upstream_host" in fields:
        record["dialled_address"] = split_authority(fields["upstream_host"])[0]
    if "method" in fields:
        _add_method(record, fields["method"])
    return record


def _add_method(record: Recorded, method: str) -> None:
    door = "connect" if method == "CONNECT" else _DOORS.get(record.get("port", 0))
    if door is not None:
        record["door"] = door
    if method != "CONNECT":
        record["method"] = method


_BETWEEN_PROXIES = "outbound_."
"""How the SNI of mutual TLS between two of Istio's proxies begins, which no destination sees."""
_SERVICE = re.compile(r"outbound\|(?P<port>\d+)\|[^|]*\|(?P<host>[^|]+)")
"""A cluster of Istio's."""


def _destination(fields: dict[str, Any]) -> str | None:
    """What was asked for. A connection that asked for nothing itself was led to a service, or on to the address it was
    for, which its SNI names."""
    asked_for: str = fields.get("authority", "")
    if asked_for != "":
        return asked_for
    service = _SERVICE.fullmatch(str(fields.get("upstream_cluster", "")))
    if service is not None:
        return authority_of(service["host"], int(service["port"]))
    upstream = fields.get("upstream_host")
    name = fields.get("requested_server_name")
    return upstream if upstream is None or name is None else authority_of(name, split_authority(upstream)[1])


def _decision(fields: dict[str, Any]) -> str:
    if fields.get("response_flags") == _DENIED:
        return "deny"
    return "allow" if "upstream_host" in fields else "none"


ENCODERS: dict[str, Callable[[Record], bytes]] = {
    "default": encode_default,
    "istio": encode_istio,
    "json": encode_json,
}
"""By the layout in the settings."""
