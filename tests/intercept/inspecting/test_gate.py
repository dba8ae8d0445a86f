"""What may leave, and when: content waits for the slowest of its inspectors."""

import asyncio
import gzip
from collections.abc import Callable
from random import Random

from gateway.intercept.inspecting.decoding import PIECE, DecodingBounds, open_decoder
from gateway.intercept.inspecting.gate import AHEAD, MOST, PIECES_AHEAD, SMALL, TURN, ContentGate, Reader
from gateway.intercept.inspectors import ALLOW, DONE, Answer, hold
from gateway.model.inspection.watching import FULL
from tests.intercept.shipped.test_secrets import Beyond

BOUNDS = DecodingBounds(1 << 26, 100)
NOISE = Random(7).randbytes(3 * FULL // 2)


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


class Prompt:
    """An inspector that lets everything pass at once."""

    size = 0

    def __call__(self, method: str, shown: object, answered: Callable[[Answer | None], None]) -> None:
        self.size += len(shown) if isinstance(shown, bytes) else 0
        answered(ALLOW)


def gate_of(*slow: Slow | Prompt, codings: str = "", objections: list[str] | None = None) -> tuple[ContentGate, Beyond]:
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


def much() -> tuple[bytes, bytes]:
    """Text of three turns, and the same in a coding."""
    text = b"".join(b"%07d " % number for number in range(3 * TURN // 8))
    coded = gzip.compress(text, 1)
    assert len(coded) * 100 > len(text)
    return text, coded


async def test_much_that_is_decoded_lets_the_loop_have_its_turns() -> None:
    prompt = Prompt()
    gate, beyond = gate_of(prompt, codings="gzip")
    text, coded = much()
    gate.feed(coded)
    gate.finish()
    assert TURN <= prompt.size < TURN + 128 * 1024
    turns = 0
    while not gate.has_ended:
        await asyncio.sleep(0)
        turns += 1
    assert 2 <= turns < 20
    assert (prompt.size, beyond.got) == (len(text), coded)


async def test_no_more_is_decoded_than_inspectors_keep_up_with() -> None:
    slow, prompt = Slow(), Prompt()
    gate, beyond = gate_of(slow, prompt, codings="gzip")
    text, coded = much()
    gate.feed(coded[:-9])
    gate.feed(coded[-9:])
    gate.finish()
    for _ in range(5):
        await asyncio.sleep(0)
    assert AHEAD < prompt.size <= AHEAD + PIECE
    assert gate.is_full
    for _ in range(len(text)):
        if gate.has_ended:
            break
        slow.answer()
        unanswered = slow.shown[len(slow.shown) - len(slow.waiting) :]
        assert sum(len(each) for each in unanswered if isinstance(each, bytes)) <= AHEAD + PIECE
        await asyncio.sleep(0)
    assert (prompt.size, beyond.got, gate.is_full) == (len(text), coded, False)


async def test_a_piece_that_is_held_back_for_its_last_bytes_does_not_keep_from_coming_what_would_free_it() -> None:
    slow = Slow()
    gate, beyond = gate_of(slow, codings="gzip")
    coded = gzip.compress(NOISE)
    gate.feed(coded[: FULL + 1])
    assert gate.is_full
    while slow.waiting:
        slow.answer(hold(4))
    assert (beyond.got, gate.is_full) == (b"", False)
    gate.feed(coded[FULL + 1 :])
    while slow.waiting:
        slow.answer(hold(4))
    assert beyond.got == coded[: FULL + 1]
    gate.finish()
    slow.answer()
    assert (beyond.got, beyond.is_whole) == (coded, True)


async def test_what_is_held_back_is_bounded() -> None:
    slow, objections = Slow(), list[str]()
    gate, beyond = gate_of(slow, objections=objections)
    while not objections and gate.waiting <= MOST:
        gate.feed(NOISE)
        slow.answer(hold(1 << 40))
        assert not gate.is_full
    assert objections == [f"more than {MOST} bytes are held back until more comes"]
    assert beyond.got == b""


async def test_what_cannot_be_decoded_is_objected_to() -> None:
    objections: list[str] = []
    gate, beyond = gate_of(Slow(), codings="gzip", objections=objections)
    gate.feed(b"no gzip")
    assert objections == ["its coding is broken"]
    assert beyond.got == b""


async def test_bytes_that_come_one_by_one_cost_no_more_than_pieces() -> None:
    """A stream of HTTP/2 has room for 131,072 of them, a question and an object each."""
    slow = Slow()
    gate, beyond = gate_of(slow)
    content = Random(7).randbytes(FULL)
    for place in range(FULL):
        gate.feed(content[place : place + 1])
    assert len(slow.waiting) == PIECES_AHEAD
    assert len(gate._queue) <= PIECES_AHEAD + 2 + FULL // SMALL
    gate.finish()
    while slow.waiting:
        slow.answer()
    assert (beyond.got, beyond.is_whole) == (content, True)
    assert len(slow.shown) <= PIECES_AHEAD + 3 + FULL // SMALL
