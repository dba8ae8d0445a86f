"""What the script answers is read to the letter: whatever else may stand behind the URL."""

from math import inf

import pytest

from gateway.limits.replicas.script import Answer, DrawAnswer, read_answer
from gateway.limits.tables.table import StoreUnavailable


def test_an_answer_is_read() -> None:
    assert read_answer([1, 0, b"0", b"0.1", 3, 0, 0], 1) == Answer(True, -1, 0.0, [DrawAnswer(0.1, 3, False)])
    assert read_answer([0, 1, b"-1", b"2", 0, 1, 0], 1) == Answer(False, 0, inf, [DrawAnswer(2.0, 0, True)])


@pytest.mark.parametrize(
    "reply",
    [
        b"OK",
        None,
        1.5,
        [],
        [1, 0, b"0"],
        [1, 0, b"0", b"0.1", 0, 0],
        [1, 0, b"0", b"0.1", 0, 0, 0, b"0.1", 0, 0, 0],
        [1, 0, b"soon", b"0.1", 0, 0, 0],
        [0, 0, b"1", b"0.1", 0, 1, 0],
        [0, 2, b"1", b"0.1", 0, 1, 0],
        [1, 0, b"0", [], 0, 0, 0],
    ],
)
def test_what_is_none_is_no_answer(reply: object) -> None:
    with pytest.raises(StoreUnavailable):
        read_answer(reply, 1)  # type: ignore[arg-type]  # that is the point
