"""Spans of what is over."""

from dataclasses import replace

from opentelemetry.trace import SpanKind, StatusCode

from gateway.model.decision import AddressRefusal, Deny
from gateway.model.reasons import Reason
from gateway.model.record import TlsSides
from gateway.telemetry.otlp.exporters import resource_of
from gateway.telemetry.otlp.spans import spans_of
from gateway.telemetry.otlp.tracing import Numbering
from tests.telemetry.drafts import address, denied, dialled, exchanged, tunnelled

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


def test_what_no_stage_tells_stands_on_the_whole_span() -> None:
    """Refused addresses are known where nothing was dialled; a request over a kept connection has no stages."""
    refused = AddressRefusal(address("10.0.0.7"), Reason.ADDRESS_REFUSED, "private use")
    draft = denied("1" * 16, Reason.ADDRESS_REFUSED)
    draft.asked_time = draft.started_time
    draft.decision = Deny(Reason.ADDRESS_REFUSED, 7, refused=(refused,))
    whole, _ = spans_of(draft, 1002.0, Numbering(5).of(draft), RESOURCE)
    assert whole.attributes is not None
    assert whole.attributes["egress.refused"] == ("10.0.0.7 (private use)",)
    request = exchanged()
    request.connection.connection_id, request.asked_time, request.reused = "3", request.started_time, True
    [whole] = spans_of(request, 1002.0, Numbering(5).of(request), RESOURCE)
    assert whole.attributes is not None
    assert whole.attributes["egress.dialled_address"] == "203.0.113.5"
    assert "network.peer.address" not in whole.attributes  # of a server that is its client


def test_a_name_in_tls_that_was_denied_is_on_the_stage_where_it_was() -> None:
    draft = tunnelled("1" * 16)
    draft.asked_time, draft.decision, draft.reason = draft.started_time, Deny(Reason.SNI_DENIED, 7), Reason.SNI_DENIED
    draft.dialled = replace(dialled(), dialled_at=1000.0)
    spans = {span.name: span for span in spans_of(draft, 1002.0, Numbering(5).of(draft), RESOURCE)}
    assert list(spans) == ["CONNECT", "policy", "dns", "dial", "tls"]
    assert [name for name, span in spans.items() if span.status.status_code is StatusCode.ERROR] == ["tls"]
    assert spans["tls"].attributes is not None
    assert spans["tls"].attributes["tls.client.server_name"] == "api.stripe.com"
    assert spans["tls"].attributes["error.type"] == "sni_denied"
