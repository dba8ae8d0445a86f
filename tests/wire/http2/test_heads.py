"""Heads of HTTP/2 as the values of HTTP/1, and back: nothing that is malformed can become a line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.reasons import Reason
from gateway.wire.grammar import MAX_FIELD_LINES
from gateway.wire.http.messages import CHUNKED, NO_CONTENT, Delimiter, Fields, Framing, MalformedMessage
from gateway.wire.http.writing import request_head
from gateway.wire.http2 import heads

GET = ((":method", "GET"), (":scheme", "https"), (":authority", "a.test"), (":path", "/x?y"))
TEXT = st.text(st.characters(max_codepoint=255), max_size=12)


def test_a_request_reads_as_one_of_http_1() -> None:
    request = heads.read_request((*GET, ("accept", "*/*"), ("cookie", "a=1"), ("cookie", "b=2")), ended=True)
    assert (request.method, request.target, request.minor, request.framing) == ("GET", "/x?y", 1, NO_CONTENT)
    assert request.fields == (("host", "a.test"), ("accept", "*/*"), ("cookie", "a=1; b=2"))
    assert request.is_http2


@pytest.mark.parametrize(
    ("lengths", "ended", "framing"),
    [((), True, NO_CONTENT), ((), False, CHUNKED), (("5",), False, Framing(Delimiter.LENGTH, 5))],
)
def test_framing_follows_from_the_length_and_the_end(lengths: tuple[str, ...], ended: bool, framing: Framing) -> None:
    fields = (*GET, *(("content-length", each) for each in lengths))
    assert heads.read_request(fields, ended).framing == framing


def test_extended_connect_reads_as_the_upgrade_that_it_stands_for() -> None:
    fields = ((":method", "CONNECT"), (":protocol", "websocket"), *GET[1:])
    request = heads.read_request(fields, ended=False)
    assert (request.method, request.target, request.upgrade) == ("GET", "/x?y", ("websocket",))


@given(st.lists(st.tuples(TEXT, TEXT), max_size=5), TEXT, TEXT)
def test_whatever_is_read_can_be_written_as_exactly_so_many_lines(
    fields: list[tuple[str, str]], path: str, authority: str
) -> None:
    said = (*GET[:2], (":authority", authority or "a.test"), (":path", "/" + path), *fields)
    try:
        request = heads.read_request(said, ended=True)
    except MalformedMessage:
        return
    written = request_head(request.method, request.target, request.fields)
    assert written.count(b"\r\n") == len(request.fields) + 2
    assert written.count(b"\r") == written.count(b"\n") == written.count(b"\r\n")


def test_a_value_that_may_end_a_line_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: any value passes."""
    monkeypatch.setattr(heads, "_VALUE", __import__("re").compile(r"(?s).*"))
    request = heads.read_request((*GET, ("a", "1\r\nb: 2")), ended=True)
    with pytest.raises(ValueError, match="line end"):
        request_head(request.method, request.target, request.fields)


@pytest.mark.parametrize("status", ["", "20", "099", "600", "2OO", "101"])
def test_a_status_that_is_none_is_refused(status: str) -> None:
    with pytest.raises(MalformedMessage) as malformed:
        heads.read_response(((":status", status),), True, "GET")
    assert malformed.value.reason is Reason.MALFORMED_RESPONSE


@pytest.mark.parametrize(("method", "status"), [("HEAD", "200"), ("GET", "204"), ("GET", "304")])
def test_some_responses_describe_content_that_does_not_follow(method: str, status: str) -> None:
    response = heads.read_response(((":status", status), ("content-length", "5")), True, method)
    assert response.framing == NO_CONTENT


@pytest.mark.parametrize(("method", "status"), [("HEAD", "200"), ("GET", "304"), ("GET", "200")])
@pytest.mark.parametrize("lengths", [("five",), ("5", "6"), ("5, 5",)])
def test_a_length_that_is_none_is_refused_also_of_content_that_does_not_follow(
    method: str, status: str, lengths: tuple[str, ...]
) -> None:
    fields = ((":status", status), *(("content-length", each) for each in lengths))
    with pytest.raises(MalformedMessage):
        heads.read_response(fields, True, method)


def test_host_may_spell_the_same_authority_otherwise() -> None:
    request = heads.read_request((*GET, ("host", "A.Test")), ended=True)
    assert request.values("host") == ["A.Test"]


def test_cookies_of_which_one_is_to_be_in_no_table_are_to_be_in_none() -> None:
    request = heads.read_request((*GET, ("cookie", "a=1"), ("cookie", heads.Unindexed("b=2"))), ended=True)
    [cookie] = request.values("cookie")
    assert (cookie, type(cookie)) == ("a=1; b=2", heads.Unindexed)


def test_what_goes_on_has_no_field_of_one_connection() -> None:
    request = heads.read_request((*GET, ("te", "trailers")), ended=True)
    fields = [("Accept", "*/*"), ("Connection", "x"), ("Host", "no"), ("Transfer-Encoding", "chunked")]
    assert heads.request_fields("GET", "b.test", "/", fields, request, websocket=False) == [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "b.test"),
        (":path", "/"),
        ("accept", "*/*"),
        ("te", "trailers"),
    ]


def _with(*sizes: int) -> Fields:
    """As RFC 9113 section 6.5.2 counts: 32 bytes more than each field has."""
    return (*GET, *[("x", "-" * (size - 33)) for size in sizes])


LEFT = 2048 - sum(32 + len(name) + len(value) for name, value in GET)
LINES = [33] * (MAX_FIELD_LINES - len(GET))


@pytest.mark.parametrize(("fits", "more"), [([LEFT], [LEFT + 1]), (LINES, [*LINES, 33])], ids=["bytes", "lines"])
def test_a_head_has_as_much_as_is_allowed_and_no_more(fits: list[int], more: list[int]) -> None:
    bound = 2048 if len(fits) == 1 else 64 * 1024
    assert heads.read_request(_with(*fits), ended=True, bound=bound).method == "GET"
    with pytest.raises(MalformedMessage) as refusal:
        heads.read_request(_with(*more), ended=True, bound=bound)
    assert refusal.value.reason is Reason.HEAD_TOO_LARGE
