"""How far a TRACE or OPTIONS may go."""

import pytest

from gateway.exchange.hops import answer_here, hops_left, with_hops
from gateway.model.errors import DownstreamError
from gateway.model.reasons import Reason
from gateway.wire.http.messages import CHUNKED, NO_CONTENT, Delimiter, Framing, Request


def request(method: str, *fields: tuple[str, str], framing: Framing = NO_CONTENT) -> Request:
    return Request(method, "http://a.test/x?q=1", 1, fields, framing)


@pytest.mark.parametrize(("method", "left"), [("TRACE", 3), ("OPTIONS", 3), ("GET", None)])
def test_only_two_methods_are_counted(method: str, left: int | None) -> None:
    fields = [("Accept", "*/*"), ("MAX-forwards", "3")]
    assert hops_left(request(method), fields) == left
    assert hops_left(request(method), []) is None


@pytest.mark.parametrize("counts", [["x"], ["-1"], [""], ["1", "1"], ["9" * 10]])
def test_a_count_that_is_none_is_malformed(counts: list[str]) -> None:
    with pytest.raises(DownstreamError) as refusal:
        hops_left(request("OPTIONS"), [("Max-Forwards", count) for count in counts])
    assert refusal.value.reason is Reason.MALFORMED_REQUEST


def test_a_trace_has_no_content() -> None:
    with pytest.raises(DownstreamError) as refusal:
        hops_left(request("TRACE", framing=CHUNKED), [])
    assert refusal.value.reason is Reason.MALFORMED_REQUEST
    assert hops_left(request("OPTIONS", framing=CHUNKED), [("Max-Forwards", "3")]) == 3
    assert hops_left(request("TRACE", framing=Framing(Delimiter.LENGTH, 0)), []) is None  # as some clients say it


def test_the_count_goes_down_in_its_place() -> None:
    assert with_hops([("A", "1"), ("Max-Forwards", "3")], 2) == [("A", "1"), ("Max-Forwards", "2")]


def test_what_a_trace_gets_back_has_no_secrets() -> None:
    answer = answer_here(request("TRACE"), [("Authorization", "x"), ("Cookie", "x"), ("X-A", "b")], keeps=True)
    head, _, content = answer.partition(b"\r\n\r\n")
    assert content == b"TRACE http://a.test/x HTTP/1.1\r\nX-A: b\r\n\r\n"
    assert b"Content-Type: message/http" in head
    assert b"Content-Length: %d" % len(content) in head


@pytest.mark.parametrize("keeps", [True, False])
def test_what_may_go_no_further_is_answered_here(keeps: bool) -> None:
    answer = answer_here(request("OPTIONS"), [("Cookie", "x")], keeps)
    head, _, content = answer.partition(b"\r\n\r\n")
    first, *fields = head.decode().split("\r\n")
    assert (first, content) == ("HTTP/1.1 200 OK", b"")
    assert fields == [
        "Allow: CONNECT, GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS, TRACE",
        "Content-Length: 0",
        f"Connection: {'keep-alive' if keeps else 'close'}",
    ]


def test_a_trace_gets_nothing_of_its_query_back() -> None:
    asked = request("TRACE")._replace(target="http://a.test/x?q=1?token=2")
    assert b"?" not in answer_here(asked, [], keeps=False)
