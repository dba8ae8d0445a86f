"""Both readers with both witnesses: what they take, what they refuse, and that the cuts of a stream change nothing."""

import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model.reasons import Reason
from gateway.wire.head import MalformedHead, parse_head
from gateway.wire.http import readers
from gateway.wire.http.codec import Bounds, Codec, Kind, RequestReader, open_codec
from gateway.wire.http.messages import (
    CHUNKED,
    MOST_INTERIM,
    NO_CONTENT,
    UNTIL_CLOSE,
    Delimiter,
    End,
    Event,
    Framing,
    MalformedMessage,
    Request,
    Response,
)
from tests.wire.feeding import UNSHRUNK
from tests.wire.http.making import FUZZ, damaged, requests, responses
from tests.wire.http.reading import Outcome, read_request, read_requests, read_response
from tests.wire.http.refused import CHUNKED_POST, GET, OK, POST, REFUSED_REQUESTS, REFUSED_RESPONSES


@pytest.fixture(params=["httptools", "h11"])
def codec(request: pytest.FixtureRequest) -> Codec:
    kind: Kind = request.param
    return open_codec(kind)


def read_one(codec: Codec, data: bytes) -> Outcome:
    return read_request(codec.request_reader(), [data])


def test_a_request_is_read_as_it_stands(codec: Codec) -> None:
    reader = codec.request_reader()
    events = reader.receive(POST + b"X-Text: \tcaf\xe9 \t\r\nx-text:\r\nContent-Length: 5\r\n\r\nhel")
    fields = (("Host", "a.test"), ("X-Text", "café"), ("x-text", ""), ("Content-Length", "5"))
    assert events == [Request("POST", "http://a.test/", 1, fields, Framing(Delimiter.LENGTH, 5)), b"hel"]
    assert reader.receive(b"lo") == [b"lo", End()]


def test_large_messages_that_came_together_are_read_like_those_that_did_not(codec: Codec) -> None:
    messages = [
        GET,
        POST + b"X: " + b"y" * 20_000 + b"\r\nContent-Length: 30000\r\n\r\n" + b"z" * 30_000,
        CHUNKED_POST + b"4000\r\n" + b"c" * 0x4000 + b"\r\n0\r\nT: u\r\n\r\n",
        b"\r\n" + GET,
    ]
    together = read_requests(codec.request_reader(), [b"".join(messages)])
    assert together == read_requests(codec.request_reader(), messages)
    assert sum(isinstance(event, Request) for event in together.events) == len(messages)


def test_who_goes_on_after_too_much_came_too_early_is_told_again(codec: Codec) -> None:
    reader = codec.request_reader()
    reader.receive(GET)
    with pytest.raises(MalformedMessage):
        reader.receive(bytes(readers._LONGEST_LEFTOVER + 1))
    with pytest.raises(MalformedMessage):
        reader.proceed()


def test_thousands_of_requests_that_came_together_are_each_read_in_no_time(codec: Codec) -> None:
    reader, count = codec.request_reader(), 28_000
    begun = time.process_time()
    reader.receive(b"GET http://a/ HTTP/1.1\r\nHost:a\r\n\r\n" * count)
    assert sum(bool(reader.proceed()) for _ in range(count)) == count - 1
    assert time.process_time() - begun < 0.5  # 0.05, or 1.5 if each time all that has come is copied once


def test_a_head_that_comes_again_is_not_read_again_by_its_own_reader_only(codec: Codec) -> None:
    reader = codec.request_reader()
    first, _ = reader.receive(GET)
    reader.proceed()
    assert reader.receive(GET)[0] is first
    assert codec.request_reader().receive(GET)[0] is not first


def test_the_same_head_is_judged_anew_for_another_method(codec: Codec) -> None:
    reader = codec.response_reader()
    answer = OK + b"Content-Length: 2\r\n\r\n"
    reader.expect("HEAD")
    assert reader.receive(answer)[1:] == [End()]
    reader.expect("GET")
    assert reader.receive(answer + b"hi")[1:] == [b"hi", End()]
    reader.expect("HEAD")
    assert reader.receive(answer)[1:] == [End()]


def test_fields_that_come_again_are_those_of_the_last_head_that_is_remembered(codec: Codec) -> None:
    reader = codec.request_reader()
    large = POST + b"X: " + b"x" * 3000 + b"\r\n\r\n"
    for head in (
        GET,
        large,
        large.replace(b"http://a.test/", b"http://a.test/x"),
        GET.replace(b"a.test/", b"a.test/y"),
    ):
        event = reader.receive(head)[0]
        assert event == codec.request_reader().receive(head)[0]
        reader.proceed()


def test_an_answer_like_the_one_before_is_read_like_it_however_it_is_cut(codec: Codec) -> None:
    answer, after = OK + b"Content-Length: 2\r\n\r\nhi", b"and more"
    alone = [Response(200, "OK", 1, (("Content-Length", "2"),), Framing(Delimiter.LENGTH, 2)), b"hi", End()]
    for cut in range(1, len(answer + after) + 1):
        reader = codec.response_reader()
        reader.expect("GET")
        assert reader.receive(answer) == alone
        reader.expect("GET")
        events = [*reader.receive((answer + after)[:cut]), *reader.receive((answer + after)[cut:])]
        content = b"".join([event for event in events if isinstance(event, bytes)])
        assert (events[0], content, events[-1]) == (alone[0], b"hi", End())
        assert reader.leftover == after


def test_a_request_like_the_one_before_is_not_read_behind_the_beginning_of_another(codec: Codec) -> None:
    reader = codec.request_reader()
    reader.receive(GET + b"P")
    for _ in range(2):
        assert reader.proceed() == []
    with pytest.raises(MalformedMessage):
        reader.receive(GET)


def test_an_answer_that_comes_twice_was_asked_for_once(codec: Codec) -> None:
    reader, answer = codec.response_reader(), OK + b"Content-Length: 2\r\n\r\nhi"
    for _ in range(2):
        reader.expect("GET")
        assert len(reader.receive(answer)) == 3
    assert reader.receive(answer) == []
    assert not reader.is_between()


def test_an_interim_response_like_one_before_is_no_answer(codec: Codec) -> None:
    reader, interim = codec.response_reader(), b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    large = OK + b"X: " + b"y" * 4000 + b"\r\nContent-Length: 0\r\n\r\n"  # so large that it is not remembered
    for _ in range(2):
        reader.expect("GET")
        assert len(reader.receive(interim)) == 1
        assert not reader.is_between()
        assert reader.receive(large)[-1] == End()


def test_a_response_follows_its_interim_ones(codec: Codec) -> None:
    reader = codec.response_reader()
    reader.expect("GET")
    assert reader.receive(b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\nmore") == [
        Response(103, "Early", 1, (("Link", "x"),), NO_CONTENT),
        Response(200, "OK", 1, (("Content-Length", "0"),), Framing(Delimiter.LENGTH, 0)),
        End(),
    ]
    assert reader.leftover == b"more"
    with pytest.raises(MalformedMessage):
        reader.expect("GET")


def test_of_a_flood_of_interim_responses_no_more_is_read_than_passes(codec: Codec) -> None:
    reader, hint = codec.response_reader(), b"HTTP/1.1 103 Early Hints\r\n\r\n"
    for _ in range(2):  # of each request
        reader.expect("GET")
        assert len(reader.receive(hint * MOST_INTERIM + OK + b"Content-Length: 0\r\n\r\n")) == MOST_INTERIM + 2
    reader.expect("GET")
    with pytest.raises(MalformedMessage) as caught:
        reader.receive(hint * 10_000)
    assert len(caught.value.events) == MOST_INTERIM


def test_chunks_lose_their_framing_and_their_extensions(codec: Codec) -> None:
    reader = codec.request_reader()
    sent = CHUNKED_POST + b'5;a;b=c;d="e\\";"\r\nhello\r\n000A\r\n, chunks\r\n\r\n0;z\r\nX-Sum: 1\r\n\r\nrest'
    assert reader.receive(sent)[1:] == [b"hello, chunks\r\n", End((("X-Sum", "1"),))]
    assert reader.leftover == b"rest"


def test_the_end_says_what_connection_names_among_its_trailers(codec: Codec) -> None:
    sent = CHUNKED_POST.replace(b"\r\n\r\n", b"\r\nConnection: X-Hop, close\r\n\r\n") + b"0\r\nX-Hop: 1\r\n\r\n"
    assert codec.request_reader().receive(sent)[1:] == [End((("X-Hop", "1"),), ("x-hop", "close"))]


def test_the_next_request_waits_until_it_is_its_turn(codec: Codec) -> None:
    reader = codec.request_reader()
    assert [type(event) for event in reader.receive(GET + b"\r\n" + POST)] == [Request, End]
    assert (reader.is_between(), reader.receive(b"Content-Length: 0\r\n")) == (False, [])
    assert reader.leftover == b"\r\n" + POST + b"Content-Length: 0\r\n"
    assert reader.proceed() == []
    assert not reader.leftover
    assert [type(event) for event in reader.receive(b"\r\n")] == [Request, End]
    assert (reader.proceed(), reader.is_between(), reader.receive_end()) == ([], True, [])


def test_a_client_that_goes_within_a_request_has_closed(codec: Codec) -> None:
    for sent in (b"G", GET[:-1], POST + b"Content-Length: 5\r\n\r\nhell", CHUNKED_POST + b"0\r\n"):
        reader = codec.request_reader()
        reader.receive(sent)
        with pytest.raises(MalformedMessage) as caught:
            reader.receive_end()
        assert caught.value.reason is Reason.CLIENT_CLOSED
    reader = codec.request_reader()
    reader.receive(GET + b"GET")
    assert reader.receive_end() == []
    with pytest.raises(MalformedMessage):
        reader.proceed()


def test_an_origin_that_goes_within_an_answer_or_before_it_is_incomplete(codec: Codec) -> None:
    for sent in (b"", b"HTTP", OK + b"Content-Length: 5\r\n\r\nhell", b"HTTP/1.1 100 Continue\r\n\r\n"):
        reader = codec.response_reader()
        reader.expect("GET")
        reader.receive(sent)
        with pytest.raises(MalformedMessage) as caught:
            reader.receive_end()
        assert caught.value.reason is Reason.RESPONSE_INCOMPLETE


def test_content_without_a_length_ends_with_the_connection(codec: Codec) -> None:
    outcome = read_response(codec.response_reader(), [OK + b"\r\nab", b"c"])
    assert outcome.events == [Response(200, "OK", 1, (), UNTIL_CLOSE), b"abc", End()]


@pytest.mark.parametrize(
    ("method", "head"),
    [
        ("HEAD", OK + b"Content-Length: 5\r\n\r\n"),
        ("HEAD", OK + b"Transfer-Encoding: chunked\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
    ],
)
def test_what_has_no_content_ends_with_its_head(codec: Codec, method: str, head: bytes) -> None:
    reader = codec.response_reader()
    reader.expect(method)
    [response, end] = reader.receive(head)
    assert isinstance(response, Response)
    assert (response.framing, end, reader.is_between()) == (NO_CONTENT, End(), True)


def test_after_a_switch_everything_is_left_over(codec: Codec) -> None:
    reader = codec.response_reader()
    reader.expect("GET", upgrade=True)
    reader.receive(b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert not reader.is_between()
    reader.receive(b"\x81")
    reader.receive(b"\x00")
    assert (reader.is_between(), reader.leftover) == (False, b"\x81\x00")
    reader = codec.response_reader()
    reader.expect("CONNECT")
    reader.receive(OK + b"Content-Length: 5\r\n\r\n")
    assert not reader.is_between()
    reader.receive(b"\x16")
    assert (reader.is_between(), reader.leftover) == (False, b"\x16")


@pytest.mark.parametrize(("data", "reason"), REFUSED_REQUESTS.values(), ids=REFUSED_REQUESTS.keys())
def test_a_request_is_refused_whole_and_in_pieces(codec: Codec, data: bytes, reason: Reason) -> None:
    for step in (len(data), 1 if len(data) < 2000 else 97):
        reader = codec.request_reader()
        with pytest.raises(MalformedMessage) as caught:
            feed(reader.receive, data, step)
        assert caught.value.reason is reason
        with pytest.raises(MalformedMessage) as again:
            reader.receive(GET)
        assert (again.value.reason, again.value.events) == (reason, [])


def feed(receive: Callable[[bytes], list[Event]], data: bytes, step: int) -> None:
    for at in range(0, len(data), step):
        receive(data[at : at + step])


@pytest.mark.parametrize("data", REFUSED_RESPONSES.values(), ids=REFUSED_RESPONSES.keys())
def test_a_response_is_refused_whole_and_in_pieces(codec: Codec, data: bytes) -> None:
    for step in (len(data), 1 if len(data) < 2000 else 97):
        reader = codec.response_reader()
        reader.expect("GET")
        with pytest.raises(MalformedMessage) as caught:
            feed(reader.receive, data, step)
        too_large = len(data) > 65_536
        assert caught.value.reason is (Reason.RESPONSE_HEAD_TOO_LARGE if too_large else Reason.MALFORMED_RESPONSE)


def test_a_fault_has_with_it_what_came_before_it(codec: Codec) -> None:
    reader = codec.request_reader()
    with pytest.raises(MalformedMessage) as caught:
        reader.receive(CHUNKED_POST + b"5\r\nhello\r\n3\r\nabc\r\nx")
    [request, data] = caught.value.events
    assert isinstance(request, Request)
    assert (request.framing, data) == (CHUNKED, b"helloabc")


def test_bounds_are_the_caller_s_to_lower(codec: Codec) -> None:
    bounds = Bounds(head=50, trailers=10, extensions=2)
    for sent in (GET[:-2] + b"X: 0123456789\r\n\r\n", GET[:20] + b"x" * 31):
        with pytest.raises(MalformedMessage):
            codec.request_reader(bounds).receive(sent)
    for rest in (b"1;aa\r\n", b"1;a\r\nx\r\n1;a\r\n", b"0\r\nX: 0123456\r\n\r\n"):
        reader = codec.request_reader(bounds._replace(head=200))
        with pytest.raises(MalformedMessage):
            reader.receive(CHUNKED_POST + rest)


def test_what_comes_ahead_of_its_time_is_bounded(codec: Codec) -> None:
    reader = codec.request_reader()
    reader.receive(GET)
    with pytest.raises(MalformedMessage):
        feed(reader.receive, bytes(2_000_000), 100_000)


Read = Callable[[list[bytes]], Outcome]


def check_cuts_change_nothing(read: Read, data: bytes) -> None:
    """Whole and byte by byte are the same, and neither is malformed on the way."""
    whole = read([data])
    assert not whole.refused
    assert read([bytes([byte]) for byte in data]) == whole


def read_all_requests(segments: list[bytes]) -> Outcome:
    return read_requests(open_codec("auto").request_reader(), segments)


def read_one_response(segments: list[bytes]) -> Outcome:
    return read_response(open_codec("auto").response_reader(), segments)


PIPELINED = st.tuples(requests(), requests()).map(b"".join)


@FUZZ
@given(PIPELINED)
def test_requests_byte_by_byte_are_the_same_requests(data: bytes) -> None:
    check_cuts_change_nothing(read_all_requests, data)


LIKE_THE_ONE_BEFORE = b"Host: a.test\r\nAccept: */*\r\nX: 1\r\nY: 2\r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize(
    "lines",
    [
        [b"GET http://a.test/b HTTP/1.1"],
        [b"POST http://a.test/ HTTP/1.1"],
        [b"CONNECT a.test:443 HTTP/1.1"],
        [b"GET http://a.test/ HTTP/1.0"],
        [b"GET http://a.test/ HTTP/1.1", b"Z: 3"],
        [b"GET http://a.test/ HTTP/1.1", b"Host: b.test"],
        [b"GET http://a.test/ HTTP/1.1", b"Transfer-Encoding: chunked"],
        [b"GET http://a.test/ HTTP/1.1", b"X: 1", b"Connection: close"],
        [b"X: 1", b"GET http://a.test/ HTTP/1.1"],
        [b"GET http://a.test/ HTTP/1.1", b"Z : 3"],
    ],
)
def test_what_stands_before_the_fields_of_the_request_before_is_not_overlooked(
    codec: Codec, lines: list[bytes]
) -> None:
    first = b"GET http://a.test/ HTTP/1.1\r\n" + LIKE_THE_ONE_BEFORE
    second = b"\r\n".join([*lines, LIKE_THE_ONE_BEFORE])
    check_the_second_is_read_as_if_it_were_the_first(codec, first, second)


@st.composite
def lookalikes(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Two requests that have lines in common. The second, damaged or not, is another one with some lines of the first,
    or has the first line of another and the fields of the first."""
    first, other = [draw(requests()).removeprefix(b"\r\n") for _ in range(2)]
    if draw(st.booleans()):
        other = draw(damaged(st.just(other)))
        return first, other.partition(b"\r\n")[0] + first[first.index(b"\r\n") :]
    lines, content = first.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:], other.partition(b"\r\n\r\n")[2]
    head = other.partition(b"\r\n\r\n")[0].split(b"\r\n")
    for line in draw(st.lists(st.sampled_from(lines), max_size=6)) if lines else ():
        head.insert(draw(st.integers(1, len(head))), line)
    return first, draw(damaged(st.just(b"\r\n".join([*head, b"", content]))))


def check_the_second_is_read_as_if_it_were_the_first(codec: Codec, first: bytes, second: bytes) -> None:
    alone = [read_requests(codec.request_reader(), [each]) for each in (first, second)]
    both = read_requests(codec.request_reader(), [first, second])
    assert both.events == [*alone[0].events, *alone[1].events]
    assert both.refused == alone[1].refused


@FUZZ
@given(st.sampled_from(["httptools", "h11"]), lookalikes())
def test_a_request_with_fields_of_the_one_before_is_read_like_any_other(kind: Kind, two: tuple[bytes, bytes]) -> None:
    check_the_second_is_read_as_if_it_were_the_first(open_codec(kind), *two)


FRAMED = b"POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nId: %d\r\n%b\r\n\r\n%b"


@pytest.mark.parametrize(
    ("name", "line", "content"),
    [
        ("host", b"Content-Length: 2", b"hi"),
        ("content-length", b"Content-Length: 2", b"hi"),
        ("transfer-encoding", b"Transfer-Encoding: chunked", b"2\r\nhi\r\n0\r\n\r\n"),
    ],
)
def test_the_lines_about_framing_are_read_whether_they_are_new_or_not(
    codec: Codec, name: str, line: bytes, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = [FRAMED % (number, line, content) for number in (1, 2)]
    check_the_second_is_read_as_if_it_were_the_first(codec, first, second)
    monkeypatch.setattr(readers, "_DECISIVE", readers._DECISIVE - {name})
    with pytest.raises(AssertionError):
        check_the_second_is_read_as_if_it_were_the_first(codec, first, second)


@FUZZ
@given(responses())
def test_a_response_byte_by_byte_is_the_same_response(data: bytes) -> None:
    check_cuts_change_nothing(read_one_response, data)


@FUZZ
@given(damaged(PIPELINED))
def test_what_is_refused_in_pieces_is_refused_whole_after_the_same_events(data: bytes) -> None:
    assert read_all_requests([bytes([byte]) for byte in data]) == read_all_requests([data])


def test_the_cutting_property_catches_a_reader_that_loses_a_line_end_between_segments() -> None:
    def forgetful(segments: list[bytes]) -> Outcome:
        return read_all_requests([segment.removesuffix(b"\r") for segment in segments])

    with pytest.raises(AssertionError):
        settings(UNSHRUNK)(given(PIPELINED)(lambda data: check_cuts_change_nothing(forgetful, data)))()


def first_of(reader: RequestReader, data: bytes) -> Request | None:
    try:
        events = reader.receive(data)
    except MalformedMessage as fault:
        events = fault.events
    return events[0] if events and isinstance(events[0], Request) else None


@FUZZ
@given(damaged(requests()))
def test_the_head_that_a_reader_takes_is_the_head_that_the_door_takes(data: bytes) -> None:
    """The door takes more: methods and forms of target that others read differently, and framing that it never uses."""
    request = first_of(open_codec("auto").request_reader(), data)
    try:
        head = parse_head(data)
    except MalformedHead:
        head = None
    if request is not None:
        assert head is not None
        assert (head.method, head.target, head.minor) == request[:3]
        assert head.headers == tuple((name.lower(), value) for name, value in request.fields)
        assert head.is_persistent == request.is_persistent
    elif head is not None and head.method == "CONNECT" and "transfer-encoding" not in dict(head.headers):
        assert "/" in head.target or "@" in head.target or head.values("content-length")


def test_endless_heads_and_lines_one_byte_at_a_time_hold_no_more_than_their_bounds(codec: Codec) -> None:
    reader = codec.request_reader(Bounds(head=1000))
    with pytest.raises(MalformedMessage):
        feed(reader.receive, POST + b"X: " + b"x" * 2000, 1)
