"""Who is traced, and under which numbers."""

from dataclasses import replace

import pytest

from gateway.model.client import TraceParent
from gateway.model.reasons import Reason
from gateway.telemetry.otlp.tracing import Numbering, Numbers, Sampling
from tests.telemetry.drafts import denied, exchanged, tunnelled

NEVER = Sampling(0.0, denied=False, failed=False)
LOW, HIGH = "00000000000000ff", "ff00000000000000"
SAMPLED, UNSAMPLED = TraceParent(7, 9, True), TraceParent(7, 9, False)


def test_the_share_is_drawn_from_the_connections_number() -> None:
    half = replace(NEVER, share=0.5)
    assert half.wants(tunnelled(LOW))
    assert not half.wants(tunnelled(HIGH))
    assert replace(NEVER, share=1.0).wants(tunnelled("f" * 16))
    assert not NEVER.wants(tunnelled("0" * 16))


def test_a_client_that_traces_decides_for_itself() -> None:
    draft = tunnelled(HIGH)
    draft.caller = SAMPLED
    assert NEVER.wants(draft)
    draft.caller = UNSAMPLED
    assert not replace(NEVER, share=1.0).wants(draft)


@pytest.mark.parametrize(("sampling", "wanted"), [(NEVER, (False, False)), (Sampling(0.0), (True, True))])
def test_denied_and_failed_ones_are_wanted_as_the_settings_say(sampling: Sampling, wanted: tuple[bool, bool]) -> None:
    failed = tunnelled(HIGH)
    failed.transfer.reason = Reason.UPSTREAM_RESET
    assert (sampling.wants(denied(HIGH)), sampling.wants(failed)) == wanted
    assert not sampling.wants(tunnelled(HIGH))


def test_a_client_that_does_not_trace_hides_no_denial() -> None:
    draft = denied(HIGH)
    draft.caller = UNSAMPLED
    assert Sampling(0.0).wants(draft)


def test_a_connection_is_wanted_with_one_of_its_requests() -> None:
    draft = exchanged()
    draft.connection.connection_id = HIGH
    assert not NEVER.wants(draft)
    draft.connection.traced = True
    assert NEVER.wants(draft.connection)
    assert not NEVER.wants(draft)


def test_a_trace_that_begins_here_is_known_from_the_connections_number() -> None:
    assert Numbering(5).of(tunnelled(LOW)) == Numbers((5 << 64) | 255, 255, None, is_remote=True)


def test_a_span_is_below_its_clients() -> None:
    draft = tunnelled(LOW)
    draft.caller = SAMPLED
    assert Numbering(5).of(draft) == Numbers(7, 255, 9, is_remote=True)


def test_a_request_is_below_its_client_or_else_below_its_connection() -> None:
    draft = exchanged()
    draft.connection.connection_id = LOW
    numbers = Numbering(5).of(draft)
    assert (numbers.trace, numbers.parent, numbers.is_remote) == ((5 << 64) | 255, 255, False)
    draft.connection.caller = TraceParent(70, 90, True)
    assert Numbering(5).of(draft)[::2] == (70, 255)
    draft.caller = SAMPLED
    assert Numbering(5).of(draft)[::2] == (7, 9)


def test_no_two_requests_of_a_connection_have_one_number() -> None:
    draft = exchanged()
    draft.connection.connection_id = LOW
    spans = set()
    for number in range(1, 1001):
        draft.number = number
        spans.add(Numbering(5).of(draft).span)
    assert len(spans - {255}) == 1000
