"""One direction of a stream as events, its content held to what its head has said."""

import pytest

from gateway.model.reasons import Reason
from gateway.wire.http.messages import MOST_INTERIM, End, MalformedMessage, Request, Response
from gateway.wire.http2.messages import RequestMessage, ResponseMessage

POST = ((":method", "POST"), (":scheme", "https"), (":authority", "a.test"), (":path", "/"))
OK = ((":status", "200"),)


def test_a_request_with_content_and_trailers() -> None:
    message = RequestMessage(extended_connect=True)
    [request] = message.head(POST, ended=False)
    assert isinstance(request, Request)
    assert message.data(b"abc", ended=False) == [b"abc"]
    assert message.data(b"", ended=False) == []
    assert message.head((("x", "1"),), ended=True) == [End((("x", "1"),))]


def test_an_interim_head_comes_before_the_final_one() -> None:
    message = ResponseMessage("GET", websocket=False)
    [hint] = message.head(((":status", "103"),), ended=False)
    [final] = message.head(OK, ended=False)
    assert isinstance(hint, Response)
    assert isinstance(final, Response)
    assert (hint.is_interim, final.status) == (True, 200)
    assert message.data(b"x", ended=True) == [b"x", End()]


def test_of_a_flood_of_interim_heads_no_more_is_read_than_passes() -> None:
    message, hint = ResponseMessage("GET", websocket=False), ((":status", "103"),)
    for _ in range(MOST_INTERIM):
        message.head(hint, ended=False)
    with pytest.raises(MalformedMessage):
        message.head(hint, ended=False)


def test_success_of_extended_connect_reads_as_101() -> None:
    [response] = ResponseMessage("GET", websocket=True).head(OK, ended=False)
    assert isinstance(response, Response)
    assert (response.status, response.upgrade) == (101, ("websocket",))


def test_extended_connect_is_malformed_where_it_was_not_offered() -> None:
    fields = ((":method", "CONNECT"), (":protocol", "websocket"), *POST[1:])
    assert len(RequestMessage(extended_connect=True).head(fields, ended=False)) == 1
    with pytest.raises(MalformedMessage):
        RequestMessage(extended_connect=False).head(fields, ended=False)


@pytest.mark.parametrize("pieces", [[b"1234"], [b"12", b"34"], [b"1"], []])
def test_more_or_less_content_than_was_announced_is_malformed(pieces: list[bytes]) -> None:
    message = RequestMessage(extended_connect=True)
    message.head((*POST, ("content-length", "3")), ended=False)
    with pytest.raises(MalformedMessage) as malformed:
        _feed(message, pieces)
    assert malformed.value.reason is Reason.MALFORMED_REQUEST


def _feed(message: RequestMessage, pieces: list[bytes]) -> None:
    for piece in pieces:
        message.data(piece, ended=False)
    message.data(b"", ended=True)


def test_content_where_a_response_has_none_is_malformed() -> None:
    message = ResponseMessage("HEAD", websocket=False)
    message.head((*OK, ("content-length", "3")), ended=False)
    with pytest.raises(MalformedMessage):
        message.data(b"abc", ended=True)


def test_content_before_a_head_is_malformed() -> None:
    with pytest.raises(MalformedMessage):
        ResponseMessage("GET", websocket=False).data(b"x", ended=False)
