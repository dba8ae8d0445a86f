"""The attributes of a record's keys in traces and logs: names of OpenTelemetry's semantic conventions where there are
any, else `egress.*`. The table is in docs/observability.md."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from gateway.model.record import ConnectionRecord, ExchangeRecord

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
_NOT_TOLD = frozenset(("time", "total_ms"))  # fields of their own in spans and logs

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


def attributes_of_log(record: ConnectionRecord | ExchangeRecord) -> Attributes:
    """Everything in the record."""
    return _told(record, _NOT_TOLD)


def attributes_of_span(record: ConnectionRecord | ExchangeRecord, stages: Iterable[str] = ()) -> Attributes:
    """Everything that the spans of its `stages` do not hold."""
    told = _told(record, _NOT_TOLD.union(*(_ONLY_OF_STAGES.get(name, ()) for name in stages)))
    told["network.transport"] = "tcp"
    if (reached := told.pop(name_of("dialled_address"), None)) is not None:
        told["egress.dialled_address"] = reached  # the peer of a server is its client
    if record.get("door") == "connect" and "exchange_id" not in record:
        told["http.request.method"] = "CONNECT"
    return told


def _told(record: ConnectionRecord | ExchangeRecord, left_out: Collection[str]) -> Attributes:
    """Mappings have a name for each of their keys: attributes have none. There is no end of methods that a client may
    send, and who counts by them wants few."""
    told: Attributes = {name_of(key): value for key, value in record.items() if key not in left_out}
    notes, fields = told.pop("egress.annotations", {}), told.pop("egress.request_headers", {})
    told |= {f"egress.annotations.{key}": value for key, value in notes.items()}
    for name, value in fields.items():
        told.setdefault(f"http.request.header.{name.lower()}", []).append(value)
    if told.get(_METHOD, "GET") not in _METHODS:
        told["http.request.method_original"], told[_METHOD] = told[_METHOD], _OTHER_METHOD
    if "network.protocol.version" in told:
        told["network.protocol.name"] = "http"
    return told


def attributes_of_stage(name: str, record: ConnectionRecord | ExchangeRecord) -> Attributes:
    """Of the stage of that name."""
    values: Mapping[str, Any] = {**record}
    told = {name_of(key): values[key] for key in _OF_STAGES[name] if key in values}
    if name == "dns":
        told["dns.question.name"] = values.get("host", "")
    if name == "tls" and "tls_version" in values:
        told["tls.protocol.version"] = values["tls_version"].removeprefix("TLSv")
    if name == "dial" and "dialled_address" in values:
        told["network.peer.port"] = values.get("port", 0)
    return told


def is_error(record: ConnectionRecord | ExchangeRecord) -> bool:
    """Whether the span of it is one. A denial is what a gateway is there for, and what a client did wrong is no fault
    of the server that tells it so; a status from 500 on is: semantic conventions, HTTP spans, "Status"."""
    status = record.get("status", 0)
    if "reason" not in record or 400 <= status < 500:
        return False
    return record["decision"] != "deny" or status >= 500


def span_name(record: ConnectionRecord | ExchangeRecord) -> str:
    """One of few names (a client may send any method)."""
    method = record.get("method")
    if method is None:
        return "CONNECT" if record.get("door") == "connect" else "connection"
    return str(method) if method in _METHODS else "HTTP"
