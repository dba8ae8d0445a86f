"""What goes between the gateway and the process of an inspector, and what of it is believed."""

from typing import cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.intercept.hosted.frames import (
    MAX_REPLY,
    Broken,
    Frames,
    Question,
    encode_answer,
    encode_frame,
    parse_beginning,
    parse_reply,
)
from gateway.intercept.hosted.kinds import BadInspector
from gateway.intercept.inspecting.sessions import Failed
from gateway.intercept.inspectors import Answer, RequestHead, ResponseHead

QUESTIONS = [
    Question(1, "request_head", RequestHead("GET", "https", "a.test", 443, "/x?y", (("A", "1"), ("A", "\xe9")))),
    Question(2, "request_chunk", b"\x00\xff{}"),
    Question(2, "request_end", None),
    Question(3, "response_head", ResponseHead(204, ())),
    Question(3, "close", None),
]


@given(st.integers(1, 200))
def test_questions_arrive_as_they_were_asked_however_they_are_cut(size: int) -> None:
    sent, frames = b"".join(question.encode() for question in QUESTIONS), Frames(1 << 20)
    got = [
        Question.decode(head, content)
        for at in range(0, len(sent), size)
        for head, content in frames.feed(sent[at : at + size])
    ]
    assert got == QUESTIONS


@pytest.mark.parametrize("answer", [Answer(), Answer("no", (("a", "b"),), 7, True)])
def test_an_answer_arrives_as_it_was_given(answer: Answer) -> None:
    [(head, _)] = Frames(MAX_REPLY).feed(encode_answer(answer))
    assert parse_reply(head) == answer


def test_an_answer_that_says_very_much_is_cut_and_still_one() -> None:
    said = Answer("\udcff" + "x" * 100_000, (("k" * 100, "\ud800" * 100_000),) * 100, 7, True)
    [(head, _)] = Frames(MAX_REPLY).feed(encode_answer(said))
    assert parse_reply(head) == Answer("?" + "x" * 199, (("k" * 32, "?" * 128),) * 16, 7, True)


@pytest.mark.parametrize("hold", [None, "x", float("nan"), 2**80])
def test_an_answer_whose_hold_is_no_size_is_none(hold: object) -> None:
    """It fails one exchange, where an invalid frame would end the process."""
    with pytest.raises((TypeError, ValueError)):
        encode_answer(Answer(hold=cast("int", hold)))


def test_a_text_tells_that_there_is_no_answer() -> None:
    assert parse_reply(b'"raised ValueError"') == Failed("raised ValueError")


@pytest.mark.parametrize(
    "said",
    [b"", b"{}", b"[1,2]", b"7", b"null", b'[null,[["a"]],0,false]', b'[null,[],"x",false]', b"[null,3,0,false]"],
)
def test_what_is_no_reply_is_not_believed(said: bytes) -> None:
    with pytest.raises(Broken):
        parse_reply(said)


@given(st.binary(max_size=60))
def test_no_reply_does_more_than_be_refused(said: bytes) -> None:
    try:
        answer = parse_reply(said)
    except Broken:
        return
    assert isinstance(answer, Answer | Failed)


def test_what_a_reply_says_is_bounded() -> None:
    long = parse_reply(orjson.dumps(["x" * 9999, [], -5, False]))
    assert isinstance(long, Answer)
    assert (len(long.denial or ""), long.hold) == (200, 0)
    with pytest.raises(Broken):
        list(Frames(100).feed(encode_frame("x" * 100)))


def test_a_beginning_tells_the_methods_or_why_there_are_none() -> None:
    assert parse_beginning(b'["ready",["request_head"]]') == {"request_head"}
    for said, why in ((b'["refused","no such option"]', "no such option"), (b"[]", "invalid"), (b"7", "invalid")):
        with pytest.raises(BadInspector, match=why):
            parse_beginning(said)
