"""What other rooms would tell at a scrape."""

import os
from collections.abc import Iterator
from typing import NamedTuple

from gateway.telemetry.counters import Counters
from gateway.telemetry.dns import DnsReadings, QueryCounters
from gateway.telemetry.exposition.families import Family
from gateway.telemetry.limits import LimitReadings
from gateway.telemetry.metrics import Readings, Totals, of_serving

TOTALS = Totals(
    connections_accepted=8,
    connections_open=5,
    connections_lost=4,
    tunnels_open=3,
    records_written=11,
    records_lost=2,
    workers={0: os.getpid(), 1: 0},  # nobody has the process id 0
    workers_lost=12,
)
LIMITS = LimitReadings({("r.connections", "passed"): 4}, 1)


class _Counted(NamedTuple):
    counters: Counters
    dns: DnsReadings
    limits: LimitReadings = LIMITS


def sources(
    counters: Counters, last_reload_time: float | None = 1.8e9, queries: QueryCounters | None = None
) -> Readings:
    """`TOTALS`, generation 7, and a reload that failed."""
    return Readings(
        counted=lambda: _Counted(counters, _dns(queries)),
        totals=lambda: TOTALS,
        policy_generation=lambda: 7,
        reload_succeeded=lambda: False,
        last_reload_time=lambda: last_reload_time,
        reload_seconds=lambda: None if last_reload_time is None else 0.25,
        taken_time=lambda: 1.7e9,
        expiries=lambda: {"authority": 1.9e9},
        pods_age=lambda: 1.5,
    )


def process_families(counters: Counters) -> Iterator[Family]:
    """Of one process that has done the same."""
    return of_serving(_Counted(counters, _dns(None)), TOTALS, 7)


def _dns(queries: QueryCounters | None) -> DnsReadings:
    return DnsReadings({"hit": 9, "stale": 1}, 4, {"192.0.2.1:53": False}, queries or QueryCounters())
