"""The attributes of a record's keys in traces and logs: OpenTelemetry's semantic conventions where they have a name,
else `egress.*`. The table is in docs/observability.md."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from gateway.telemetry.formats.fields import Record

Attributes = dict[str, Any]

CONVENTIONAL = {
    "client_address": "client.address",
    "client_port": "client.port",
    "host": "server.address",
    "port": "server.port",
    "method": "http.request.method",
    "path": "url.path",
    "query": "url.query",
    "http_version": "network.protocol.version",
    "status": "http.response.status_code",
    "reason": "error.type",
    "user": "user.name",
    "dialled_address": "network.peer.address",
    "sni": "tls.client.server_name",
    "resolved": "dns.answers",
}
_LEFT_OUT = frozenset(("time", "total_ms"))  # spans and logs have fields of their own for them

_OF_STAGES: Mapping[str, tuple[str, ...]] = {
    "policy": ("decision", "rule", "generation", "would_deny", "would_deny_rule"),
    "dns": ("resolved",),
    "dial": ("dialled_address", "refused"),
    "tls": ("sni", "alpn", "ja4", "ech", "tls_version", "tls_resumed", "upstream_tls_version", "upstream_tls_resumed"),
    "relay": ("bytes_up", "bytes_down", "first_byte_ms", "ended", "ended_by"),
}
_ONLY_OF_STAGES: Mapping[str, tuple[str, ...]] = {
    "dns": ("resolved", "dns_ms"),
    "dial": ("dialled_address", "refused", "dial_ms"),
    "tls": ("sni", "alpn", "ja4", "ech"),
    "relay": ("first_byte_ms",),
}
"""What the whole span need not repeat, where there is a span of that stage."""

_METHODS = frozenset(("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"))
_METHOD, _OTHER_METHOD = CONVENTIONAL["method"], "_OTHER"


def name_of(key: str) -> str:
    """The attribute of a record's key."""
    return CONVENTIONAL.get(key) or f"egress.{key}"


def attributes_of_log(record: Record) -> Attributes:
    """Everything in the record."""
    return _attributes(record, _LEFT_OUT)


def attributes_of_span(record: Record, stages: Iterable[str] = ()) -> Attributes:
    """Everything that the spans of its `stages` do not hold."""
    attributes = _attributes(record, _LEFT_OUT.union(*(_ONLY_OF_STAGES.get(name, ()) for name in stages)))
    attributes["network.transport"] = "tcp"
    if (reached := attributes.pop(name_of("dialled_address"), None)) is not None:
        attributes["egress.dialled_address"] = reached  # the peer of a server is its client
    if record.get("door") == "connect" and "exchange_id" not in record:
        attributes["http.request.method"] = "CONNECT"
    return attributes


def _attributes(record: Record, left_out: Collection[str]) -> Attributes:
    """Each key of a mapping becomes an attribute, since attributes do not nest. A client may send any method, and they
    should be few: what is unknown is `_OTHER`."""
    made: Attributes = {name_of(key): value for key, value in record.items() if key not in left_out}
    notes, fields = made.pop("egress.annotations", {}), made.pop("egress.request_headers", {})
    made |= {f"egress.annotations.{key}": value for key, value in notes.items()}
    for name, value in fields.items():
        made.setdefault(f"http.request.header.{name.lower()}", []).append(value)
    if made.get(_METHOD, "GET") not in _METHODS:
        made["http.request.method_original"], made[_METHOD] = made[_METHOD], _OTHER_METHOD
    if "network.protocol.version" in made:
        made["network.protocol.name"] = "http"
    return made


def attributes_of_stage(name: str, record: Record) -> Attributes:
    """Those that belong to the stage of that name."""
    values: Mapping[str, Any] = {**record}
    attributes = {name_of(key): values[key] for key in _OF_STAGES[name] if key in values}
    if name == "dns":
        attributes["dns.question.name"] = values.get("host", "")
    if name == "tls" and "tls_version" in values:
        attributes["tls.protocol.version"] = values["tls_version"].removeprefix("TLSv")
    if name == "dial" and "dialled_address" in values:
        attributes["network.peer.port"] = values.get("port", 0)
    return attributes


def is_error(record: Record) -> bool:
    """Whether its span's status is an error. A denial is what a gateway is there for, and a client's mistake is not the
    fault of the server that reports it; a status from 500 on is: semantic conventions, HTTP spans, "Status"."""
    status = record.get("status", 0)
    if "reason" not in record or 400 <= status < 500:
        return False
    return record["decision"] != "deny" or status >= 500


def span_name(record: Record) -> str:
    """One of a few names, although a client may send any method."""
    method = record.get("method")
    if method is None:
        return "CONNECT" if record.get("door") == "connect" else "connection"
    return str(method) if method in _METHODS else "HTTP"
