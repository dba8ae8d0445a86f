"""Seals an exchange's draft into its record, and names the labels by which it is counted.

As in `sealing`, what a peer could make long is cut, and foreign text is made printable.
"""

from operator import attrgetter

from gateway.model.reasons import Reason
from gateway.model.record import Draft, Ended, ExchangeDraft, ExchangeRecord, Seen, Side, verdict_of
from gateway.telemetry.formats.fields import Record
from gateway.telemetry.sealing import (
    LIST_LIMIT,
    add_dialled,
    add_request,
    add_verdict,
    ended_before_transfer,
    milliseconds,
    printable,
    reason_of,
    rfc3339,
    seal,
)

ExchangeLabels = tuple[str, Reason | None, str]
"""Verdict, reason, class of the status (`2xx`, or "" where the client was told none)."""

_facts_of = attrgetter(
    *("method", "client", "intent", "decision", "dialled", "reused", "status", "would_deny", "would_limit", "reason"),
    *("detail", "transfer.reason", "http_version", "generation"),
)
_CLASSES = ("", "1xx", "2xx", "3xx", "4xx", "5xx")


def labels_of(draft: ExchangeDraft) -> ExchangeLabels:
    """The labels of its count besides its rule."""
    return verdict_of(draft), reason_of(draft), _CLASSES[(draft.status or 0) // 100]


def record_of(draft: Draft | ExchangeDraft, ended_at: float) -> Record:
    """The record of either kind of draft, which ended at that monotonic instant."""
    return seal(draft, ended_at) if isinstance(draft, Draft) else seal_exchange(draft, ended_at)


def seal_exchange(draft: ExchangeDraft, ended_at: float) -> ExchangeRecord:
    """The record of an exchange that ended at the monotonic instant `ended_at`."""
    transfer, record = draft.transfer, _common_to(draft).copy()
    record["time"] = rfc3339(draft.started_time)
    record["exchange_id"] = draft.exchange_id
    record["path"] = printable(draft.path)
    record["total_ms"] = milliseconds(ended_at - draft.started_at)
    record["bytes_up"] = transfer.bytes_up
    record["bytes_down"] = transfer.bytes_down
    record["ended"] = transfer.ended or ended_before_transfer(draft)
    record["ended_by"] = transfer.ended_by or Side.GATEWAY
    if transfer.first_byte_at is not None:
        record["first_byte_ms"] = milliseconds(transfer.first_byte_at - draft.started_at)
    if draft.seen is not None:
        _add_seen(record, draft.seen)
    return record


def _common_to(draft: ExchangeDraft) -> ExchangeRecord:
    """The record of any exchange about which the same is known, in its order; what each has of its own is empty. Mostly
    it is that of the exchange before on the connection, which keeps it."""
    connection, facts = draft.connection, _facts_of(draft)
    sealed = connection.sealed  # read once: the export seals in a thread of its own
    if sealed is not None and sealed[0] == facts:
        return sealed[1]
    record: ExchangeRecord = {
        "time": "",
        "connection_id": connection.connection_id,
        "exchange_id": "",
        "listener": connection.listener,
        "client_address": str(connection.peer[0]),
        "client_port": connection.peer[1],
        "method": printable(draft.method),
        "path": "",
        "decision": verdict_of(draft),
        "generation": draft.generation,
        "total_ms": 0.0,
        "bytes_up": 0,
        "bytes_down": 0,
        "ended": Ended.FAILED,
        "ended_by": Side.GATEWAY,
    }
    if connection.sender is not None:
        record["peer_address"] = str(connection.sender[0])
        record["peer_port"] = connection.sender[1]
    add_request(record, draft)
    if draft.http_version:
        record["http_version"] = draft.http_version
    if connection.tls is not None:
        record["inspected"] = True
    if draft.status is not None:
        record["status"] = draft.status
    add_verdict(record, draft)
    if draft.dialled is not None:
        add_dialled(record, draft.dialled, draft.reused)
        if draft.reused:
            record["reused"] = True
    connection.sealed = facts, record
    return record


def _add_seen(record: ExchangeRecord, seen: Seen) -> None:
    if seen.media_type:
        record["content_type"] = printable(seen.media_type)
    if seen.query:
        record["query"] = printable(seen.query)
    if seen.headers:
        record["request_headers"] = _joined(seen.headers)
    if seen.secrets:
        record["secrets"] = seen.secrets
    if seen.said is not None and seen.said.notes:
        record["annotations"] = {printable(key): printable(value) for key, value in seen.said.notes.items()}


def _joined(fields: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Values of the same name are joined (RFC 9110 section 5.3)."""
    values: dict[str, list[str]] = {}
    for name, value in fields[:LIST_LIMIT]:
        values.setdefault(name, []).append(value)
    return {printable(name): printable(", ".join(found)) for name, found in values.items()}
