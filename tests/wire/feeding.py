"""The property that every parser of a stream keeps: how a message is cut into segments changes nothing."""

from collections.abc import Callable

from hypothesis import Phase, settings

Parser = Callable[[bytes], object]

UNSHRUNK = settings(phases=[Phase.generate], report_multiple_bugs=False)
"""For a planted fault: that it is found is enough, its smallest example interests nobody."""


def check_every_prefix_waits(parse: Parser, message: bytes) -> None:
    """No prefix is malformed or enough, the whole is, and what follows it changes nothing."""
    whole = parse(message)
    assert whole is not None
    for size in range(len(message)):
        assert parse(message[:size]) is None, f"an answer after {size} of {len(message)} bytes"
    assert parse(message + b"\x17 what follows\r\n\r\n") == whole


def check_the_first_answer_stands(parse: Parser, message: bytes) -> None:
    """For a parser that may know before the end: it waits, then answers, and never changes its mind."""
    answers = [parse(message[:size]) for size in range(len(message) + 1)]
    whole = answers[-1]
    assert whole is not None
    settled = next(size for size, answer in enumerate(answers) if answer is not None)
    assert all(answer == whole for answer in answers[settled:])
