"""Which failures of exchanges count for a destination's breaker."""

from dataclasses import replace
from typing import cast

import pytest

from gateway.exchange.pacing.health import note_failure
from gateway.exchange.upstream import UpstreamSide
from gateway.model.addresses import Address
from gateway.model.decision import Permit
from gateway.model.errors import DownstreamError, GatewayError, UpstreamError
from gateway.model.limits.limit import Breaker
from gateway.model.reasons import Reason
from gateway.model.record import Dialled
from gateway.model.roles import Breakers
from tests.policy.builders import address, ask, build, permitted, rule


class Told:
    """Fulfils `Breakers` as far as answers are told, and `UpstreamSide` as far as it is asked here."""

    dialled = Dialled(address("192.0.2.1"), (), (), None, 0.0)

    def __init__(self, is_reused: bool) -> None:
        self.is_reused = is_reused
        self.answers: list[bool] = []
        self.is_retired = False

    def answered(self, permit: Permit, address: Address, well: bool) -> None:
        self.answers.append(well)

    def retire(self) -> None:
        self.is_retired = True


@pytest.mark.parametrize(
    ("failure", "is_reused", "counts"),
    [
        (UpstreamError(Reason.CONNECTION_TERMINATED), False, True),
        (UpstreamError(Reason.CONNECTION_TERMINATED), True, False),
        (UpstreamError(Reason.RESPONSE_TIMEOUT), True, True),
        (UpstreamError(Reason.MALFORMED_RESPONSE), False, False),
        (DownstreamError(Reason.CLIENT_CLOSED), False, False),
    ],
)
def test_no_answer_counts_unless_a_kept_connection_has_ended(
    failure: GatewayError, is_reused: bool, counts: bool
) -> None:
    permit = permitted(ask(build(rule("a", "a.test")), "a.test:443"))
    permit = replace(permit, terms=replace(permit.terms, breaker=Breaker(failures=1, window=1.0, open=1.0)))
    told = Told(is_reused)
    note_failure(cast("Breakers", told), permit, cast("UpstreamSide", told), failure)
    assert (told.answers, told.is_retired) == ([False] if counts else [], counts)
