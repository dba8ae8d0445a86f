"""How far a TRACE or OPTIONS may go."""

import pytest

from gateway.exchange.hops import answer_here, hops_left, with_hops
from gateway.model.errors import DownstreamError
from gateway.wire.http.messages import CHUNKED, NO_CONTENT, Delimiter, Framing, Request


def request(method: str, *fields: tuple[str, str], framing: Framing = NO_CONTENT) -> Request:
    return Request(method, "http://a.test/x?q=1", 1, fields, framing)


@pytest.mark.parametrize(("method", "left"), [("TRACE", 3), ("OPTIONS", 3), ("GET", None)])
def test_only_two_methods_are_counted(method: str, left: int | None) -> None:
    fields = [("MAX-forwards", "3")]
    assert hops_left(request(method), fields) == left
    assert hops_left(request(method), []) is None


@pytest.mark.parametrize("counts", [["x"], ["-1"], [""], ["1", "1"], ["9" * 10]])
def test_a_count_that_is_none_is_malformed(counts: list[str]) -> None:
    with pytest.raises(DownstreamError):
        hops_left(request("OPTIONS"), [("Max-Forwards", count) for count in counts])


def test_a_trace_has_no_content() -> None:
    with pytest.raises(DownstreamError):
        hops_left(request("TRACE", framing=CHUNKED), [])
    assert hops_left(request("TRACE", framing=Framing(Delimiter.LENGTH, 0)), []) is None  # as some clients say it


def test_the_count_goes_down_in_its_place() -> None:
    assert with_hops([("A", "1"), ("Max-Forwards", "3")], 2) == [("A", "1"), ("Max-Forwards", "2")]


def test_what_a_trace_gets_back_has_no_secrets() -> None:
    answer = answer_here(request("TRACE"), [("Authorization", "x"), ("Cookie", "x"), ("X-A", "b")], keeps=True)
    head, _, content = answer.partition(b"\r\n\r\n")
    assert content == b"TRACE http://a.test/x HTTP/1.1\r\nX-A: b\r\n\r\n"
    assert b"Content-Type: message/http" in head
    assert b"Content-Length: %d" % len(content) in head
