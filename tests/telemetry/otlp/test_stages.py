"""When the stages were."""

from dataclasses import replace

from gateway.model.reasons import Reason
from gateway.model.record import Draft, ExchangeDraft
from gateway.telemetry.otlp.stages import Stage, stages_of
from tests.telemetry.drafts import accepted, asked, denied, dialled, exchanged, permit_of, tunnelled

BEGAN = 1_800_000_000.1239  # of the drafts; 1000.0 in monotonic time


def told(draft: Draft | ExchangeDraft, ended_at: float = 1002.0) -> list[tuple[str, float, float, bool]]:
    """Milliseconds since the connection's begin."""
    return [
        (stage.name, round(1e3 * (stage.began - BEGAN)), round(1e3 * (stage.ended - BEGAN)), stage.failed)
        for stage in stages_of(draft, ended_at)
    ]


def test_a_tunnel_went_through_all_of_them() -> None:
    draft = tunnelled()
    draft.asked_time, draft.opened_at = BEGAN + 0.001, 1000.1
    draft.dialled = replace(dialled(), dialled_at=1000.01, resolve_seconds=0.004, dial_seconds=0.020)
    assert told(draft) == [
        ("policy", 1, 6, False),
        ("dns", 6, 10, False),
        ("dial", 10, 30, False),
        ("tls", 30, 100, False),
        ("relay", 100, 2000, False),
    ]
    draft.requests = 3
    assert [name for name, *_ in told(draft)] == ["policy", "dns", "dial", "tls"]


def test_a_literal_has_no_names_and_tcp_no_tls() -> None:
    draft = tunnelled()
    draft.asked_time, draft.opening = BEGAN, None
    draft.dialled = replace(dialled(), dialled_at=1000.0, resolve_seconds=None, dial_seconds=0.5)
    assert [name for name, *_ in told(draft)] == ["policy", "dial", "relay"]


def test_the_stage_that_failed_lasted_to_the_end() -> None:
    refused = denied()
    refused.asked_time = BEGAN + 0.001
    assert told(refused, 1000.01) == [("policy", 1, 10, True)]
    for reason, name in ((Reason.DNS_TIMEOUT, "dns"), (Reason.CONNECTION_TIMEOUT, "dial")):
        draft = asked()
        draft.asked_time, draft.decision, draft.reason = BEGAN, permit_of(draft), reason
        assert told(draft, 1005.0) == [("policy", 0, 0, False), (name, 0, 5000, True)]


def test_nothing_is_told_of_what_nobody_noted() -> None:
    assert list(stages_of(accepted(), 1001.0)) == []
    draft = exchanged()
    draft.asked_time, draft.reused = BEGAN, True
    draft.dialled = replace(dialled(), dialled_at=900.0)
    assert list(stages_of(draft, 1001.0)) == []
    draft.reused, draft.dialled = False, dialled()
    assert list[Stage](stages_of(draft, 1001.0)) == []


def test_what_comes_after_the_dial_may_fail_as_well() -> None:
    for reason, opened_at, stage in (
        (Reason.SNI_DENIED, None, "tls"),
        (Reason.CLIENT_SILENT, None, "tls"),
        (Reason.SNI_MISMATCH, 1000.1, "relay"),  # in a second hello
        (Reason.IDLE_TIMEOUT, 1000.1, "relay"),
        (Reason.DRAINING, None, "relay"),  # of a tunnel whose first bytes nobody looked at
    ):
        draft = tunnelled()
        draft.asked_time, draft.opened_at, draft.reason = BEGAN, opened_at, reason
        draft.dialled = replace(dialled(), dialled_at=1000.0)
        assert [name for name, *_, failed in told(draft) if failed] == [stage]
        assert told(draft)[-1][0] == stage
    request = exchanged()
    request.asked_time, request.reason = BEGAN, Reason.RESPONSE_TIMEOUT
    request.dialled = replace(dialled(), dialled_at=1000.0)
    assert told(request)[-1][0::3] == ("relay", True)
