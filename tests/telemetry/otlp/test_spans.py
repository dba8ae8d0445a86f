"""Spans of what is over."""

from opentelemetry.trace import SpanKind, StatusCode

from gateway.model.record import TlsSides
from gateway.telemetry.otlp.exporters import resource_of
from gateway.telemetry.otlp.spans import spans_of
from gateway.telemetry.otlp.tracing import Numbering
from tests.telemetry.drafts import denied, exchanged

RESOURCE = resource_of("here", 7)


def test_a_request_says_its_scheme() -> None:
    draft = exchanged()
    draft.connection.connection_id = "3"
    [whole, *_] = spans_of(draft, 1002.0, Numbering(5).of(draft), RESOURCE)
    assert whole.attributes is not None
    assert (whole.kind, whole.attributes["url.scheme"]) == (SpanKind.SERVER, "http")
    draft.connection.tls = TlsSides()
    [whole, *_] = spans_of(draft, 1002.0, Numbering(5).of(draft), RESOURCE)
    assert whole.attributes is not None
    assert whole.attributes["url.scheme"] == "https"


def test_a_denial_is_told_where_it_was_made() -> None:
    draft = denied("1" * 16)
    draft.asked_time = draft.started_time
    whole, policy = spans_of(draft, 1002.0, Numbering(5).of(draft), RESOURCE)
    assert (whole.status.status_code, policy.status.status_code) == (StatusCode.UNSET, StatusCode.ERROR)
    assert whole.attributes is not None
    assert whole.attributes["error.type"] == "no_rule"
