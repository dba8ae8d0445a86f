"""Where two parsers disagree, requests are smuggled: what we take, llhttp and h11 alone take and read alike.

`FUZZ_EXAMPLES=100000` looks longer.
"""

import re

import h11
import httptools
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.wire.http.codec import open_codec
from tests.wire.feeding import UNSHRUNK
from tests.wire.http.making import FUZZ, cuts, damaged, requests, responses
from tests.wire.http.reading import (
    LlhttpAlone,
    Outcome,
    check_others_agree,
    h11_alone,
    read_request,
    read_requests,
    read_response,
)
from tests.wire.http.refused import REFUSED_REQUESTS, REFUSED_RESPONSES

LLHTTP, H11 = open_codec("httptools"), open_codec("h11")


def request_by_us(data: bytes) -> Outcome:
    return read_request(LLHTTP.request_reader(), [data])


def response_by_us(data: bytes) -> Outcome:
    return read_response(LLHTTP.response_reader(), [data])


@FUZZ
@given(damaged(requests()))
def test_a_request_that_we_take_llhttp_and_h11_alone_read_alike(data: bytes) -> None:
    check_others_agree(request_by_us, data, is_request=True)


@FUZZ
@example(b"HTTP/1.1 100 Continue\r\nConnection: close\r\n\r\nHTTP/1.1 200\r\n\r\n")
@given(damaged(responses()))
def test_a_response_that_we_take_llhttp_and_h11_alone_read_alike(data: bytes) -> None:
    check_others_agree(response_by_us, data, is_request=False)


@FUZZ
@given(st.data())
def test_both_codecs_give_the_same_requests_or_both_refuse(data: st.DataObject) -> None:
    sent = data.draw(damaged(st.tuples(requests(), requests()).map(b"".join)))
    segments = data.draw(cuts(sent))
    assert read_requests(LLHTTP.request_reader(), segments) == read_requests(H11.request_reader(), segments)


@FUZZ
@given(st.data())
def test_both_codecs_give_the_same_responses_or_both_refuse(data: st.DataObject) -> None:
    segments = data.draw(cuts(data.draw(damaged(responses()))))
    method = data.draw(st.sampled_from(["GET", "HEAD", "CONNECT"]))
    by_llhttp = read_response(LLHTTP.response_reader(), segments, method)
    assert by_llhttp == read_response(H11.response_reader(), segments, method)


REFUSED = (AssertionError, h11.RemoteProtocolError, httptools.HttpParserError)


def test_the_comparison_catches_a_reader_that_takes_a_bare_line_feed_for_a_line_end() -> None:
    def forgiving(data: bytes) -> Outcome:
        return request_by_us(re.sub(rb"(?<!\r)\n", b"\r\n", data))

    with pytest.raises(REFUSED):
        settings(UNSHRUNK, max_examples=2000)(
            given(damaged(requests()))(lambda data: check_others_agree(forgiving, data, is_request=True))
        )()


def test_the_comparison_catches_a_reader_that_takes_the_length_where_there_is_a_coding_too() -> None:
    def forgiving(data: bytes) -> Outcome:
        has_length = data.count(b"\r\nContent-Length: ") == 1
        return response_by_us(data.replace(b"\r\nTransfer-Encoding: ", b"\r\nX: ") if has_length else data)

    with pytest.raises(REFUSED):
        settings(UNSHRUNK, max_examples=2000)(
            given(damaged(responses()))(lambda data: check_others_agree(forgiving, data, is_request=False))
        )()


REFUSED_ON_TOP_OF_LLHTTP = (
    "CL with leading zero",
    "TE in HTTP/1.0",
    "TE gzip, chunked",
    "no Host",
    "two Hosts",
    "CONNECT with content",
    "CONNECT with chunks",
    "CONNECT to a URL",
    "a fragment",
    "no authority",
    "HTTP/0.9",
    "two empty lines first",
    "extensions in every chunk",
    "trailer that routes",
    "10,000 lines",
)
REFUSED_ON_TOP_OF_H11 = (
    "CL and TE",
    "TE and CL",
    "CL twice, the same",
    "CL list",
    "CL with leading zero",
    "CL beyond 64 bits",
    "TE in HTTP/1.0",
    "TE on a folded line",
    "CONNECT with content",
    "CONNECT with chunks",
    "a fragment",
    "method in lower case",
    "HTTP/1.2",
    "HTTP/2",
    "chunk size before a space",
    "chunk size with a bare CR in the extension",
    "chunk size with an endless string",
    "trailer that frames",
    "trailer that is folded",
    "trailers with a bare LF",
)
RESPONSES_REFUSED_ON_TOP_OF_LLHTTP = (
    "TE of HTTP/1.0",
    "TE gzip",
    "TE on a 204",
    "CL on a 204",
    "CL on a 100",
    "status 099",
    "HTTP/2.0",
    "empty line first",
    "NUL in the phrase",
)
RESPONSES_REFUSED_ON_TOP_OF_H11 = ("TE on a 204", "CL on a 204", "status 600", "HTTP/2.0", "bare LF", "folded line")


@pytest.mark.parametrize("case", REFUSED_ON_TOP_OF_LLHTTP)
def test_llhttp_would_have_taken_the_request(case: str) -> None:
    assert LlhttpAlone(REFUSED_REQUESTS[case][0], is_request=True).reading.first


@pytest.mark.parametrize("case", REFUSED_ON_TOP_OF_H11)
def test_h11_would_have_taken_the_request(case: str) -> None:
    assert h11_alone(REFUSED_REQUESTS[case][0], is_request=True).first


@pytest.mark.parametrize("case", RESPONSES_REFUSED_ON_TOP_OF_LLHTTP)
def test_llhttp_would_have_taken_the_response(case: str) -> None:
    assert LlhttpAlone(REFUSED_RESPONSES[case], is_request=False).reading.first


@pytest.mark.parametrize("case", RESPONSES_REFUSED_ON_TOP_OF_H11)
def test_h11_would_have_taken_the_response(case: str) -> None:
    assert h11_alone(REFUSED_RESPONSES[case], is_request=False).first
