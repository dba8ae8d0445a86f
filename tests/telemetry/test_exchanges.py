"""An exchange's draft becomes its record and is counted."""

import pytest

from gateway.model.decision import Deny
from gateway.model.inspection.watching import Said
from gateway.model.reasons import Reason
from gateway.model.record import Ended, ExchangeDraft, ExchangeRecord, Side, Transfer
from gateway.telemetry.counters import Counters
from gateway.telemetry.exchanges import seal_exchange
from gateway.telemetry.formats.json import decode, encode
from gateway.telemetry.otlp.attributes import attributes_of_span
from tests.telemetry.drafts import RULE, asked, exchanged


def refused() -> ExchangeDraft:
    made = exchanged()
    made.decision, made.reason, made.status = Deny(Reason.NO_RULE, 7, detail="no rule"), Reason.NO_RULE, 403
    made.dialled, made.transfer = None, Transfer(ended=Ended.REFUSED, ended_by=Side.GATEWAY)
    return made


def unread() -> ExchangeDraft:
    connection = asked()
    return ExchangeDraft(connection, 1, 1000.0, 1_800_000_000.0, reason=Reason.MALFORMED_REQUEST, status=400)


@pytest.mark.parametrize("made", [exchanged(), refused(), unread()], ids=["passed", "refused", "unread"])
def test_a_record_goes_from_draft_to_line_and_back(made: ExchangeDraft) -> None:
    record = seal_exchange(made, ended_at=1001.5)
    written = encode(record)
    assert decode(written) == record
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
    draft.said = Said({"keys.found": "jwt", "x.failed": "raised\nLookupError"}, ["x"])
    record = seal_exchange(draft, 1001.5)
    assert decode(encode(record)) == record
    assert record["annotations"] == {"keys.found": "jwt", "x.failed": r"raised\nLookupError"}
    told = attributes_of_span(record)
    assert told["egress.annotations.keys.found"] == "jwt"
    assert "egress.annotations" not in told
