"""The suite is not blind: the open proxy that is shipped with it keeps none of its cases but the controls."""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.abuse.case import Need, Stage
from tests.abuse.complaint import Kind
from tests.abuse.open_proxy import OpenProxy
from tests.abuse.suite import CASES, run
from tests.abuse.world import World

ATTACKS = [case for case in CASES if not case.is_control]
EVERY = int(os.environ.get("ABUSE_EVERY", "10"))
"""Of the attacks, every so many-th is played against the open proxy: `make abuse` plays them all."""
IMPATIENT = 3.0 if EVERY == 1 else 1.0
"""Seconds that it gets: what it does, it does at once, and the rest it never does."""
WORLDS = 16 if EVERY == 1 else 8


@pytest.mark.timeout(900)
def test_an_open_proxy_keeps_none_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    with ThreadPoolExecutor(WORLDS) as threads:
        kept = [name for names in threads.map(_kept_by_an_open_proxy, range(WORLDS)) for name in names]
    with capsys.disabled():
        counts = dict(Counter(case.family for case in ATTACKS))
        print(f"\n{len(ATTACKS)} attacks and {len(CASES) - len(ATTACKS)} controls: {counts}")
    assert kept == []


def _kept_by_an_open_proxy(number: int) -> list[str]:
    """Every so many-th attack, on a world of its own. That others were not served would be no proof."""
    with World() as world, OpenProxy((world.dns.address, world.dns.port)) as proxy:
        stage = Stage(("127.0.0.1", proxy.port), world, ("127.0.0.1", proxy.admin_port), IMPATIENT)
        outcomes = list(run(ATTACKS[::EVERY][number::WORLDS], stage, frozenset(Need)))
    return [each.case.id for each in outcomes if all(kind is Kind.HEALTH for kind, _ in each.complaints)]
