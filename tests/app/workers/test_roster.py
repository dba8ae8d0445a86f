"""Counts of workers that come and go: together they only grow."""

from typing import Any

import pytest

from gateway.app.live.snapshot import Snapshot
from gateway.app.workers import roster
from gateway.app.workers.roster import Roster
from gateway.telemetry.counters import Counters
from gateway.telemetry.ledger import Ledger

LIMIT = 3


class FakeMember:
    """A worker that met these rules, in that order, and told apart as many as it may."""

    fault = ""
    was_told_to_end = False

    def __init__(self, *rules: str) -> None:
        self.ledger = Ledger.alone()
        counters = Counters(LIMIT)
        state = counters.state()
        counters.add({**state, "connections": [[rule, "deny", "no_rule", 5] for rule in rules]})
        self.snapshot = Snapshot(counters)


def test_no_count_goes_back_when_workers_end_that_told_other_rules_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster, "MOST_SERIES", 10 * LIMIT)
    first: Any = FakeMember(*"abcd")
    second: Any = FakeMember(*"efgh")
    known = Roster().with_one_more(first).with_one_more(second)
    counted = known.snapshot().counters.connections
    assert sum(counted.values()) == 40
    for gone in (second, first):
        known = known.without(gone)
        assert known.snapshot().counters.connections == counted
