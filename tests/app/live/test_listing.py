"""Operators see what is relayed, and can end one of it; and who holds how many connections."""

import time

from gateway.app.live.admission import Admission, Ceiling
from gateway.app.live.listing import FULLEST, SLICE, close_tunnel, list_bounds, list_tunnels
from gateway.model.addresses import Address
from gateway.model.reasons import Reason
from gateway.net.kernel.descriptors import Descriptors
from tests.app.live.test_reevaluation import open_tunnel
from tests.telemetry.drafts import asked, permit_of


async def test_what_is_being_relayed_is_listed_with_its_facts() -> None:
    draft, _ = open_tunnel("x.test:8443")
    draft.decision = permit_of(draft)
    draft.transfer.bytes_up, draft.transfer.bytes_down = 5, 7
    [shown] = await list_tunnels(lambda: [asked("c-9"), draft], now=1012.3456)
    assert (shown.connection_id, shown.client, shown.host, shown.port) == ("c-0", "10.0.0.1", "x.test", 8443)
    assert (shown.rule, shown.generation, shown.age_seconds) == ("policy.yaml#stripe", 1, 12.346)
    assert (shown.bytes_up, shown.bytes_down, shown.user) == (5, 7, None)


async def test_many_are_listed_in_the_order_in_which_they_came() -> None:
    drafts = [open_tunnel(number=number)[0] for number in range(2 * SLICE)]
    for draft in drafts:
        draft.decision = permit_of(draft)
    found = await list_tunnels(lambda: drafts, now=1000.0)
    assert [one.connection_id for one in found] == [draft.connection_id for draft in drafts]


def test_one_is_closed_by_its_id_and_what_is_no_tunnel_cannot_be() -> None:
    draft, tunnel = open_tunnel()
    assert not close_tunnel(lambda: [draft], "c-1")
    assert not close_tunnel(lambda: [asked("c-0")], "c-0")
    assert close_tunnel(lambda: [draft], "c-0")
    assert tunnel.cut_for is Reason.CLOSED_BY_OPERATOR


def test_bounds_are_shown_like_limits_in_total_and_of_those_who_hold_most() -> None:
    doorman = Admission(Ceiling(100, 40), Descriptors(), lambda: False, time.monotonic)
    for number in range(FULLEST + 1):
        for _ in range(1 if number else 40):
            assert doorman.admit(Address(4, number)) is None
    assert doorman.admit(Address(4, 0)) is Reason.TOO_MANY_TUNNELS_OF_CLIENT
    total, fullest, *others = list_bounds(doorman)
    assert (total.limit, total.key, total.rate, total.left, total.used) == ("bounds.tunnels", (), 100, 40, 0.6)
    assert (fullest.limit, fullest.key) == ("bounds.tunnels_per_client", ("0.0.0.0",))
    assert (fullest.counts, fullest.rate, fullest.left, fullest.used) == ("concurrent", 40, 0, 1.0)
    assert (total.refused, fullest.refused) == (0, 1)
    assert len(others) == FULLEST - 1
