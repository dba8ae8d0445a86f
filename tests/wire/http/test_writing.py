"""What is written is what is read again."""

from collections.abc import Callable

import pytest
from hypothesis import given

from gateway.wire.http.codec import open_codec
from gateway.wire.http.messages import CHUNKED, End, Request, Response
from gateway.wire.http.writing import chunk, last_chunk, request_head, response_head, whole_head
from tests.wire.http.making import FUZZ, requests, responses


def test_heads_and_chunks_as_they_go_out() -> None:
    assert request_head("GET", "/x", [("Host", "a.test"), ("X", "é")]) == (
        b"GET /x HTTP/1.1\r\nHost: a.test\r\nX: \xe9\r\n\r\n"
    )
    assert response_head(204, "", ()) == b"HTTP/1.1 204 \r\n\r\n"
    assert chunk(b"hello world!") == b"c\r\nhello world!\r\n"
    assert chunk(b"") == b""
    assert last_chunk() == b"0\r\n\r\n"
    assert last_chunk((("X-Sum", "1"),)) == b"0\r\nX-Sum: 1\r\n\r\n"


@pytest.mark.parametrize("trouble", ["\r", "\n", "\r\n", "a\r\nb: c"])
def test_a_line_end_in_a_value_is_never_written(trouble: str) -> None:
    attempts: list[Callable[[], bytes]] = [
        lambda: request_head("GET", "/" + trouble, ()),
        lambda: request_head("GET" + trouble, "/", ()),
        lambda: request_head("GET", "/", [("X", trouble)]),
        lambda: whole_head(["GET / HTTP/1.1", "Host: a.test" + trouble]),
        lambda: response_head(200, "OK" + trouble, ()),
        lambda: response_head(200, "OK", [("X" + trouble, "y")]),
        lambda: last_chunk((("X", trouble),)),
    ]
    for write in attempts:
        with pytest.raises(ValueError, match="line end"):
            write()


@FUZZ
@given(requests())
def test_a_request_written_anew_is_the_same_request(data: bytes) -> None:
    reader = open_codec("auto").request_reader()
    request = reader.receive(data)[0]
    assert isinstance(request, Request)
    again = open_codec("auto").request_reader()
    if request.minor == 1:
        assert again.receive(request_head(request.method, request.target, request.fields))[0] == request


@FUZZ
@given(responses())
def test_a_response_written_anew_is_the_same_response_to_its_end(data: bytes) -> None:
    reader, again = open_codec("auto").response_reader(), open_codec("auto").response_reader()
    reader.expect("GET")
    again.expect("GET")
    is_chunked = False
    for event in reader.receive(data):
        match event:
            case Response(status, phrase, minor, fields, framing) if minor == 1:
                assert again.receive(response_head(status, phrase, fields))[0] == event
                is_chunked = framing == CHUNKED
            case Response():
                return
            case bytes():
                assert again.receive(chunk(event) if is_chunked else event)[0] == event
            case End(trailers) if is_chunked:
                assert again.receive(last_chunk(trailers)) == [event]
