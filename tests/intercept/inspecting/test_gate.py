"""What may leave, and when: content waits for the slowest of its inspectors."""

import asyncio
import gzip
from collections.abc import Callable

from gateway.intercept.inspecting.decoding import Bounds, open_decoder
from gateway.intercept.inspecting.gate import TURN, ContentGate, Reader
from gateway.intercept.inspectors import ALLOW, DONE, Answer, hold
from tests.intercept.shipped.test_secrets import Beyond

BOUNDS = Bounds(1 << 26, 100)


class Slow:
    """An inspector that answers when the test says so."""

    def __init__(self) -> None:
        self.shown: list[object] = []
        self.waiting: list[Callable[[Answer | None], None]] = []

    def __call__(self, method: str, shown: object, answered: Callable[[Answer | None], None]) -> None:
        self.shown.append(shown)
        self.waiting.append(answered)

    def answer(self, answer: Answer | None = ALLOW) -> None:
        self.waiting.pop(0)(answer)


def gate_of(*slow: Slow, codings: str = "", objections: list[str] | None = None) -> tuple[ContentGate, Beyond]:
    readers = [Reader(each, "request") for each in slow]
    said: list[str] = [] if objections is None else objections
    gate = ContentGate(readers, open_decoder([codings], BOUNDS), said.append, lambda: None)
    beyond = Beyond()
    gate.open_to(beyond)
    return gate, beyond


async def test_content_leaves_once_the_slowest_has_answered() -> None:
    one, two = Slow(), Slow()
    gate, beyond = gate_of(one, two)
    gate.feed(b"abc")
    gate.feed(b"def")
    one.answer()
    one.answer()
    assert (beyond.got, gate.waiting) == (b"", 6)
    two.answer()
    assert (beyond.got, gate.waiting) == (b"abc", 3)
    two.answer()
    gate.finish()
    one.answer()
    assert (beyond.got, beyond.is_whole) == (b"abcdef", False)
    two.answer()
    assert (beyond.is_whole, gate.has_ended) == (True, True)


async def test_what_is_held_back_leaves_with_a_later_answer() -> None:
    slow = Slow()
    gate, beyond = gate_of(slow)
    gate.feed(b"abcdef")
    slow.answer(hold(2))
    assert beyond.got == b"abcd"
    gate.feed(b"g")
    slow.answer(hold(1))
    assert beyond.got == b"abcdef"
    slow.waiting.clear()
    gate.finish()
    slow.answer(None)
    assert (beyond.got, beyond.is_whole) == (b"abcdefg", True)


async def test_an_end_that_is_answered_early_lets_go_of_nothing_unanswered() -> None:
    """As that of an inspector which has no `request_end`."""
    slow = Slow()
    gate, beyond = gate_of(slow)
    gate.feed(b"abc")
    gate.finish()
    slow.waiting.pop()(None)
    assert (beyond.got, beyond.is_whole) == (b"", False)
    slow.answer()
    assert (beyond.got, beyond.is_whole) == (b"abc", True)


async def test_who_has_seen_enough_is_shown_no_more() -> None:
    slow = Slow()
    gate, beyond = gate_of(slow)
    gate.feed(b"abc")
    slow.answer(DONE)
    gate.feed(b"def")
    gate.finish()
    assert slow.shown == [b"abc"]
    assert (beyond.got, beyond.is_whole) == (b"abcdef", True)


async def test_coded_content_leaves_as_it_was_sent_once_what_it_says_was_judged() -> None:
    slow = Slow()
    gate, beyond = gate_of(slow, codings="gzip")
    coded = gzip.compress(b"x" * 10 + bytes(range(256)) * 20)
    gate.feed(coded[:100])
    gate.feed(coded[100:])
    while len(slow.waiting) > 1:
        slow.answer()
    assert beyond.got != coded
    slow.answer()
    assert beyond.got == coded
    assert b"".join(each for each in slow.shown if isinstance(each, bytes)) == gzip.decompress(coded)


async def test_nothing_leaves_a_gate_that_is_shut() -> None:
    slow = Slow()
    gate, beyond = gate_of(slow)
    gate.feed(b"abc")
    gate.shut()
    slow.answer()
    gate.feed(b"def")
    gate.finish()
    assert (beyond.got, beyond.is_whole, gate.waiting) == (b"", False, 0)


async def test_one_that_is_left_open_lets_everything_pass() -> None:
    slow = Slow()
    gate, beyond = gate_of(slow)
    gate.feed(b"abc")
    gate.leave_open()
    gate.feed(b"def")
    gate.finish()
    assert (beyond.got, beyond.is_whole) == (b"abcdef", True)


async def test_much_that_is_decoded_lets_the_loop_have_its_turns() -> None:
    slow = Slow()
    gate, beyond = gate_of(slow, codings="gzip")
    text = b"".join(b"%07d " % number for number in range(3 * TURN // 8))
    coded = gzip.compress(text, 1)
    assert len(coded) * 100 > len(text)
    gate.feed(coded)
    gate.finish()
    first = sum(len(each) for each in slow.shown if isinstance(each, bytes))
    assert TURN <= first < TURN + 128 * 1024
    turns = 0
    while not gate.has_ended:
        while slow.waiting:
            slow.answer()
        await asyncio.sleep(0)
        turns += 1
    assert 2 <= turns < 20
    assert beyond.got == coded


async def test_what_cannot_be_decoded_is_objected_to() -> None:
    objections: list[str] = []
    gate, beyond = gate_of(Slow(), codings="gzip", objections=objections)
    gate.feed(b"no gzip")
    assert objections == ["its coding is broken"]
    assert beyond.got == b""
