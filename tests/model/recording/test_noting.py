"""Whose side an error is tells how what it ended is recorded."""

import pytest

from gateway.model.decision import Deny
from gateway.model.errors import DownstreamError, GatewayError, InternalError, Refused, UpstreamError
from gateway.model.reasons import Reason
from gateway.model.record import Ended, Side
from gateway.model.recording.noting import note
from tests.telemetry.drafts import accepted, denied


@pytest.mark.parametrize(
    ("error", "ended", "by"),
    [
        (DownstreamError(Reason.MALFORMED_REQUEST), Ended.FAILED, Side.DOWNSTREAM),
        (DownstreamError(Reason.HEAD_TIMEOUT), Ended.TIMEOUT, Side.DOWNSTREAM),
        (DownstreamError(Reason.CLIENT_CLOSED), Ended.CLOSED, Side.DOWNSTREAM),
        (DownstreamError(Reason.DOWNSTREAM_RESET), Ended.RESET, Side.DOWNSTREAM),
        (DownstreamError(Reason.CREDENTIALS_INVALID), Ended.REFUSED, Side.DOWNSTREAM),
        (UpstreamError(Reason.CONNECTION_REFUSED), Ended.FAILED, Side.UPSTREAM),
        (UpstreamError(Reason.UPSTREAM_RESET), Ended.FAILED, Side.UPSTREAM),
        (UpstreamError(Reason.RESPONSE_TIMEOUT), Ended.TIMEOUT, Side.UPSTREAM),
        (UpstreamError(Reason.CONNECTION_TIMEOUT), Ended.TIMEOUT, Side.UPSTREAM),
        (UpstreamError(Reason.DNS_TIMEOUT), Ended.TIMEOUT, Side.UPSTREAM),
        (InternalError(Reason.DRAINING), Ended.FAILED, Side.GATEWAY),
        (InternalError(Reason.IDLE_TIMEOUT), Ended.TIMEOUT, Side.GATEWAY),
    ],
)
def test_an_error_is_of_the_side_that_it_names(error: GatewayError, ended: Ended, by: Side) -> None:
    draft = accepted()
    note(error, draft)
    assert (draft.reason, draft.transfer.ended, draft.transfer.ended_by) == (error.reason, ended, by)


def test_what_is_reset_within_its_answer_is_recorded_as_reset() -> None:
    draft = accepted()
    draft.status = 101
    note(UpstreamError(Reason.UPSTREAM_RESET), draft)
    assert (draft.transfer.ended, draft.transfer.ended_by) == (Ended.RESET, Side.UPSTREAM)


def test_a_refusal_takes_the_place_of_the_verdict_before_it() -> None:
    draft, denial = accepted(), denied().decision
    assert isinstance(denial, Deny)
    note(Refused(denial), draft)
    assert draft.decision is denial
    assert (draft.transfer.ended, draft.transfer.ended_by) == (Ended.REFUSED, Side.GATEWAY)
