"""The short form of `make soak`, and that it would notice."""

from dataclasses import replace

from gateway.exchange.upstream import IDLE_FOR_ONE_KEY
from tests.faults.soak import complaints, soak
from tests.faults.visits import WEB_NAMES

GROWTH = 0.3
"""In the first seconds memory still fills: caches, pools of the allocator."""


def test_nothing_grows_in_a_few_seconds_and_what_grew_would_be_told() -> None:
    soaked = soak(4.0, rests=2, still=1.0)
    kept = IDLE_FOR_ONE_KEY * WEB_NAMES
    assert complaints(soaked, GROWTH, kept) == []
    last = soaked.samples[-1]
    soaked.samples.append(
        replace(
            last,
            descriptors=last.descriptors + kept + 200,
            tasks=last.tasks + 9,
            rss=last.rss * 2,
            connections=last.connections + 100,
            garbage=900,
        )
    )
    soaked.gateway.stderr_lines.append("ResourceWarning: unclosed socket")
    assert [line.partition(":")[0] for line in complaints(soaked, GROWTH, kept)] == [
        "ResourceWarning",
        "descriptors",
        "tasks",
        "RSS",
        "cycles",
    ]
