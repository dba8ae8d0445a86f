"""The bytes of one lease: which buckets they are drawn from, in which pieces, and what follows when one lacks."""

from math import inf

import pytest

from gateway.limits.meter import LARGEST_PIECE, LEAST_PIECE, BytesMeter, BytesPace, meter_for
from gateway.limits.store import TableStore
from gateway.limits.tables.memory import MemoryTable
from gateway.limits.tally import Tally
from gateway.model.decision import Terms
from gateway.model.limits.limit import Counted, Direction, KeyPart, Limit
from gateway.policy.buckets import BucketId, Draw
from gateway.policy.rules import Group, Match
from tests.limits.permits import client_at, permit_under
from tests.net.parts import ManualClock

SLOW = Limit("slow", Counted.BANDWIDTH, rate=100_000.0, burst=5_000.0)
DAY = Limit("day", Counted.BYTES, rate=10_000.0, period=86400.0)


class Bed:
    """One lease's meter, and the table that it draws from."""

    def __init__(self, *limits: Limit) -> None:
        self.clock = ManualClock()
        self.clock.now = 20_000 * 86400.0 + 43_200.0
        self.store = TableStore(MemoryTable(), self.clock)
        self.tally = Tally()
        permit = permit_under(Terms(limits=limits))
        self.meter = meter_for(permit, client_at(), self.store, self.tally)

    @property
    def up(self) -> BytesPace:
        assert self.meter is not None
        assert self.meter.up is not None
        return self.meter.up

    @property
    def down(self) -> BytesPace:
        assert self.meter is not None
        assert self.meter.down is not None
        return self.meter.down

    def spent(self) -> dict[BucketId, float]:
        return {bucket: state[1] for bucket, state in self.store.listed()}


def test_nothing_is_metered_where_no_limit_speaks_of_bytes() -> None:
    rate = Limit("r", Counted.CONNECTIONS, 1.0)
    assert Bed(rate).meter is None
    assert Bed().meter is None


@pytest.mark.parametrize("limit", [SLOW, DAY])
def test_a_limit_holds_for_its_own_direction_and_one_of_both_for_their_sum(limit: Limit) -> None:
    both = Bed(limit)
    assert both.up is both.down
    up = Bed(limit._replace(direction=Direction.UP)).meter
    down = Bed(limit._replace(direction=Direction.DOWN)).meter
    assert isinstance(up, BytesMeter)
    assert isinstance(down, BytesMeter)
    assert [pace is None for pace in (up.up, up.down, down.up, down.down)] == [False, True, True, False]


def test_each_direction_is_drawn_from_its_own_buckets() -> None:
    bed = Bed(DAY._replace(name="up", direction=Direction.UP), DAY._replace(name="down", direction=Direction.DOWN))
    bed.up.spend(300)
    bed.down.spend(500)
    assert bed.spent() == {("up", ()): 300.0, ("down", ()): 500.0}


def test_bandwidth_makes_who_reads_wait_out_what_was_read_too_much() -> None:
    bed = Bed(SLOW)
    assert bed.up.piece == 5_000
    assert bed.up.spend(5_000) == pytest.approx(1e-5, abs=1e-6)  # until one byte more is there
    assert bed.up.spend(10_000) == pytest.approx(0.1, abs=0.001)
    bed.clock.advance(0.2)
    assert bed.up.spend(2_000) == 0
    assert dict(bed.tally.counts) == {("slow", "waited"): 2}


def test_small_amounts_of_bandwidth_are_drawn_together() -> None:
    bed = Bed(SLOW)  # a quarter of a piece may be owed
    assert bed.up.spend(1_250) == 0
    assert list(bed.store.listed()) == []
    assert bed.up.spend(4_000) > 0
    assert len(list(bed.store.listed())) == 1
    assert bed.up.settle() > 0
    bed.clock.advance(1.0)
    assert bed.up.settle() == 0


def test_a_budget_that_is_spent_ends_it_for_good() -> None:
    bed = Bed(DAY)
    assert bed.up.spend(9_000) == 0
    assert bed.up.spend(999) == 0
    assert bed.up.spend(10) == inf
    bed.clock.advance(3600.0)
    assert bed.up.spend(10) == inf
    assert bed.spent() == {("day", ()): 10_019.0}


def test_a_spent_budget_refuses_what_ends_because_of_it_and_the_end_of_a_lease_is_no_refusal() -> None:
    bed = Bed(DAY._replace(key=(KeyPart.HOST,)))
    assert bed.up.spend(10_000) == inf
    assert bed.up.spend(10) == inf  # under way when it was cut
    retry = bed.up.refuse()
    assert bed.meter is not None
    bed.meter.close()
    assert retry.limit is not None
    assert (retry.after, retry.limit.name) == (43_200.0, "day")
    assert dict(bed.tally.counts) == {("day", "refused"): 1}
    assert bed.tally.refused == {("day", ("api.example.com",)): 1}


def test_of_a_budget_next_to_nothing_is_drawn_later() -> None:
    bed = Bed(DAY._replace(rate=1024.0))
    assert bed.up.spend(1) == 0
    assert bed.spent() == {}
    bed.up.spend(1)
    assert bed.spent() == {("day", ()): 2.0}


def test_the_longest_wait_counts_and_a_spent_budget_outlasts_them_all() -> None:
    slower = SLOW._replace(name="slower", rate=50_000.0)
    assert Bed(SLOW, slower).up.spend(10_000) == pytest.approx(0.1, abs=0.001)
    assert Bed(SLOW, DAY).up.spend(10_001) == inf


def test_in_report_mode_nothing_waits_and_nothing_ends() -> None:
    bed = Bed(SLOW._replace(report=True), DAY._replace(report=True))
    assert bed.up.spend(20_000) == 0
    assert dict(bed.tally.counts) == {("slow", "would_refuse"): 1, ("day", "would_refuse"): 1}


@pytest.mark.parametrize(
    ("rate", "piece"),
    [(1.0, LEAST_PIECE), (1_000_000.0, 50_000), (1e12, LARGEST_PIECE)],
)
def test_a_piece_is_what_bandwidth_gives_in_a_twentieth_of_a_second_within_bounds(rate: float, piece: int) -> None:
    assert Bed(SLOW._replace(rate=rate)).up.piece == piece
    assert Bed(SLOW._replace(rate=rate), DAY).up.piece == piece
    assert Bed(DAY).up.piece == LARGEST_PIECE


def test_what_a_lease_still_owes_is_drawn_at_its_end_once_for_each_direction() -> None:
    up, down = DAY._replace(name="up", direction=Direction.UP), DAY._replace(name="down", direction=Direction.DOWN)
    for bed, spent in ((Bed(up, down), {("up", ()): 5.0, ("down", ()): 6.0}), (Bed(DAY), {("day", ()): 11.0})):
        bed.up.spend(5)
        if bed.down is not bed.up:
            bed.down.spend(6)
        else:
            bed.up.spend(6)
        assert bed.meter is not None
        bed.meter.close()
        assert bed.spent() == spent
        bed.meter.close()
        assert bed.spent() == spent


def test_a_quota_by_group_that_the_rule_and_the_group_use_is_drawn_from_once() -> None:
    quota = DAY._replace(key=(KeyPart.GROUP,))
    group = Group("a", (Match(user="ci"),), limits=(quota,))
    client = client_at(user="ci")
    clock = ManualClock()
    clock.now = 20_000 * 86400.0
    store = TableStore(MemoryTable(), clock)
    meter = meter_for(permit_under(Terms(limits=(quota,)), client, (group,)), client, store, Tally())
    assert meter is not None
    assert meter.up is not None
    meter.up.spend(100)
    assert [state for _, state in store.listed()] == [(20_000 * 86400.0, 100.0)]


def test_a_bucket_that_cannot_be_asked_is_waited_for_and_not_passed_by() -> None:
    store = TableStore(MemoryTable(keys=1), ManualClock())
    store.spend(Draw(SLOW, ("another",), 50_000.0))
    assert BytesPace([Draw(SLOW, ("mine",))], store, Tally()).spend(5_000) > 0


def test_what_is_drawn_at_the_end_is_no_wait() -> None:
    bed = Bed(SLOW)
    assert bed.up.spend(20_000) > 0
    assert bed.up.spend(1) == 0  # too little to be drawn at once
    assert bed.meter is not None
    bed.meter.close()
    assert dict(bed.tally.counts) == {("slow", "waited"): 1}
