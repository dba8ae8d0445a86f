"""The short form of `make fuzz`: all that was kept is run again, whole and damaged, and planted faults are found."""

from collections.abc import Sequence
from random import Random

import pytest
import yaml

from tests.fuzz import corpus
from tests.fuzz.targets import PLANTED, TARGETS, Run

DAMAGED = 12
"""Times that each input is run with something changed."""


def damaged(data: bytes, chance: Random) -> bytes:
    """A byte changed, a piece repeated, or an end cut off."""
    at = chance.randrange(len(data) + 1)
    match chance.randrange(4):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + data[max(0, at - chance.randrange(40)) :]
        case 2:
            return (
                data[:at] + bytes((chance.choice((0, 10, 13, 32, 127, 255, chance.randrange(256))),)) + data[at + 1 :]
            )
        case _:
            return data[:at] + data[at + 1 + chance.randrange(4) :]


def replay(run: Run, inputs: Sequence[bytes]) -> None:
    chance = Random(11)
    for data in inputs:
        run(data)
        for _ in range(DAMAGED):
            run(damaged(data, chance))


@pytest.mark.parametrize("target", TARGETS)
def test_what_was_kept_breaks_no_law(target: str) -> None:
    inputs = corpus.load(target)
    assert len(inputs) >= 8
    assert max(map(len, inputs)) <= 8192
    replay(TARGETS[target], inputs)


@pytest.mark.parametrize("target", PLANTED)
def test_a_planted_fault_is_found(target: str) -> None:
    with pytest.raises((AssertionError, yaml.YAMLError)):
        replay(PLANTED[target], corpus.load(target))
