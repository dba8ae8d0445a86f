"""Names and values as OpenTelemetry's semantic conventions have them (HTTP spans and registry, 1.4x)."""

from gateway.model.reasons import Reason
from gateway.model.record import Seen
from gateway.telemetry.exchanges import seal_exchange
from gateway.telemetry.otlp.attributes import attributes_of_log, attributes_of_span, is_error, span_name
from gateway.telemetry.sealing import seal
from tests.telemetry.drafts import denied, exchanged, tunnelled


def test_a_method_of_a_clients_own_is_one_of_few() -> None:
    draft = exchanged()
    draft.method = "BREW"
    record = seal_exchange(draft, 1002.0)
    for told in (attributes_of_span(record), attributes_of_log(record)):
        assert (told["http.request.method"], told["http.request.method_original"]) == ("_OTHER", "BREW")
    assert span_name(record) == "HTTP"
    draft.method = "GET"
    assert "http.request.method_original" not in attributes_of_span(seal_exchange(draft, 1002.0))


def test_what_has_a_name_among_the_conventions_has_that() -> None:
    draft = exchanged()
    draft.seen, draft.http_version = Seen(query="a=1", headers=(("X-Team", "blue"), ("x-team", "red"))), "2"
    told = attributes_of_log(seal_exchange(draft, 1002.0))
    assert told["url.query"] == "a=1"
    assert (told["network.protocol.name"], told["network.protocol.version"]) == ("http", "2")
    assert told["http.request.header.x-team"] == ["blue", "red"]
    assert not {"egress.query", "egress.request_headers", "egress.http_version"} & told.keys()


def test_no_attribute_is_a_mapping() -> None:
    draft = exchanged()
    draft.seen = Seen(headers=(("x-team", "blue"),))
    told = attributes_of_log(seal_exchange(draft, 1002.0))
    assert not [name for name, value in told.items() if isinstance(value, dict)]


def test_a_denial_is_no_error_and_what_the_client_did_wrong_neither() -> None:
    assert not is_error(seal(tunnelled(), 1002.0))
    assert not is_error(seal(denied(), 1002.0))
    record = seal(tunnelled(), 1002.0)
    record["reason"] = Reason.HEAD_TIMEOUT
    assert is_error(record)
    record["status"] = 408
    assert not is_error(record)
    record["status"] = 502
    assert is_error(record)
    record["decision"], record["status"] = "deny", 503  # the store of limits does not answer
    assert is_error(record)
