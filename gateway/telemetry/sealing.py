"""Seals a draft into a record: facts become text and milliseconds, once, after the connection's end.

Whatever a peer could make long is cut here (`TEXT_LIMIT` characters, `LIST_LIMIT` entries), and foreign text is made
printable, because records are read in terminals.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import islice
from math import floor

from gateway.model.addresses import Address
from gateway.model.client import Client
from gateway.model.decision import AddressRefusal, Deny, Permit, RuleRef
from gateway.model.intent import Opening
from gateway.model.reasons import Reason
from gateway.model.record import (
    ConnectionRecord,
    Dialled,
    Draft,
    Ended,
    ExchangeDraft,
    Packets,
    Side,
    TlsSides,
    verdict_of,
)
from gateway.telemetry.formats.fields import Record, time_of

TEXT_LIMIT = 512
LIST_LIMIT = 32


def seal(draft: Draft, ended_at: float) -> ConnectionRecord:
    """The record of a connection that ended at the monotonic instant `ended_at`."""
    transfer, dialled, record = draft.transfer, draft.dialled, _common_to(draft).copy()
    record["time"] = rfc3339(draft.started_time)
    record["connection_id"] = draft.connection_id
    record["client_port"] = draft.peer[1]
    record["total_ms"] = milliseconds(ended_at - draft.started_at)
    record["bytes_up"] = transfer.bytes_up
    record["bytes_down"] = transfer.bytes_down
    record["ended"] = transfer.ended or ended_before_transfer(draft)
    record["ended_by"] = transfer.ended_by or Side.GATEWAY
    if dialled is not None:
        _add_durations(record, dialled)
    if draft.opening is not None:
        _add_opening(record, draft.opening)
    if draft.tls is not None:
        _add_inspection(record, draft.tls)
    if draft.requests or draft.wrong_credentials:
        _add_numbers(record, draft)
    if transfer.first_byte_at is not None:
        record["first_byte_ms"] = milliseconds(transfer.first_byte_at - draft.started_at)
    if draft.packets is not None:
        _add_packets(record, draft.packets)
    return record


def _common_to(draft: Draft) -> ConnectionRecord:
    """The record of any connection about which the same is known, in its order; what each has of its own is empty. The
    decision keeps that of the last one: clients ask for the same again and again."""
    decision, facts = draft.decision, _facts_of(draft)
    sealed = None if decision is None else decision.common.sealed  # read once: the export seals in a thread of its own
    record: ConnectionRecord
    if sealed is not None and sealed[0] == facts:
        record = sealed[1]
        return record
    record = _seal_common(draft)
    if decision is not None:
        decision.common.sealed = facts, record
    return record


def _facts_of(draft: Draft) -> tuple[object, ...]:
    """All on which `_seal_common` depends, but for the decision. (An `attrgetter` would take more instructions.)"""
    dialled, reason = draft.dialled, draft.reason or draft.transfer.reason
    request = draft.client, draft.intent, draft.listener, draft.peer[0], draft.sender, draft.generation
    answer = draft.status, reason, draft.detail, draft.would_deny, draft.would_limit
    if dialled is None:
        return request, answer
    is_literal = dialled.resolve_seconds is None
    return request, answer, dialled.address, dialled.resolved, dialled.refused, dialled.source, is_literal


def _seal_common(draft: Draft) -> ConnectionRecord:
    intent = draft.intent
    record: ConnectionRecord = {
        "time": "",
        "connection_id": "",
        "listener": draft.listener,
        "client_address": str(draft.peer[0]),
        "client_port": 0,
        "decision": verdict_of(draft),
        "generation": draft.generation,
        "total_ms": 0.0,
        "bytes_up": 0,
        "bytes_down": 0,
        "ended": Ended.FAILED,
        "ended_by": Side.GATEWAY,
    }
    if draft.sender is not None:
        record["peer_address"] = str(draft.sender[0])
        record["peer_port"] = draft.sender[1]
    add_request(record, draft)
    if intent is not None and intent.protocol is not None:
        record["protocol"] = intent.protocol
    if draft.status is not None:
        record["status"] = draft.status
    add_verdict(record, draft)
    if draft.dialled is not None:
        add_dialled(record, draft.dialled)
    return record


def _add_numbers(record: ConnectionRecord, draft: Draft) -> None:
    if draft.requests:
        record["requests"] = draft.requests
    if draft.wrong_credentials:
        record["wrong_credentials"] = draft.wrong_credentials


def _add_packets(record: ConnectionRecord, packets: Packets) -> None:
    if packets.downstream_out is not None and packets.downstream_in is not None:
        record["downstream_packets_out"] = packets.downstream_out
        record["downstream_packets_in"] = packets.downstream_in
    if packets.upstream_out is not None and packets.upstream_in is not None:
        record["upstream_packets_out"] = packets.upstream_out
        record["upstream_packets_in"] = packets.upstream_in


def add_request(record: Record, draft: Draft | ExchangeDraft) -> None:
    """Who asked for what, and by which door, as far as known."""
    client, intent = draft.client, draft.intent
    if client is not None:
        record["identity"] = client.source
        if client.user is not None:
            record["user"] = printable(client.user)
        if client.namespace is not None or client.doubt is not None:
            _add_workload(record, client)
        if client.spiffe is not None:
            record["spiffe"] = client.spiffe
        if client.certificate is not None:
            record["certificate"] = printable(client.certificate)
    if intent is not None:
        door, authority, _, original = intent
        record["door"] = door
        record["host"] = str(authority.host)
        record["port"] = authority.port
        if original is not None:
            record["original_address"] = str(original)


def _add_workload(record: Record, client: Client) -> None:
    """Which workload of the cluster it is, or why that is unknown."""
    if client.namespace is not None:
        record["namespace"] = client.namespace
    if client.service_account is not None:
        record["service_account"] = client.service_account
    if client.pod is not None:
        record["pod"] = client.pod
    if client.workload is not None:
        record["workload"] = client.workload
    if client.doubt is not None:
        record["identity_doubt"] = client.doubt


def add_verdict(record: Record, draft: Draft | ExchangeDraft) -> None:
    """The verdict's reason and rule, and what report mode set aside."""
    decision = draft.decision
    reason = reason_of(draft)
    if reason is not None:
        record["reason"] = reason
        if detail := draft.detail or (decision.detail if isinstance(decision, Deny) else ""):
            record["detail"] = printable(detail)
    if decision is None:
        return
    rule = decision.rule
    if decision.groups:
        record["groups"] = tuple(decision.groups)
    if rule is not None:
        record["rule"] = rule.name
        record["rule_file"] = rule.file
        record["rule_line"] = rule.line
    if decision.also:
        record["also"] = listed(decision.also)
    if reason is not None and isinstance(decision, Deny) and decision.refused:
        record["refused"] = _shown(decision.refused)
    aside = draft.would_deny or (decision.would_deny if isinstance(decision, Permit) else None)
    if aside is not None:
        _add_set_aside(record, aside.reason, aside.rule)
    if draft.would_limit is not None:
        record["would_limit"] = draft.would_limit


def _add_set_aside(record: Record, reason: Reason, rule: RuleRef | None) -> None:
    record["would_deny"] = reason
    if rule is not None:
        record["would_deny_rule"] = rule.name


def add_dialled(record: Record, dialled: Dialled, reused: bool = False) -> None:
    """What was reached, and from where; and how the address was found and reached, unless it was for another's sake."""
    record["dialled_address"] = str(dialled.address)
    if dialled.source is not None:
        record["source_address"] = str(dialled.source)
    if reused:
        return
    _add_durations(record, dialled)
    if dialled.resolve_seconds is not None:
        record["resolved"] = _shown_addresses(dialled.resolved)
    if dialled.refused:
        _add_refused(record, dialled.refused)


def _add_durations(record: Record, dialled: Dialled) -> None:
    """How long it took to find and to reach the address."""
    record["dial_ms"] = milliseconds(dialled.dial_seconds)
    if dialled.resolve_seconds is not None:
        record["dns_ms"] = milliseconds(dialled.resolve_seconds)


@lru_cache(maxsize=1024)
def _shown_addresses(addresses: tuple[Address, ...]) -> tuple[str, ...]:
    """The same names are resolved again and again."""
    return listed(addresses)


def _add_refused(record: Record, refused: Sequence[AddressRefusal]) -> None:
    """Addresses that were not dialled, with the denies that refused them in `also`; and what report mode set aside."""
    enforced = [refusal for refusal in refused if refusal.enforced]
    if enforced:
        record["refused"] = _shown(enforced)
    rules = [refusal.rule.name for refusal in enforced if refusal.rule is not None]
    denying = [name for name in rules if name != record.get("rule")]  # its own `within` refuses addresses too
    if denying:
        record["also"] = listed(dict.fromkeys((*record.get("also", ()), *denying)))
    aside = next((refusal for refusal in refused if not refusal.enforced), None)
    if aside is not None and "would_deny" not in record:
        _add_set_aside(record, aside.reason, aside.rule)


def _shown(refused: Sequence[AddressRefusal]) -> tuple[str, ...]:
    return listed(printable(f"{each.address} ({each.detail or each.reason})") for each in refused)


def _add_opening(record: ConnectionRecord, opening: Opening) -> None:
    record["protocol"] = opening.protocol
    hello = opening.hello
    if hello is None:
        return
    if hello.server_name is not None:
        record["sni"] = hello.server_name
    if hello.alpn:
        record["alpn"] = _shown_protocols(hello.alpn)
    record["ja4"] = hello.ja4
    record["ech"] = hello.ech


@lru_cache(maxsize=64)
def _shown_protocols(offered: tuple[str, ...]) -> tuple[str, ...]:
    """The same programs offer the same again and again."""
    return listed(map(printable, offered))


def _add_inspection(record: ConnectionRecord, tls: TlsSides) -> None:
    record["inspected"] = True
    if tls.version is not None:
        record["tls_version"] = tls.version
        record["tls_resumed"] = tls.resumed
    if tls.upstream_version is not None:
        record["upstream_tls_version"] = tls.upstream_version
        record["upstream_tls_resumed"] = tls.upstream_resumed
    if tls.certificate is not None:
        record["upstream_certificate"] = tls.certificate
        record["upstream_subject"] = printable(tls.subject)
        record["upstream_issuer"] = printable(tls.issuer)


def reason_of(draft: Draft | ExchangeDraft) -> Reason | None:
    """The draft's own reason, else its transfer's, else its denial's; None if all went well."""
    reason = draft.reason or draft.transfer.reason
    return draft.decision.reason if reason is None and isinstance(draft.decision, Deny) else reason


def ended_before_transfer(draft: Draft | ExchangeDraft) -> Ended:
    """How it ended where nothing was relayed."""
    return Ended.REFUSED if isinstance(draft.decision, Deny) else Ended.FAILED


def rfc3339(unix_seconds: float) -> str:
    """UTC with milliseconds, `2027-01-31T23:59:59.123Z`."""
    return time_of(int(unix_seconds * 1000))


def printable(text: str) -> str:
    """`text` cut to `TEXT_LIMIT` characters and escaped."""
    text = text[:TEXT_LIMIT]
    return text if text.isprintable() else escaped(text)


def escaped(text: str) -> str:
    """Everything that is not printable as in a Python literal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def milliseconds(seconds: float) -> float:
    """Rounded to the microsecond."""
    return floor(seconds * 1e6 + 0.5) / 1000  # `round` takes ten times as many instructions


def listed(entries: Iterable[str | Address]) -> tuple[str, ...]:
    """As text, cut to `LIST_LIMIT` entries."""
    return tuple(map(str, islice(entries, LIST_LIMIT)))
