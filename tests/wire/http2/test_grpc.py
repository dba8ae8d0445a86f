"""What gRPC is told."""

import pytest

from gateway.model.decision import Deny
from gateway.model.errors import GatewayError, InternalError, Refused, UpstreamError
from gateway.model.limits.limit import Retry
from gateway.model.reasons import Reason
from gateway.wire.http.messages import NO_CONTENT, Request
from gateway.wire.http2.grpc import grpc_answer, is_grpc
from gateway.wire.replies import answer_to


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Refused(Deny(Reason.REQUEST_DENIED, 1)), "7"),
        (Refused(Deny(Reason.HOST_MISMATCH, 1)), "7"),
        (Refused(Deny(Reason.LIMIT_EXCEEDED, 1)), "8"),
        (UpstreamError(Reason.CONNECTION_REFUSED), "14"),
        (UpstreamError(Reason.RESPONSE_TIMEOUT), "14"),
        (InternalError(Reason.DRAINING), "14"),
        (InternalError(Reason.INTERNAL_ERROR), "13"),
    ],
)
def test_each_family_of_refusals_has_a_status_of_grpc(error: GatewayError, status: str) -> None:
    told = dict(grpc_answer(answer_to(error, "gw", "id-1")))
    assert (told[":status"], told["grpc-status"], told["content-type"]) == ("200", status, "application/grpc")
    assert str(error.reason) in told["grpc-message"]


def test_a_limit_says_when_to_come_again() -> None:
    told = dict(grpc_answer(answer_to(Refused(Deny(Reason.LIMIT_EXCEEDED, 1), Retry(2.5)), "gw", "id-1")))
    assert (told["retry-after"], told["grpc-retry-pushback-ms"]) == ("3", "3000")


@pytest.mark.parametrize(
    ("media_type", "is_one"),
    [("application/grpc", True), ("application/grpc+proto", True), ("application/grpcx", False), ("text/plain", False)],
)
def test_its_clients_are_known_by_their_content_type(media_type: str, is_one: bool) -> None:
    assert is_grpc(Request("POST", "/", 1, (("content-type", media_type),), NO_CONTENT)) is is_one
