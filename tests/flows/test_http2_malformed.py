"""Frames that no honest client sends, and floods of those that some do, over an inspected connection: each is answered
with the right code, what is bad for one stream harms no other, and nothing of it reaches the origin.
"""

import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from gateway.model.reasons import Reason
from gateway.wire.http2.codes import ErrorCode
from tests.flows.interception import HOST, Bed, inspecting
from tests.helpers.http2_client import PREFACE, Fields, Http2Client, request
from tests.helpers.tls_origin import Issuer, TlsOrigin

REASONS = frozenset({Reason.HTTP2_FLOOD})

PROTOCOL, FLOW, SIZE = ErrorCode.PROTOCOL_ERROR, ErrorCode.FLOW_CONTROL_ERROR, ErrorCode.FRAME_SIZE_ERROR
COMPRESSION, CALM, CLOSED = ErrorCode.COMPRESSION_ERROR, ErrorCode.ENHANCE_YOUR_CALM, ErrorCode.STREAM_CLOSED
REFUSED = ErrorCode.REFUSED_STREAM


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("malformed")
    issuer = Issuer(folder)
    with (
        TlsOrigin(context=issuer.context(HOST)) as origin,
        inspecting(folder, origin, issuer, time.time(), [{"name": "site", "hosts": [HOST]}]) as bed,
    ):
        yield bed


def get(*changes: tuple[str, str], without: tuple[str, ...] = ()) -> Fields:
    """The head of a GET, with others behind it and some left out."""
    return [field for field in [*request("GET", HOST, "/bad"), *changes] if field[0] not in without]


def post(*fields: tuple[str, str]) -> Fields:
    return [*request("POST", HOST, "/bad"), *fields]


@dataclass(frozen=True)
class StreamCase:
    """What makes one stream bad: it is reset with `code`."""

    name: str
    code: ErrorCode
    make: Callable[[Http2Client, int], list[Frame]]


def heads(name: str, fields: Fields, code: ErrorCode = PROTOCOL) -> StreamCase:
    return StreamCase(name, code, lambda client, stream: [client.head(stream, fields)])


def _with_body(fields: Fields, *bodies: bytes) -> Callable[[Http2Client, int], list[Frame]]:
    def make(client: Http2Client, stream: int) -> list[Frame]:
        pieces = [client.data(stream, body, ends=body is bodies[-1]) for body in bodies]
        return [client.head(stream, fields, ends=False), *pieces]

    return make


def _trailers(trailers: Fields, ends: bool = True) -> Callable[[Http2Client, int], list[Frame]]:
    return lambda client, stream: [client.head(stream, post(), ends=False), client.head(stream, trailers, ends=ends)]


STREAMS = [
    heads("no method", get(without=(":method",))),
    heads("no path", get(without=(":path",))),
    heads("an empty path", [(n, "" if n == ":path" else v) for n, v in get()]),
    heads("a path without a slash", [(n, "bad" if n == ":path" else v) for n, v in get()]),
    heads("a path with a blank", [(n, "/a b" if n == ":path" else v) for n, v in get()]),
    heads("no scheme", get(without=(":scheme",))),
    heads("another scheme", [(n, "http" if n == ":scheme" else v) for n, v in get()]),
    heads("no authority and no Host", get(without=(":authority",))),
    heads("user information", [(n, f"u@{HOST}" if n == ":authority" else v) for n, v in get()]),
    heads("Host that differs", get(("host", "other.test"))),
    heads("Host twice", get(("host", HOST), ("host", HOST))),
    heads("a pseudo-header field twice", [*get(), (":path", "/")]),
    heads("a pseudo-header field behind others", get(("accept", "*/*"), (":path", "/"))),
    heads("an unknown pseudo-header field", [(":odd", "1"), *get()]),
    heads("a status in a request", [(":status", "200"), *get()]),
    heads("a name with capitals", get(("Accept", "*/*"))),
    heads("a name with a blank", get(("a b", "1"))),
    heads("an empty name", get(("", "1"))),
    heads("a name with a colon", get(("a:b", "1"))),
    heads("a value with LF", get(("a", "1\nb: 2"))),
    heads("a value with CR", get(("a", "1\rb"))),
    heads("a value with NUL", get(("a", "1\0"))),
    heads("a value that begins with a blank", get(("a", " 1"))),
    heads("Connection", get(("connection", "close"))),
    heads("Transfer-Encoding", post(("transfer-encoding", "chunked"))),
    heads("Upgrade", get(("upgrade", "websocket"))),
    heads("Keep-Alive", get(("keep-alive", "5"))),
    heads("TE other than trailers", get(("te", "gzip"))),
    heads("a method that is not registered", [(n, "BREW" if n == ":method" else v) for n, v in get()]),
    heads("a method with a line end", [(n, "GET / HTTP/1.1\r\nX: " if n == ":method" else v) for n, v in get()]),
    heads("a length without content", post(("content-length", "5"))),
    heads("two lengths", post(("content-length", "0"), ("content-length", "0"))),
    heads("a length that is no number", post(("content-length", "+0"))),
    heads("CONNECT with a path", [(n, "CONNECT" if n == ":method" else v) for n, v in get()]),
    heads("extended CONNECT for something else", [(":method", "CONNECT"), (":protocol", "ip"), *get()[1:]]),
    StreamCase("more content than its length", PROTOCOL, _with_body(post(("content-length", "3")), b"12345")),
    StreamCase("less content than its length", PROTOCOL, _with_body(post(("content-length", "9")), b"12", b"34")),
    StreamCase("trailers that are not the end", PROTOCOL, _trailers([("a", "b")], ends=False)),
    StreamCase("pseudo-header fields in trailers", PROTOCOL, _trailers([(":path", "/")])),
    StreamCase("a length in trailers", PROTOCOL, _trailers([("content-length", "1")])),
    StreamCase(
        "a window of nothing", PROTOCOL,
        lambda c, s: [c.head(s, post(), ends=False), WindowUpdateFrame(s, window_increment=1), _zero_window(s)],
    ),
    StreamCase(
        "a stream's window beyond its bound", FLOW,
        lambda c, s: [c.head(s, post(), ends=False), c.window(s, 2**31 - 1)],
    ),
]  # fmt: skip


class _Raw(Frame):
    """A frame of any shape."""

    def __init__(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        super().__init__(stream)
        self._raw = struct.pack(">I", len(payload))[1:] + struct.pack(">BBL", kind, flags, stream) + payload

    def serialize(self) -> bytes:
        return self._raw


def _zero_window(stream: int) -> Frame:
    return _Raw(8, 0, stream, bytes(4))


@pytest.mark.parametrize("case", STREAMS, ids=[case.name for case in STREAMS])
def test_a_malformed_request_resets_its_stream_and_no_other(bed: Bed, case: StreamCase) -> None:
    reached = len(bed.origin.requests)
    with bed.client(HOST, "h2") as tls:
        client = Http2Client(tls)
        client.send(*case.make(client, 1))
        client.until(lambda it: it.reset_code(1) is not None)
        assert client.reset_code(1) == case.code
        assert client.heads[1] == []
        client.get(3, f"{HOST}:{bed.origin.port}", "/good")
        assert client.answer(3) == ("200", b"hello\n")
        assert client.goaway is None
    paths = [got.path for got in bed.origin.requests[reached:]]
    assert [path for path in paths if path != "/good"] in ([], ["/bad"])
    if case.name not in _SEEN_BEFORE:
        assert paths == ["/good"]


_SEEN_BEFORE = {case.name for case in STREAMS[-7:]}
"""Their heads were sound: the origin may have seen those, and never their end."""


@dataclass(frozen=True)
class ConnectionCase:
    """What ends a connection, with `code`."""

    name: str
    code: ErrorCode
    make: Callable[[Http2Client], list[Frame]]
    begins: bool = True


def _open(client: Http2Client) -> HeadersFrame:
    return client.head(1, post(), ends=False)


def _cut_head(client: Http2Client, block: bytes = b"\x82") -> HeadersFrame:
    return HeadersFrame(1, data=block)


CONNECTIONS = [
    ConnectionCase("no preface", PROTOCOL, lambda c: [_Raw(0x47, 0x45, 0x54, b"x" * 30)], begins=False),
    ConnectionCase("something before SETTINGS", PROTOCOL, lambda c: [_Preface(), PingFrame(0)], begins=False),
    ConnectionCase("a frame that is too large", SIZE, lambda c: [_open(c), _Raw(0, 0, 1, bytes(16385))]),
    ConnectionCase("DATA of no stream", PROTOCOL, lambda c: [_Raw(0, 0, 0, b"x")]),
    ConnectionCase("DATA on an idle stream", PROTOCOL, lambda c: [DataFrame(5, b"x")]),
    ConnectionCase("RST_STREAM on an idle stream", PROTOCOL, lambda c: [RstStreamFrame(5)]),
    ConnectionCase("WINDOW_UPDATE on an idle stream", PROTOCOL, lambda c: [c.window(5, 1)]),
    ConnectionCase("a stream with an even number", PROTOCOL, lambda c: [c.head(2, get())]),
    ConnectionCase("a CONTINUATION of nothing", PROTOCOL, lambda c: [ContinuationFrame(1, b"")]),
    ConnectionCase("a frame within a block", PROTOCOL, lambda c: [_cut_head(c), PingFrame(0)]),
    ConnectionCase("a block that goes on elsewhere", PROTOCOL, lambda c: [_cut_head(c), ContinuationFrame(3, b"")]),
    ConnectionCase("more padding than payload", PROTOCOL, lambda c: [_open(c), _Raw(0, 8, 1, b"\x05x")]),
    ConnectionCase("a block that cannot be read", COMPRESSION, lambda c: [_Raw(1, 5, 1, b"\xff\xff\xff\xff\xff")]),
    ConnectionCase("an index beyond the table", COMPRESSION, lambda c: [_Raw(1, 5, 1, b"\xfe")]),
    ConnectionCase("a head that unfolds", CALM, lambda c: [_Raw(1, 5, 1, _bomb())]),
    ConnectionCase("a PING that is too short", SIZE, lambda c: [_Raw(6, 0, 0, b"1234")]),
    ConnectionCase("a PING of a stream", PROTOCOL, lambda c: [_Raw(6, 0, 1, bytes(8))]),
    ConnectionCase("SETTINGS cut off", SIZE, lambda c: [_Raw(4, 0, 0, b"12345")]),
    ConnectionCase("SETTINGS of a stream", PROTOCOL, lambda c: [_Raw(4, 0, 1, b"")]),
    ConnectionCase("an ACK that says something", SIZE, lambda c: [_Raw(4, 1, 0, bytes(6))]),
    ConnectionCase("ENABLE_PUSH = 2", PROTOCOL, lambda c: [SettingsFrame(0, {2: 2})]),
    ConnectionCase("a window beyond its bound", FLOW, lambda c: [_Raw(4, 0, 0, struct.pack(">HL", 4, 2**31))]),
    ConnectionCase("a MAX_FRAME_SIZE too small", PROTOCOL, lambda c: [SettingsFrame(0, {5: 100})]),
    ConnectionCase("a window of nothing", PROTOCOL, lambda c: [_Raw(8, 0, 0, bytes(4))]),
    ConnectionCase("the connection's window beyond its bound", FLOW, lambda c: [c.window(0, 2**31 - 1)]),
    ConnectionCase("WINDOW_UPDATE cut off", SIZE, lambda c: [_Raw(8, 0, 0, b"1")]),
    ConnectionCase("RST_STREAM cut off", SIZE, lambda c: [_open(c), _Raw(3, 0, 1, b"1")]),
    ConnectionCase("GOAWAY cut off", SIZE, lambda c: [_Raw(7, 0, 0, b"1")]),
    ConnectionCase("a push by a client", PROTOCOL, lambda c: [_open(c), PushPromiseFrame(1, 2, b"\x82")]),
    ConnectionCase("a stream with a lower number", PROTOCOL, lambda c: [c.head(5, get()), c.head(3, get())]),
    ConnectionCase("fields after a reset", CLOSED, lambda c: [_open(c), RstStreamFrame(1), c.head(1, get())]),
    ConnectionCase("CONTINUATIONs without end", CALM, lambda c: [_cut_head(c), *[ContinuationFrame(1, b"")] * 50]),
    ConnectionCase("a block without end", CALM, lambda c: [_cut_head(c), *[ContinuationFrame(1, b"\x82" * 16000)] * 6]),
    ConnectionCase("rapid resets", CALM, lambda c: _resets(c, 1500)),
    ConnectionCase("streams that are malformed one after the other", CALM, lambda c: _malformed(c, 1500)),
    ConnectionCase("SETTINGS without end", CALM, lambda c: [SettingsFrame(0, {})] * 300),
    ConnectionCase("PINGs without end", CALM, lambda c: [PingFrame(0)] * 3000),
    ConnectionCase("empty DATA without end", CALM, lambda c: [_open(c), *[DataFrame(1, b"")] * 1500]),
    ConnectionCase("PRIORITY without end", CALM, lambda c: [PriorityFrame(1)] * 1500),
    ConnectionCase("unknown frames without end", CALM, lambda c: [ExtensionFrame(0xBE, 1, body=b"")] * 1500),
    ConnectionCase("tiny WINDOW_UPDATEs without end", CALM, lambda c: [_open(c), *[c.window(1, 1)] * 12000]),
    ConnectionCase("GOAWAYs without end", CALM, lambda c: [_open(c), *[GoAwayFrame(0)] * 300]),
]  # fmt: skip


class _Preface(Frame):
    def __init__(self) -> None:
        super().__init__(0)

    def serialize(self) -> bytes:
        return PREFACE


def _bomb() -> bytes:
    """One entry of 4,000 bytes, named again and again."""
    value = b"x" * 4000
    length = b"\x7f" + bytes([(4000 - 127) & 0x7F | 0x80, (4000 - 127) >> 7])
    return b"\x40\x01a" + length + value + b"\xbe" * 100


def _resets(client: Http2Client, count: int) -> list[Frame]:
    streams = range(1, 2 * count, 2)
    return [frame for number in streams for frame in (client.head(number, post(), ends=False), RstStreamFrame(number))]


def _malformed(client: Http2Client, count: int) -> list[Frame]:
    return [client.head(number, get(("connection", "close"))) for number in range(1, 2 * count, 2)]


@pytest.mark.parametrize("case", CONNECTIONS, ids=[case.name for case in CONNECTIONS])
def test_what_is_wrong_with_a_connection_ends_it_with_the_code_that_says_so(bed: Bed, case: ConnectionCase) -> None:
    bed.gateway.quiet()
    with bed.client(HOST, "h2") as beside, bed.client(HOST, "h2") as tls:
        other, client = Http2Client(beside), Http2Client(tls, begins=case.begins)
        client.send(*case.make(client))
        client.until(lambda it: it.goaway is not None)
        assert client.goaway is not None, client.frames
        assert client.goaway.error_code == case.code
        client.until(lambda it: it.is_over)
        other.get(1, f"{HOST}:{bed.origin.port}", "/beside")
        assert other.answer(1) == ("200", b"hello\n")
    found = bed.gateway.quiet()[-2:]
    reasons = {record.get("reason") for record in found}
    assert (Reason.HTTP2_FLOOD if case.code is CALM else Reason.MALFORMED_REQUEST) in reasons


def test_more_streams_than_were_agreed_are_refused_and_may_be_sent_again(bed: Bed) -> None:
    with bed.client(HOST, "h2") as tls:
        client = Http2Client(tls)
        client.send(*[client.head(number, post(), ends=False) for number in range(1, 203, 2)])
        client.until(lambda it: it.reset_code(201) is not None)
        assert client.reset_code(201) == REFUSED
        assert client.reset_code(1) is None


def test_a_head_that_is_too_large_is_answered_in_words(bed: Bed) -> None:
    with bed.client(HOST, "h2") as tls:
        client = Http2Client(tls)
        block = client.encoder.encode(get(("big", "x" * 4000)))
        again = client.encoder.encode([("big", "x" * 4000)]) * 20
        frames: list[Frame] = [HeadersFrame(1, data=block + again, flags=["END_HEADERS", "END_STREAM"])]
        client.send(*frames)
        assert client.answer(1)[0] == "431"
        block = client.encoder.encode(post(("big", "x" * 4000))) + again
        frames = [HeadersFrame(3, data=block, flags=["END_HEADERS"]), client.data(3, b"abc"), client.data(3, b"d")]
        client.send(*frames, client.head(3, [("a", "trailer")]))
        assert client.answer(3)[0] == "431"
        assert client.reset_code(3) is None
        assert client.goaway is None
        reached, good = len(bed.origin.requests), request("GET", f"{HOST}:{bed.origin.port}", "/behind")
        block = client.encoder.encode(post(("big", "x" * 4000))) + again
        frames = [HeadersFrame(5, data=block, flags=["END_HEADERS"]), client.head(5, good, ends=False)]
        client.send(*frames)
        assert client.answer(5)[0] == "431"
        assert len(bed.origin.requests) == reached


def test_a_request_under_way_is_told_by_its_record_what_ended_its_connection(bed: Bed) -> None:
    bed.gateway.quiet()
    authority = f"{HOST}:{bed.origin.port}"
    with bed.client(HOST, "h2") as tls:
        client = Http2Client(tls)
        fields = [*request("POST", authority, "/under-way"), ("content-length", "10")]
        client.send(client.head(1, fields, ends=False), client.data(1, b"begun"))
        deadline = time.monotonic() + 20
        while not any(got.path == "/under-way" for got in bed.origin.requests):
            assert time.monotonic() < deadline, "the origin has not read its head"
            time.sleep(0.005)
        client.send(*[PingFrame(0)] * 3000)
        client.until(lambda it: it.is_over)
    bed.gateway.quiet()
    [told] = [record for record in bed.gateway.records() if record.get("path") == "/under-way"]
    assert (told["reason"], told["ended_by"]) == (Reason.HTTP2_FLOOD, "downstream")
