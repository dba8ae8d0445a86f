"""Request heads: the grammar of RFC 9112 and nothing beside it."""

import re
import time

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model.reasons import Reason
from gateway.wire import head as head_module
from gateway.wire.grammar import MAX_FIELD_LINES
from gateway.wire.head import MalformedHead, RequestHead, parse_head
from tests.wire.feeding import UNSHRUNK, Parser, check_every_prefix_waits

CURL = (
    b"CONNECT allowed.test:443 HTTP/1.1\r\nHost: allowed.test:443\r\nUser-Agent: curl/8.9.1\r\n"
    b"Proxy-Connection: Keep-Alive\r\n\r\n"
)
START = b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n"


def test_the_same_connect_is_parsed_once_and_one_with_credentials_is_never_kept() -> None:
    assert parse_head(CURL) is parse_head(CURL + b"something else")
    secret = START + b"PROXY-Authorization: Basic Y2k6c2VjcmV0\r\n\r\n"
    assert parse_head(secret) == parse_head(secret)
    assert parse_head(secret) is not parse_head(secret)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    remembered: dict[bytes, RequestHead] = {}
    monkeypatch.setattr(head_module, "_remembered", remembered)
    monkeypatch.setattr(head_module, "_MOST_REMEMBERED", 3)
    for number in range(10):
        parse_head(b"CONNECT a%d.test:443 HTTP/1.1\r\nHost: x\r\n\r\n" % number)
    parse_head(b"GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n")
    assert [head.target for head in remembered.values()] == ["a9.test:443"]


def test_only_heads_of_ordinary_size_are_kept() -> None:
    large = START + b"X-Padding: " + b"x" * 600 + b"\r\n\r\n"
    assert parse_head(large) == parse_head(large)
    assert parse_head(large) is not parse_head(large)


def test_a_head_is_read_as_it_stands_and_leaves_what_follows() -> None:
    head = parse_head(CURL + b"\x16\x03\x01")
    assert head == RequestHead(
        method="CONNECT",
        target="allowed.test:443",
        minor=1,
        headers=(
            ("host", "allowed.test:443"),
            ("user-agent", "curl/8.9.1"),
            ("proxy-connection", "Keep-Alive"),
        ),
        size=len(CURL),
    )


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"CONNECT a.test:443 HTTP/1.0\r\n\r\n", id="Python before 3.12: HTTP/1.0 without Host"),
        pytest.param(b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n", id="Java: Host without port"),
        pytest.param(b"CONNECT a.test:443 HTTP/1.1\r\nHost: b.test:443\r\n\r\n", id="another Host, which is ignored"),
        pytest.param(START + b"Content-Length: 0\r\n\r\n", id="CONNECT that says it has no content"),
        pytest.param(b"\r\n" + CURL, id="one empty line first"),
        pytest.param(b"GET http://a.test/ HTTP/1.1\r\nHost:\r\n\r\n", id="empty Host"),
        pytest.param(b"get http://a.test/ HTTP/1.1\r\nHost: a\r\n\r\n", id="a method is any token"),
        pytest.param(START + b"X-Text: caf\xe9\r\nX-Empty:\r\nX-Blanks: \t a b \t\r\n\r\n", id="Latin-1 and blanks"),
        pytest.param(START + b"X: 1\r\n" * (MAX_FIELD_LINES - 1) + b"\r\n", id="as many lines as are allowed"),
        pytest.param(b"GET http://a.test/" + b"x" * 65_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", id="64 KiB target"),
    ],
)
def test_accepted(data: bytes) -> None:
    head = parse_head(data)
    assert head is not None
    assert head.size == len(data)


def test_values_are_latin1_without_blanks_one_for_each_line() -> None:
    head = parse_head(START + b"X-A: \t caf\xe9 \t\r\nX-B:b\r\nx-a:\r\n\r\n")
    assert head is not None
    assert head.values("x-a") == ["café", ""]
    assert head.values("x-b") == ["b"]
    assert head.values("x-c") == []


MALFORMED = {
    "bare LF everywhere": b"CONNECT a.test:443 HTTP/1.1\nHost: a.test:443\n\n",
    "bare LF after a header": START + b"X: 1\nY: 2\r\n\r\n",
    "bare LF as the empty line": START + b"\n",
    "bare CR in a value": START + b"X: 1\rY: 2\r\n\r\n",
    "two CR before LF": START + b"X: 1\r\r\n\r\n",
    "NUL in a value": START + b"X: a\0b\r\n\r\n",
    "control character in a value": START + b"X: a\x01b\r\n\r\n",
    "DEL in a value": START + b"X: a\x7fb\r\n\r\n",
    "folded line": START + b"X: 1\r\n folded\r\n\r\n",
    "folded line with a tab": START + b"X: 1\r\n\tfolded\r\n\r\n",
    "space before the colon": START + b"X : 1\r\n\r\n",
    "tab before the colon": START + b"X\t: 1\r\n\r\n",
    "no colon": START + b"X\r\n\r\n",
    "no name": START + b": 1\r\n\r\n",
    "name with a quote": START + b'X": 1\r\n\r\n',
    "name that is not ASCII": START + b"X\xe9: 1\r\n\r\n",
    "folded line as the first header": b"CONNECT a.test:443 HTTP/1.1\r\n Host: a\r\n\r\n",
    "two spaces": b"CONNECT  a.test:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    "two spaces before the version": b"CONNECT a.test:443  HTTP/1.1\r\nHost: a\r\n\r\n",
    "tabs": b"CONNECT\ta.test:443\tHTTP/1.1\r\nHost: a\r\n\r\n",
    "space at the end of the request line": b"CONNECT a.test:443 HTTP/1.1 \r\nHost: a\r\n\r\n",
    "space at the start": b" CONNECT a.test:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    "no method": b" a.test:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    "no target": b"CONNECT HTTP/1.1\r\nHost: a\r\n\r\n",
    "method that is no token": b'G=":<> http://a.test/ HTTP/1.1\r\nHost: a\r\n\r\n',
    "method of 64 KiB": b"G" * 65_536 + b" / HTTP/1.1\r\nHost: a\r\n\r\n",
    "target that is not ASCII": "CONNECT bücher.test:443 HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
    "target with a control character": b"CONNECT a\x01.test:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/0.9": b"GET http://a.test/\r\n\r\n",
    "HTTP/1.2": b"GET http://a.test/ HTTP/1.2\r\nHost: a\r\n\r\n",
    "HTTP/3": b"GET http://a.test/ HTTP/3\r\nHost: a\r\n\r\n",
    "http in lower case": b"GET http://a.test/ http/1.1\r\nHost: a\r\n\r\n",
    "HTTP/01.1": b"GET http://a.test/ HTTP/01.1\r\nHost: a\r\n\r\n",
    "two empty lines first": b"\r\n\r\n" + CURL,
    "two Hosts": START + b"Host: a.test:443\r\n\r\n",
    "two Hosts in HTTP/1.0": b"CONNECT a.test:443 HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n",
    "HTTP/1.1 without Host": b"CONNECT a.test:443 HTTP/1.1\r\n\r\n",
    "CONNECT with Content-Length": START + b"Content-Length: 5\r\n\r\nhello",
    "CONNECT with Content-Length twice": START + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "CONNECT with Content-Length 00": START + b"Content-Length: 00\r\n\r\n",
    "CONNECT with Transfer-Encoding": START + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "SSLv2": b"\x80\x2e\x01\x00\x02",
    "SSH": b"SSH-2.0-OpenSSH_9.2\r\n",
    "random bytes": bytes(range(128, 256)),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_refused(data: bytes) -> None:
    with pytest.raises(MalformedHead) as caught:
        parse_head(data)
    assert caught.value.reason is Reason.MALFORMED_REQUEST


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x16", Reason.TLS_ON_PLAIN_PORT),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", Reason.TLS_ON_PLAIN_PORT),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Reason.NOT_A_PROXY_REQUEST),
        (b"PRI * HTTP/2.0\r\n", Reason.NOT_A_PROXY_REQUEST),
        (b"\x05", Reason.NOT_A_PROXY_REQUEST),
        (b"\x04\x01\x01\xbb", Reason.NOT_A_PROXY_REQUEST),
    ],
)
def test_other_protocols_are_known_by_their_first_bytes(data: bytes, reason: Reason) -> None:
    with pytest.raises(MalformedHead) as caught:
        parse_head(data)
    assert caught.value.reason is reason


def test_ten_thousand_headers_are_too_large_whatever_their_bytes() -> None:
    with pytest.raises(MalformedHead) as caught:
        parse_head(START + b"X:\r\n" * 10_000 + b"\r\n")
    assert caught.value.reason is Reason.HEAD_TOO_LARGE


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"CONNECT a.test:443 HTTP/1.1\n", id="bare LF"),
        pytest.param(b"CONNECT a.test:443 HTTP/1.1\r\nHost: a\r\nX: 1\n", id="bare LF later"),
        pytest.param(b"CONNECT a.test:443 HTTP/1.1\rH", id="bare CR"),
        pytest.param(START + b"X: " + b"x" * 9000 + b"\n", id="bare LF behind a long line"),
        pytest.param(b"GET /\r\n", id="HTTP/0.9"),
        pytest.param(b"CONNECT a.test:443 HTTP/9.9\r\n", id="unknown version"),
        pytest.param(b"CONNECT  ", id="two spaces"),
        pytest.param(b"CONNECT a.test:443 HTTP/1.1 ", id="three spaces"),
        pytest.param(b"\0", id="NUL"),
        pytest.param(b"G" * 33, id="endless method"),
        pytest.param(b"\r\n\r\n", id="only empty lines"),
    ],
)
def test_what_can_become_no_head_is_refused_without_waiting_for_its_end(data: bytes) -> None:
    with pytest.raises(MalformedHead):
        parse_head(data)


def test_the_detail_names_the_line_and_quotes_nothing() -> None:
    with pytest.raises(MalformedHead, match=r"^line 4 is no header line$"):
        parse_head(START + b"X: 1\r\nProxy-Authorization : Basic c2VjcmV0\r\n\r\n")


def test_neither_target_nor_headers_stand_in_the_representation() -> None:
    head = parse_head(b"GET http://a.test/?token=secret HTTP/1.0\r\nAuthorization: secret\r\n\r\n")
    assert "secret" not in repr(head)


def test_an_endless_head_one_byte_at_a_time_costs_little_at_each_arrival() -> None:
    data = START + b"X-Long: " + b"x" * 65_000
    arrivals = range(0, len(data), 16)
    began = time.process_time()
    for size in arrivals:
        parse_head(data[:size])
    assert (time.process_time() - began) / len(arrivals) < 200e-6


TOKEN = st.text(st.sampled_from("!#$%&'*+.^_`|~-0123456789abcxyzABCXYZ"), min_size=1, max_size=12)
TARGET = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)
VALUE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_categories=["Cc"]) | st.just("\t"))
FRAMING = {"host", "content-length", "transfer-encoding"}


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    minor = draw(st.sampled_from([0, 1]))
    fields = draw(st.lists(st.tuples(TOKEN.filter(lambda name: name.lower() not in FRAMING), VALUE), max_size=6))
    if minor == 1 or draw(st.booleans()):
        fields.insert(draw(st.integers(0, len(fields))), ("Host", draw(TARGET)))
    lines = [f"{draw(TOKEN | st.just('CONNECT'))} {draw(TARGET)} HTTP/1.{minor}", *[f"{n}:{v}" for n, v in fields]]
    return draw(st.sampled_from(["", "\r\n"])).encode() + "\r\n".join([*lines, "", ""]).encode("latin-1")


@given(heads())
def test_feeding_byte_by_byte_gives_the_same_head(data: bytes) -> None:
    check_every_prefix_waits(parse_head, data)


def test_the_feeding_property_catches_a_parser_that_takes_half_a_line_end_for_a_bare_cr() -> None:
    def hasty(data: bytes) -> object:
        if data.count(b"\r") != data.count(b"\n"):
            raise MalformedHead(Reason.MALFORMED_REQUEST, "a bare CR")
        return parse_head(data)

    with pytest.raises(MalformedHead):
        settings(UNSHRUNK)(given(heads())(lambda data: check_every_prefix_waits(hasty, data)))()


def read_by_h11(data: bytes) -> h11.Request | None:
    """The request that h11 reads, None where it refuses or waits."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 18)
    connection.receive_data(data)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:
        return None
    return event if isinstance(event, h11.Request) else None


def check_h11_agrees(parse: Parser, data: bytes) -> None:
    """What `parse` takes, h11 takes and reads alike. It knows no empty line first."""
    try:
        head = parse(data)
    except MalformedHead:
        return
    if not isinstance(head, RequestHead):
        return
    request = read_by_h11(data.removeprefix(b"\r\n"))
    assert request is not None, "accepted here, refused by h11"
    assert request.method == head.method.encode()
    assert request.target == head.target.encode()
    assert request.http_version == b"1.%d" % head.minor
    assert list(request.headers) == [(name.encode(), value.encode("latin-1")) for name, value in head.headers]


TROUBLE = st.sampled_from(
    [b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b":", b" :", b"\r\n ", b"\x7f", b"\xe9", b"x", b""]
)


@st.composite
def damaged_heads(draw: st.DrawFn) -> bytes:
    data = draw(heads())
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data) - 1))
        data = data[:at] + draw(TROUBLE) + data[at + draw(st.integers(0, 1)) :]
    return data


@settings(max_examples=500)
@given(damaged_heads())
def test_what_is_accepted_h11_reads_alike(data: bytes) -> None:
    check_h11_agrees(parse_head, data)


def test_the_comparison_with_h11_catches_a_parser_that_forgives_a_space_before_the_colon() -> None:
    def forgiving(data: bytes) -> object:
        return parse_head(re.sub(rb"(?m)^([^:\r\n]*?)[ \t]+:", rb"\1:", data))

    with pytest.raises(AssertionError):
        settings(UNSHRUNK, max_examples=1000)(given(damaged_heads())(lambda data: check_h11_agrees(forgiving, data)))()


REFUSED_ON_TOP_OF_H11 = (
    "bare LF everywhere",
    "bare LF after a header",
    "folded line",
    "control character in a value",
    "HTTP/1.2",
    "CONNECT with Content-Length",
    "CONNECT with Content-Length twice",
    "CONNECT with Content-Length 00",
    "CONNECT with Transfer-Encoding",
    "method of 64 KiB",
)


@pytest.mark.parametrize("case", REFUSED_ON_TOP_OF_H11)
def test_h11_would_have_taken(case: str) -> None:
    assert read_by_h11(MALFORMED[case]) is not None


def test_what_has_credentials_is_not_remembered() -> None:
    plain = b"CONNECT remembered.test:443 HTTP/1.1\r\nHost: x\r\n\r\n"
    secret = plain.replace(b"Host: x", b"Host: x\r\nProxy-AUTHORIZATION: Basic hunter2")
    assert parse_head(plain) is parse_head(plain)
    assert parse_head(secret) == parse_head(secret)
    assert parse_head(secret) is not parse_head(secret)


@pytest.mark.parametrize(
    ("minor", "fields", "persistent"),
    [
        (1, b"", True),
        (0, b"", False),
        (1, b"Connection: foo,\tCLOSE \r\n", False),
        (1, b"Proxy-Connection: close\r\n", False),
        (0, b"Connection: Keep-Alive\r\n", True),
        (0, b"Proxy-Connection: foo, keep-alive\r\n", True),
        (0, b"Connection: keep-alive\r\nProxy-Connection: close\r\n", False),
        (1, b"Connection: closed\r\n", True),
    ],
)
def test_a_client_goes_on_listening_as_the_version_and_both_its_fields_say(
    minor: int, fields: bytes, persistent: bool
) -> None:
    head = parse_head(b"CONNECT a.test:443 HTTP/1.%d\r\nHost: x\r\n%b\r\n" % (minor, fields))
    assert head is not None
    assert head.is_persistent is persistent
