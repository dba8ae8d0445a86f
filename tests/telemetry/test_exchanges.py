"""An exchange's draft becomes its record and is counted."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.model.decision import AddressRefusal, Deny, WouldDeny
from gateway.model.inspection.watching import Said
from gateway.model.intent import Door
from gateway.model.reasons import Reason
from gateway.model.record import Ended, ExchangeDraft, ExchangeRecord, Seen, Side, TlsSides, Transfer
from gateway.telemetry.counters import Counters
from gateway.telemetry.exchanges import labels_of, seal_exchange
from gateway.telemetry.formats.json import encode
from gateway.telemetry.otlp.attributes import attributes_of_span
from gateway.telemetry.sealing import LIST_LIMIT
from tests.telemetry.drafts import CERTIFIED, RULE, address, asked, exchanged, permit_of
from tests.telemetry.lines import read_line


def refused() -> ExchangeDraft:
    made = exchanged()
    made.decision, made.reason, made.status = Deny(Reason.NO_RULE, 7, detail="no rule"), Reason.NO_RULE, 403
    made.dialled, made.transfer = None, Transfer(ended=Ended.REFUSED, ended_by=Side.GATEWAY)
    return made


def unread() -> ExchangeDraft:
    connection = asked()
    return ExchangeDraft(connection, 1, 1000.0, 1_800_000_000.0, reason=Reason.MALFORMED_REQUEST, status=400)


def inspected() -> ExchangeDraft:
    made = exchanged()
    made.seen = Seen("text/plain", "q", (("x-a", "1"),), ("key",))
    return made


@pytest.mark.parametrize(
    "made", [exchanged(), refused(), unread(), inspected()], ids=["passed", "refused", "unread", "inspected"]
)
def test_a_record_goes_from_draft_to_line_and_back(made: ExchangeDraft) -> None:
    record = seal_exchange(made, ended_at=1001.5)
    written = encode(record)
    assert read_line(written) == record
    assert list(record) == [key for key in ExchangeRecord.__annotations__ if key in record]


def test_it_has_an_id_of_its_own_beside_its_connections() -> None:
    record = seal_exchange(exchanged(), ended_at=1001.5)
    assert (record["connection_id"], record["exchange_id"]) == ("c-1", "c-1-3")
    assert (record["rule"], record["dial_ms"], record["first_byte_ms"], record["total_ms"]) == (
        RULE.name,
        23.4,
        50.0,
        1500.0,
    )


def test_what_is_known_of_an_exchange_is_not_taken_from_the_one_before_it() -> None:
    first, other = exchanged(), asked(authority="other.test:80")
    assert first.client is not None
    changes: list[dict[str, Any]] = [
        {"number": 4, "started_at": 1000.5, "started_time": 1_900_000_000.0, "method": "GET", "path": "/"},
        {"generation": 8},
        {"client": first.client._replace(user="other")},
        {"intent": other.intent},
        {"decision": Deny(Reason.NO_RULE, 7)},
        {"dialled": None},
        {"reused": True},
        {"status": None},
        {"would_deny": WouldDeny(Reason.NO_RULE)},
        {"would_limit": "limit"},
        {"seen": Seen("text/plain", "q")},
        {"reason": Reason.CLIENT_CLOSED, "detail": "here"},
        {"detail": "there", "reason": Reason.CLIENT_CLOSED},
        {"http_version": "2"},
        {"transfer": Transfer(1, 2)},
        {"transfer": Transfer(1, 2, reason=Reason.IDLE_TIMEOUT)},
    ]
    for change in changes:
        for made in (first, replace(first, **change)):
            alone = replace(made, connection=replace(made.connection, sealed=None))
            assert list(seal_exchange(made, 1001.5).items()) == list(seal_exchange(alone, 1001.5).items())


def test_what_another_thread_seals_meanwhile_is_in_no_other_record() -> None:
    """The export to OpenTelemetry seals in a thread of its own."""
    first = exchanged()
    other = replace(first, method="GET", status=404)

    class Interrupted(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, given: object) -> bool:
            seal_exchange(other, 1001.5)
            return str(self) == given

    again = replace(first, detail=Interrupted("here"))
    first.detail = "here"
    seal_exchange(first, 1001.5)
    record = seal_exchange(again, 1001.5)
    assert (record["method"], record["status"]) == ("POST", 201)


def test_a_reused_connection_has_no_dial_of_its_own() -> None:
    made = exchanged()
    made.reused = True
    record = seal_exchange(made, ended_at=1001.5)
    assert record["reused"]
    assert "dial_ms" not in record
    counters = Counters()
    counters.count_exchange(made, 1001.5)
    assert counters.dial.cumulative()[-1] == 0


def test_a_path_is_cut_and_made_printable() -> None:
    record = seal_exchange(exchanged("/\x1b[31m" + "x" * 1000), ended_at=1001.5)
    assert record["path"].startswith("/\\x1b[31m")
    assert len(record["path"]) < 600


def test_requests_are_counted_by_rule_verdict_reason_and_class_of_status() -> None:
    counters = Counters(series_limit=2)
    for made in (exchanged(), exchanged(), refused(), unread()):
        counters.count_exchange(made, 1001.5)
    assert counters.requests == {
        (RULE.name, "allow", None, "2xx"): 2,
        ("", "deny", Reason.NO_RULE, "4xx"): 1,
        ("other", "none", Reason.MALFORMED_REQUEST, "4xx"): 1,
    }
    assert counters.request_duration.cumulative()[-1] == 4


def test_what_inspectors_said_is_in_the_record_and_one_attribute_each_of_its_span() -> None:
    draft = exchanged()
    draft.seen = Seen(said=Said({"keys.found": "jwt", "x.failed": "raised\nLookupError"}, ["x"]))
    record = seal_exchange(draft, 1001.5)
    assert read_line(encode(record)) == record
    assert record["annotations"] == {"keys.found": "jwt", "x.failed": r"raised\nLookupError"}
    told = attributes_of_span(record)
    assert told["egress.annotations.keys.found"] == "jwt"
    assert "egress.annotations" not in told


def test_a_record_has_every_key_that_there_is_where_all_is_known_and_tells_each_truly() -> None:
    draft = full()
    record = seal_exchange(draft, 1001.5)
    draft.reused = True
    reused = seal_exchange(draft, 1001.5)
    assert set(record) | set(reused) == set(ExchangeRecord.__annotations__)
    told = {
        "client_address": "10.0.0.1",
        "client_port": 40000,
        "ended": "closed",
        "ended_by": "upstream",
        "peer_address": "192.0.2.9",
        "peer_port": 5000,
        "method": "POST",
        "path": "/v1/charges",
        "identity": "mtls",
        "spiffe": "spiffe://cluster.local/ns/pay/sa/api",
        "door": "transparent",
        "host": "api.stripe.com",
        "port": 80,
        "original_address": "203.0.113.66",
        "source_address": "198.51.100.7",
        "dialled_address": "203.0.113.5",
        "http_version": "2",
        "inspected": True,
        "status": 201,
        "would_limit": "policy.yaml#stripe.requests",
        "content_type": "text/\\x1bx",
        "query": "a=\\x1b",
        "request_headers": {"x-a": "1, 2", "x-b\\n": "\\x1b"},
        "secrets": ("token",),
        "annotations": {"keys.found": "jwt"},
    }
    assert {key: value for key, value in record.items() if key in told} == told
    assert {key: value for key, value in reused.items() if key in told} == told
    assert (record["refused"], record["resolved"]) == (("10.1.2.3 (private)",), ("203.0.113.5",))
    assert not {"dial_ms", "dns_ms", "resolved", "refused"} & reused.keys()


def test_what_nobody_noted_is_ended_by_the_gateway_and_what_is_not_known_has_no_key() -> None:
    denied, failed = refused(), unread()
    denied.transfer, failed.transfer, failed.seen = Transfer(), Transfer(), Seen(said=Said({}, []))
    failed.status = None
    told = [seal_exchange(each, 1001.5) for each in (denied, failed)]
    assert [(each["ended"], each["ended_by"]) for each in told] == [("refused", "gateway"), ("failed", "gateway")]
    for record in told:
        assert [key for key, value in record.items() if value is None or value in ((), {})] == []
        assert not {"http_version", "annotations", "secrets", "query", "content_type", "reused"} & record.keys()
        assert "inspected" not in record
    assert "status" not in told[1]


def full() -> ExchangeDraft:
    """A captured and inspected request of which all is known that can be."""
    draft = exchanged()
    assert draft.intent is not None
    assert draft.dialled is not None
    refusal = AddressRefusal(address("10.1.2.3"), Reason.ADDRESS_REFUSED, "private")
    draft.connection.sender, draft.connection.tls = (address("192.0.2.9"), 5000), TlsSides()
    draft.client = CERTIFIED
    draft.decision = replace(permit_of(draft.connection), also=("policy.yaml#other",))
    draft.intent = draft.intent._replace(door=Door.TRANSPARENT, original=address("203.0.113.66"))
    draft.dialled = replace(draft.dialled, refused=(refusal,), source=address("198.51.100.7"))
    draft.would_deny, draft.would_limit = WouldDeny(Reason.HOST_MISMATCH, RULE), "policy.yaml#stripe.requests"
    headers = (("x-a", "1"), ("x-b\n", "\x1b"), ("x-a", "2"))
    draft.seen = Seen("text/\x1bx", "a=\x1b", headers, ("token",), Said({"keys.found": "jwt"}, []))
    draft.http_version, draft.transfer.reason, draft.detail = "2", Reason.UPSTREAM_RESET, "because"
    return draft


def test_of_the_headers_that_a_peer_made_many_some_are_told() -> None:
    draft = exchanged()
    draft.seen = Seen(headers=tuple((f"x-{number}", "x") for number in range(1000)))
    assert len(seal_exchange(draft, 1001.5)["request_headers"]) == LIST_LIMIT


@pytest.mark.parametrize(
    ("status", "told"), [(None, ""), (0, ""), (101, "1xx"), (299, "2xx"), (304, "3xx"), (599, "5xx")]
)
def test_a_request_is_counted_by_the_class_of_its_status(status: int | None, told: str) -> None:
    draft = exchanged()
    draft.status = status
    assert labels_of(draft) == ("allow", None, told)
