"""Replacements come later and later, until the crew gives up."""

import pytest

from gateway.app.workers.crew import CrewFailed
from gateway.app.workers.restarts import RestartPolicy, Restarts

POLICY = RestartPolicy(healthy=30.0, failures=3, pause=0.1)


def test_the_pause_doubles_with_every_failure_in_a_row_until_the_crew_gives_up() -> None:
    restarts = Restarts(POLICY)
    assert [restarts.pause_after(0, 1.0) for _ in range(3)] == pytest.approx([0.1, 0.2, 0.4])
    with pytest.raises(CrewFailed, match=r"^worker 0 failed 4 times in a row, the last one after 1\.5 s$"):
        restarts.pause_after(0, 1.5)


def test_one_that_was_healthy_ends_the_row() -> None:
    restarts = Restarts(POLICY)
    assert [restarts.pause_after(0, lived) for lived in (1.0, 1.0, 31.0, 1.0)] == pytest.approx([0.1, 0.2, 0.1, 0.2])


def test_places_have_nothing_to_do_with_each_other() -> None:
    restarts = Restarts(POLICY)
    assert [restarts.pause_after(index, 0.0) for index in (0, 1, 0)] == pytest.approx([0.1, 0.1, 0.2])
