"""Replacements come later and later, until the crew gives up."""

import errno

import pytest

from gateway.app.workers.crew import CrewFailed
from gateway.app.workers.restarts import SHORTAGE_SECONDS, RestartPolicy, Restarts

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


def test_what_the_machine_cannot_give_is_waited_for_and_what_is_not_there_is_a_failure() -> None:
    restarts = Restarts(POLICY)
    for number in [errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE] * 3:
        assert restarts.pause_without(0, OSError(number, "")) == SHORTAGE_SECONDS
    assert restarts.pause_without(0, OSError(errno.ENOENT, "")) == pytest.approx(0.1)
    assert restarts.pause_after(0, 1.0) == pytest.approx(0.2)
