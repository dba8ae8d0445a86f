"""Which header fields go on."""

import pytest

from gateway.exchange.fields import (
    KEPT,
    has_come_by,
    pseudonym,
    request_fields,
    response_fields,
    sort_request,
    sort_response,
    trailers_of,
    wants_websocket,
)
from gateway.wire.http.messages import CHUNKED, NO_CONTENT, Delimiter, End, Framing, Request, Response


def request(*fields: tuple[str, str], minor: int = 1, framing: Framing = NO_CONTENT, method: str = "GET") -> Request:
    return Request(method, "http://a.test/", minor, fields, framing)


def response(*fields: tuple[str, str]) -> Response:
    return Response(200, "OK", 1, fields, Framing(Delimiter.LENGTH, 3))


def sent(asked: Request, websocket: bool = False) -> list[tuple[str, str]]:
    return request_fields(asked, sort_request(asked).passing, "gw", websocket)


def told(answer: Response) -> list[tuple[str, str]]:
    return response_fields(answer, sort_response(answer), "gw", "gw")


def test_the_clients_host_goes_nowhere() -> None:
    assert sent(request(("hOST", "evil.test"), ("Accept", "*/*"))) == [("Accept", "*/*"), ("Via", "1.1 gw")]


@pytest.mark.parametrize(
    "name", ["Proxy-Authorization", "Proxy-Connection", "Keep-Alive", "TE", "Upgrade", "HTTP2-Settings", "X-EGRESS-Id"]
)
def test_what_is_the_gateways_or_one_connections_ends_here(name: str) -> None:
    assert [field for field, _ in sent(request((name, "x")))] == ["Via"]


@pytest.mark.parametrize("name", ["Transfer_Encoding", "content_length", "PROXY_AUTHORIZATION", "Keep_Alive"])
def test_what_ends_here_does_not_go_on_in_a_spelling_that_some_origins_take_for_the_same(name: str) -> None:
    asked = request((name, "chunked"), ("X_Own", "1"), ("Content-Length", "3"), framing=Framing(Delimiter.LENGTH, 3))
    assert sent(asked) == [("X_Own", "1"), ("Via", "1.1 gw"), ("Content-Length", "3")]
    assert trailers_of(End(((name, "x"), ("X_Own", "1")))) == (("X_Own", "1"),)


def test_connection_removes_what_it_names() -> None:
    asked = request(("Connection", "X-One ,x-two"), ("X-One", "1"), ("X-TWO", "2"), ("X-Three", "3"))
    assert [field for field, _ in sent(asked)] == ["X-Three", "Via"]


@pytest.mark.parametrize("name", sorted(KEPT - {"host", "content-length", "transfer-encoding"}))
def test_connection_removes_nothing_on_which_the_meaning_rests(name: str) -> None:
    assert (name, "x") in sent(request(("Connection", f"close, {name}"), (name, "x")))


def test_framing_is_written_from_what_was_parsed() -> None:
    length = request(("Content-Length", "07"), framing=Framing(Delimiter.LENGTH, 7))
    chunked = request(("Transfer-Encoding", "Chunked"), framing=CHUNKED)
    assert sent(length)[-1] == ("Content-Length", "7")
    assert sent(chunked)[-1] == ("Transfer-Encoding", "chunked")


def test_only_a_websocket_is_an_upgrade_that_goes_on() -> None:
    fields = (("Connection", "keep-alive, Upgrade"), ("Upgrade", "WebSocket"))
    for asked in (request(*fields, framing=Framing(Delimiter.LENGTH, 0)), request(*fields)):
        assert wants_websocket(asked, sort_request(asked))
    assert sent(asked, websocket=True)[-2:] == [("Connection", "Upgrade"), ("Upgrade", "websocket")]
    for other in (
        request(("Connection", "Upgrade"), ("Upgrade", "h2c")),
        request(fields[0]),
        request(fields[1]),
        request(*fields, minor=0),
        request(*fields, framing=CHUNKED),
    ):
        assert not wants_websocket(other, sort_request(other))


@pytest.mark.parametrize(
    ("via", "by_us"),
    [("1.1 gw", True), ("1.0 a, 1.1 GW (x)", True), ("1.1 gw2", False), ("gw", False), ("1.1 a (gw)", False)],
)
def test_a_loop_is_told_by_our_pseudonym_in_via(via: str, by_us: bool) -> None:
    asked = request(("Accept", "*/*"), ("Age", "1.1 gw2"), ("VIA", via))
    assert has_come_by(sort_request(asked), "gw") == by_us
    assert ("VIA", via) in sent(asked)
    assert not has_come_by(sort_request(request(("Age", via), ("Forwarded", via))), "gw")


def test_a_name_that_is_no_token_becomes_one() -> None:
    assert pseudonym("my gateway (eu)") == "my-gateway--eu-"


def test_a_destination_cannot_speak_for_the_gateway() -> None:
    answer = response(
        ("X-Egress-Request-Id", "forged"),
        ("Proxy-Status", 'cdn; details="a, gw; b", gw; error=dns_error, "gw"; error=x'),
        ("Proxy-Status", "gw"),
        ("Proxy-Authenticate", "Basic"),
        ("Connection", "X-Hop"),
        ("X-Hop", "1"),
        ("ETag", "x"),
    )
    assert told(answer) == [("ETag", "x"), ("Proxy-Status", 'cdn; details="a, gw; b"'), ("Via", "1.1 gw")]


def test_persistence_is_what_the_version_and_the_options_say() -> None:
    assert sort_request(request()).is_persistent(1)
    assert not sort_request(request()).is_persistent(0)
    assert sort_request(request(("Proxy-Connection", "Keep-Alive"))).is_persistent(0)
    assert not sort_request(request(("Connection", "foo, CLOSE"))).is_persistent(1)


def test_no_trailer_frames_routes_or_speaks_for_somebody() -> None:
    trailers = (("X-Sum", "1"), ("Content-Length", "5"), ("Host", "x"), ("Authorization", "x"), ("X-Egress-A", "x"))
    assert trailers_of(End(trailers)) == (("X-Sum", "1"),)


def test_connection_removes_what_it_names_from_trailers_too() -> None:
    trailers = (("X-Sum", "1"), ("X-Hop", "1"), ("Via", "1.1 a"))
    assert trailers_of(End(trailers, ("close", "x-hop", "via"))) == (("X-Sum", "1"), ("Via", "1.1 a"))
