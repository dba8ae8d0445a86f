import signal
import socket

import pytest

from gateway.intercept.hosted import child
from gateway.intercept.hosted.frames import CLOSE, DROP, Question
from gateway.intercept.inspectors import Inspector


def _nobody() -> Inspector:
    raise AssertionError("nothing is to be examined")


@pytest.mark.parametrize("when", ["before", "after"])
def test_nothing_is_kept_of_a_session_that_was_closed(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway may drop a question whose answer is on its way already."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        serving = child._Serving(theirs)
        asked = [Question(7, "request_end", None), Question(7, CLOSE, None)]
        asked.insert(1 if when == "before" else 2, Question(7, DROP, None))
        for batch in (asked[:2], asked[2:]):
            foreseen = [serving.foresee(question) for question in batch]
            for question in foreseen:
                serving.answer(question, _nobody)
        assert not serving._over | serving._asked
