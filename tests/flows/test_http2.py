"""HTTP/2 on both sides of an inspected tunnel: many streams, each judged, answered and recorded by itself."""

import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame, RstStreamFrame, SettingsFrame

from gateway.intercept.dialer import CONNECTIONS
from gateway.model.reasons import Reason
from gateway.telemetry.flows.filters import verdict_in
from gateway.wire.http2.codes import ErrorCode
from gateway.wire.http2.frames import header_frames
from tests.flows.interception import HOST, Bed, inspecting
from tests.helpers.http2_client import Http2Client, request
from tests.helpers.http2_origin import Answer, Asked, Http2Origin, Speaking, plain
from tests.helpers.tls_origin import Issuer, TlsOrigin

PIECE = b"x" * 16384
ENABLE_CONNECT_PROTOCOL = 8
GRPC = ("content-type", "application/grpc")


def _trailers(speaking: Speaking, asked: Asked) -> None:
    speaking.reply(asked.stream, b"hello\n", trailers=[("x-sum", "6"), ("grpc-status", "0")])


def _hints(speaking: Speaking, asked: Asked) -> None:
    speaking.h2.send_headers(asked.stream, [(":status", "103"), ("link", "</a>")])
    speaking.reply(asked.stream)


def _empty(status: str) -> Answer:
    def answer(speaking: Speaking, asked: Asked) -> None:
        speaking.h2.send_headers(asked.stream, [(":status", status)], end_stream=True)
        speaking.flush()

    return answer


def _broken(speaking: Speaking, asked: Asked) -> None:
    speaking.h2.send_headers(asked.stream, [(":status", "200")])
    speaking.h2.reset_stream(asked.stream, ErrorCode.ENHANCE_YOUR_CALM)
    speaking.flush()


def _cancelled(speaking: Speaking, asked: Asked) -> None:
    speaking.h2.reset_stream(asked.stream, ErrorCode.INTERNAL_ERROR)
    speaking.flush()


def _unfinished(speaking: Speaking, asked: Asked) -> None:
    speaking.h2.send_headers(asked.stream, [(":status", "200")])
    speaking.flush()


def _dies(begins: bool) -> Answer:
    def answer(speaking: Speaking, asked: Asked) -> None:
        if begins:
            speaking.h2.send_headers(asked.stream, [(":status", "200"), GRPC])
            speaking.flush()
        speaking.socket.shutdown(socket.SHUT_RDWR)
        raise ConnectionResetError

    return answer


def _refused(speaking: Speaking, asked: Asked) -> None:
    speaking.h2.reset_stream(asked.stream, ErrorCode.REFUSED_STREAM)
    speaking.flush()


def _away_once(speaking: Speaking, asked: Asked) -> None:
    """The first connection on which this is asked says that it has not looked at it."""
    if speaking.number in _away:
        speaking.reply(asked.stream)
        return
    _away.update(range(1, 1000))
    speaking.socket.sendall(GoAwayFrame(0, last_stream_id=asked.stream - 2 if asked.stream > 1 else 0).serialize())


_away: set[int] = set()


def _silent(speaking: Speaking, asked: Asked) -> None:
    """Nothing is said."""


def _full(speaking: Speaking, asked: Asked) -> None:
    """It takes no further stream, and this one goes on."""
    speaking.h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 1})
    speaking.h2.send_headers(asked.stream, [(":status", "103")])
    speaking.flush()


def _big(speaking: Speaking, asked: Asked) -> None:
    """More than any window; the rest is sent as `flood` has it."""
    speaking.h2.send_headers(asked.stream, [(":status", "200")])
    sent = 0
    while room := min(speaking.h2.local_flow_control_window(asked.stream), 16384):
        speaking.h2.send_data(asked.stream, PIECE[:room])
        sent += room
    speaking.flush()


def _malformed_length(speaking: Speaking, asked: Asked) -> None:
    speaking.reply(asked.stream, b"hello\n", ("content-length", "3"))


def _malformed_field(speaking: Speaking, asked: Asked) -> None:
    speaking.reply(asked.stream, b"hello\n", ("x-split", "a\r\nset-cookie: b"))


def _large_head(speaking: Speaking, asked: Asked) -> None:
    speaking.reply(asked.stream, b"hello\n", ("x-large", "-" * 3000))


def _window_of_nothing(speaking: Speaking, asked: Asked) -> None:
    speaking.socket.sendall(bytes((0, 0, 4, 8, 0)) + asked.stream.to_bytes(4, "big") + bytes(4))


def _trailers_within(speaking: Speaking, asked: Asked) -> None:
    speaking.socket.sendall(header_frames(asked.stream, b"\0\1a\1b", ends=False))


def _last_words(speaking: Speaking, asked: Asked) -> None:
    for _ in range(3):
        speaking.h2.send_data(asked.stream, PIECE)
    speaking.h2.end_stream(asked.stream)


BREAKER = {"failures": 2, "window": "60s", "open": "60s"}
OTHERS = ("strict.test", "limited.test", "stalling.test", "brief.test", "slow.test", "mute.test", "failing.test")
ANSWERS = {
    "/trailers": _trailers,
    "/hints": _hints,
    "/204": _empty("204"),
    "/304": _empty("304"),
    "/broken": _broken,
    "/cancelled": _cancelled,
    "/early": plain,
    "/unfinished": _unfinished,
    "/dies": _dies(begins=False),
    "/dies-within": _dies(begins=True),
    "/refused": _refused,
    "/away": _away_once,
    "/silent": _silent,
    "/full": _full,
    "/big": _big,
    "/length": _malformed_length,
    "/split": _malformed_field,
    "/large": _large_head,
    "/socket-window": _window_of_nothing,
    "/socket-trailers": _trailers_within,
    "/socket-last": _last_words,
}


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    return Issuer(tmp_path_factory.mktemp("issuer"))


@pytest.fixture(scope="module")
def origin(issuer: Issuer) -> Iterator[Http2Origin]:
    with Http2Origin(issuer.context(HOST, *OTHERS), ANSWERS, early=frozenset({"/early"})) as origin:
        yield origin


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory, origin: Http2Origin, issuer: Issuer) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("http2")
    strict = {"upstream_ca": "origins.pem", "requests": [{"methods": ["GET"], "paths": ["/ok/**"]}]}
    rules: list[dict[str, Any]] = [
        {"name": "site", "hosts": [HOST], "timeouts": {"idle": "20s"}},
        {"name": "strict", "hosts": ["strict.test"], "inspect": strict},
        {"name": "stalling", "hosts": ["stalling.test"], "timeouts": {"idle": "1s"}},
        {"name": "failing", "hosts": ["mute.test", "failing.test"], "timeouts": {"idle": "500ms"}, "breaker": BREAKER},
        {"name": "brief", "hosts": ["brief.test"], "timeouts": {"lifetime": "1s"}},
        {"name": "slow", "hosts": ["slow.test"], "timeouts": {"idle": "500ms"}, "limits": [{"bandwidth": "16KiB/s"}]},
        {"name": "limited", "hosts": ["limited.test"], "limits": [{"requests": "1/m", "burst": 1}]},
    ]
    with inspecting(folder, cast("TlsOrigin", origin), issuer, time.time(), rules) as bed:
        yield bed


def _authority(bed: Bed, host: str = HOST) -> str:
    return f"{host}:{bed.origin.port}"


def _status(client: Http2Client, stream: int) -> str:
    return client.heads[stream][-1][0][1]


def _has_head(stream: int, client: Http2Client) -> bool:
    return bool(client.heads[stream])


def _until_over(client: Http2Client, stream: int) -> None:
    client.until(lambda it: stream in it.ended or it.reset_code(stream) is not None)


def test_every_stream_is_an_exchange_of_its_own_over_one_pair_of_connections(bed: Bed, origin: Http2Origin) -> None:
    connections = origin.connections
    with bed.client(HOST, "h2", "http/1.1") as tls:
        assert tls.tls.selected_alpn_protocol() == "h2"
        client = Http2Client(tls)
        streams = range(1, 41, 2)
        client.send(*[client.head(n, request("GET", _authority(bed), f"/many/{n}")) for n in streams])
        assert [client.answer(n) for n in streams] == [("200", b"hello\n")] * 20
        assert dict(client.heads[1][0])["via"].startswith("2 ")
    assert origin.connections == connections + 1
    records = bed.gateway.wait_for_records(20, http_version="2", method="GET", status=200)
    many = [record for record in records if record["path"].startswith("/many/")]
    assert len({record["exchange_id"] for record in many}) == 20
    [connection] = bed.gateway.wait_for_records(1, connection_id=many[0]["connection_id"], requests=20)
    assert connection["bytes_down"] == 120


def test_trailers_interim_heads_and_empty_answers_pass_in_both_directions(bed: Bed, origin: Http2Origin) -> None:
    with bed.client(HOST, "h2") as tls:
        client = Http2Client(tls)
        head = client.head(1, request("POST", _authority(bed), "/trailers"), ends=False)
        client.send(head, client.data(1, b"abc"), client.head(1, [("x-check", "1")]))
        assert client.answer(1) == ("200", b"hello\n")
        assert client.heads[1][1] == [("x-sum", "6"), ("grpc-status", "0")]
        asked = next(asked for asked in origin.requests if asked.value(":path") == "/trailers")
        assert (asked.body, asked.trailers) == (b"abc", [("x-check", "1")])
        client.get(3, _authority(bed), "/hints")
        assert client.answer(3)[0] == "200"
        assert client.heads[3][0][:2] == [(":status", "103"), ("link", "</a>")]
        for stream, path in ((5, "/204"), (7, "/304")):
            client.get(stream, _authority(bed), path)
            assert client.answer(stream) == (path[1:], b"")
        client.send(client.head(9, request("HEAD", _authority(bed), "/204")))
        assert client.answer(9) == ("204", b"")


def test_an_origin_s_reset_is_passed_on_with_its_code_and_no_other_stream_ends(bed: Bed, origin: Http2Origin) -> None:
    with bed.client(HOST, "h2") as tls:
        client = Http2Client(tls)
        client.get(1, _authority(bed), "/broken")
        client.until(lambda it: it.reset_code(1) is not None)
        assert client.reset_code(1) == ErrorCode.ENHANCE_YOUR_CALM
        client.send(
            client.head(3, request("POST", _authority(bed), "/refused"), ends=False), client.data(3, b"x", True)
        )
        client.until(lambda it: it.reset_code(3) is not None)
        assert client.reset_code(3) == ErrorCode.REFUSED_STREAM
        client.get(5, _authority(bed), "/good")
        assert client.answer(5) == ("200", b"hello\n")
    [record] = bed.gateway.wait_for_records(1, path="/broken")
    assert record["reason"] == Reason.RESPONSE_INCOMPLETE


def test_a_destination_that_is_lost_has_not_cancelled_anything(bed: Bed) -> None:
    """Of a connection that breaks gRPC says `UNAVAILABLE`, which may be tried again; `CANCEL` it would call its own."""
    with bed.client(HOST, "h2") as tls:
        client = Http2Client(tls)
        for stream, path in ((1, "/dies"), (3, "/dies-within")):
            head = client.head(stream, [*request("POST", _authority(bed), path), GRPC], ends=False)
            client.send(head, client.data(stream, b"x", True))
            _until_over(client, stream)
        assert (":status", "200") in client.heads[1][0]
        assert ("grpc-status", "14") in client.heads[1][0]
        assert client.reset_code(3) == ErrorCode.INTERNAL_ERROR
    [before], [within] = (bed.gateway.wait_for_records(1, path=path) for path in ("/dies", "/dies-within"))
    assert (before["reason"], within["reason"]) == (Reason.CONNECTION_TERMINATED, Reason.RESPONSE_INCOMPLETE)


def test_a_client_s_reset_is_passed_on(bed: Bed, origin: Http2Origin) -> None:
    with bed.client(HOST, "h2") as tls:
        client = Http2Client(tls)
        before = len(origin.resets)
        client.get(1, _authority(bed), "/silent")
        _wait(lambda: any(a.value(":path") == "/silent" for a in origin.requests))
        client.send(RstStreamFrame(1, ErrorCode.CANCEL))
        _wait(lambda: len(origin.resets) > before)
        assert origin.resets[-1][1] == ErrorCode.CANCEL
        [record] = bed.gateway.wait_for_records(1, path="/silent")
    assert (record["reason"], record["ended"]) == (Reason.DOWNSTREAM_RESET, "reset")


def test_what_a_leaving_origin_has_not_looked_at_is_asked_again_elsewhere(bed: Bed, origin: Http2Origin) -> None:
    connections = origin.connections
    with bed.client(HOST, "h2") as tls:
        client = Http2Client(tls)
        client.get(1, _authority(bed), "/away")
        assert client.answer(1) == ("200", b"hello\n")
    assert origin.connections == connections + 2


@pytest.mark.parametrize("path", ["/length", "/split"])
def test_a_malformed_response_is_not_passed_on(bed: Bed, origin: Http2Origin, path: str) -> None:
    with bed.client(HOST, "h2") as tls:
        client = Http2Client(tls)
        client.get(1, _authority(bed), path)
        client.until(lambda it: 1 in it.ended or it.reset_code(1) is not None)
        assert client.reset_code(1) is not None or _status(client, 1) == "502"
        client.get(3, _authority(bed), "/good")
        assert client.answer(3) == ("200", b"hello\n")
    [record] = bed.gateway.wait_for_records(1, path=path)
    assert record["reason"] == Reason.MALFORMED_RESPONSE


# Judged.


def test_a_stream_for_another_authority_is_misdirected_and_the_others_go_on(bed: Bed, origin: Http2Origin) -> None:
    reached = len(origin.requests)
    with bed.client(HOST, "h2") as tls:
        client = Http2Client(tls)
        client.get(1, _authority(bed, "strict.test"), "/ok/other")
        assert client.answer(1)[0] == "421"
        client.get(3, _authority(bed), "/good")
        assert client.answer(3)[0] == "200"
    assert [asked.value(":path") for asked in origin.requests[reached:]] == ["/good"]
    [record] = bed.gateway.wait_for_records(1, path="/ok/other")
    assert (record["decision"], record["reason"]) == ("deny", Reason.HOST_MISMATCH)


def test_a_denied_stream_is_told_so_in_its_own_protocol(bed: Bed, origin: Http2Origin) -> None:
    reached = len(origin.requests)
    with bed.client("strict.test", "h2") as tls:
        client = Http2Client(tls)
        authority = _authority(bed, "strict.test")
        client.get(1, authority, "/secret", ("accept", "application/problem+json"))
        status, body = client.answer(1)
        assert (status, b'"reason": "request_denied"' in body) == ("403", True)
        client.send(client.head(3, [*request("POST", authority, "/pkg.Service/Call"), GRPC], ends=False))
        client.until(lambda it: 3 in it.ended)
        [said] = client.heads[3]
        told = dict(said)
        assert (told[":status"], told["grpc-status"], told["content-type"]) == ("200", "7", "application/grpc")
        assert "request_denied" in told["grpc-message"]
        client.until(lambda it: it.reset_code(3) is not None)
        assert client.reset_code(3) == ErrorCode.NO_ERROR
        client.get(5, authority, "/ok/a")
        assert client.answer(5)[0] == "200"
    assert len(origin.requests) == reached + 1
    [record] = bed.gateway.wait_for_records(1, path="/pkg.Service/Call")
    assert (record["decision"], record["reason"], record["status"]) == ("deny", Reason.REQUEST_DENIED, 200)


@pytest.mark.parametrize(("host", "path", "status"), [("strict.test", "/no", "403"), (HOST, "/early", "200")])
def test_an_answer_to_half_a_request_can_be_read_before_the_reset_behind_it(
    bed: Bed, host: str, path: str, status: str
) -> None:
    """Each read returns one record. curl 7.88 tells nothing of an answer that is in one record with the reset."""
    with bed.client(host, "h2") as tls:
        client = Http2Client(tls)
        client.send(client.head(1, request("POST", _authority(bed, host), path), ends=False))
        client.until(lambda it: 1 in it.ended)
        assert _status(client, 1) == status
        assert client.reset_code(1) is None
        client.until(lambda it: it.reset_code(1) is not None)
        assert client.reset_code(1) == ErrorCode.NO_ERROR


def test_a_limit_is_told_to_grpc_as_exhausted_with_the_time_to_come_again(bed: Bed, origin: Http2Origin) -> None:
    with bed.client("limited.test", "h2") as tls:
        client = Http2Client(tls)
        authority = _authority(bed, "limited.test")
        for stream in (1, 3):
            client.send(client.head(stream, [*request("POST", authority, f"/pkg.Limited/{stream}"), GRPC]))
            client.answer(stream)
        told = dict(client.heads[3][0])
        assert (told[":status"], told["grpc-status"]) == ("200", "8")
        assert int(told["grpc-retry-pushback-ms"]) > 1000


@pytest.mark.parametrize(
    ("host", "path", "status"), [("mute.test", "/silent", "504"), ("failing.test", "/cancelled", "502")]
)
def test_a_destination_that_answers_nothing_in_its_streams_is_left_alone(
    bed: Bed, origin: Http2Origin, host: str, path: str, status: str
) -> None:
    authority = _authority(bed, host)
    with bed.client(host, "h2") as tls:
        client = Http2Client(tls)
        client.get(1, authority, "/unfinished")  # which is an answer, if not a whole one
        client.until(lambda it: it.reset_code(1) is not None)
        for stream, expected in ((3, status), (5, status), (7, "503")):
            client.get(stream, authority, path)
            assert client.answer(stream)[0] == expected
    asked = [each for each in origin.requests if each.value(":authority") == authority]
    assert [each.value(":path") for each in asked] == ["/unfinished", path, path]
    bed.gateway.wait_for_records(1, host=host, path=path, reason=Reason.DESTINATION_UNAVAILABLE)
    records = bed.gateway.wait_for_records(2, host=host, path=path, status=int(status))
    assert [verdict_in(record) for record in records] == ["error", "error"]


# WebSockets.


def _connect(authority: str, path: str) -> list[tuple[str, str]]:
    return [(":method", "CONNECT"), (":protocol", "websocket"), *request("CONNECT", authority, path)[1:]]


def test_a_web_socket_over_extended_connect_is_passed_on_and_judged(bed: Bed, origin: Http2Origin) -> None:
    with bed.client(HOST, "h2") as tls:
        client = Http2Client(tls)
        client.until(lambda it: it.frames)
        first = client.frames[0]
        assert isinstance(first, SettingsFrame)
        assert first.settings[ENABLE_CONNECT_PROTOCOL] == 1
        fields = [*_connect(_authority(bed), "/socket"), ("sec-websocket-version", "13")]
        client.send(client.head(1, fields, ends=False), client.data(1, b"early "))
        client.until(lambda it: it.heads[1])
        client.send(client.data(1, b"late"))
        client.until(lambda it: it.bodies[1] == b"early late")
        assert _status(client, 1) == "200"
        client.send(client.data(1, b"", ends=True))
        client.until(lambda it: 1 in it.ended)
    [record] = bed.gateway.wait_for_records(1, path="/socket")
    assert (record["method"], record["status"], record["bytes_up"], record["bytes_down"]) == ("GET", 200, 10, 10)
    with bed.client("strict.test", "h2") as tls:
        client = Http2Client(tls)
        client.send(client.head(1, _connect(_authority(bed, "strict.test"), "/socket"), ends=False))
        client.until(lambda it: 1 in it.ended)
        assert _status(client, 1) == "403"


@pytest.mark.parametrize("path", ["/socket-window", "/socket-trailers"])
def test_a_web_socket_whose_destination_breaks_the_protocol_is_cut_off_at_once(bed: Bed, path: str) -> None:
    with bed.client(HOST, "h2") as tls:
        client = Http2Client(tls)
        began = time.monotonic()
        client.send(client.head(1, _connect(_authority(bed), path), ends=False))
        client.until(lambda it: it.heads[1])
        client.send(client.data(1, b"x"))
        client.until(lambda it: it.reset_code(1) is not None)
        assert client.reset_code(1) == ErrorCode.INTERNAL_ERROR
        assert time.monotonic() - began < 10  # half of what it may idle
        client.get(3, _authority(bed), "/good")
        assert client.answer(3) == ("200", b"hello\n")
    [record] = bed.gateway.wait_for_records(1, path=path)
    assert (record["reason"], record["ended_by"]) == (Reason.MALFORMED_RESPONSE, "upstream")


def test_what_a_slow_client_takes_of_a_web_socket_after_its_end_is_counted(bed: Bed) -> None:
    with bed.client(HOST, "h2") as tls:
        client = Http2Client(tls, {4: 1000})
        client.send(client.head(1, _connect(_authority(bed), "/socket-last"), ends=False))
        client.until(lambda it: it.heads[1])
        client.send(client.data(1, b"x"))
        client.until(lambda it: len(it.bodies[1]) == 1000)
        client.send(client.window(1, 100_000))
        client.until(lambda it: 1 in it.ended)
        assert client.bodies[1] == 3 * PIECE
    [record] = bed.gateway.wait_for_records(1, path="/socket-last")
    assert (record["bytes_up"], record["bytes_down"], record["ended"]) == (1, 3 * len(PIECE), "closed")


def test_a_web_socket_ends_with_the_lifetime_of_its_tunnel(bed: Bed) -> None:
    with bed.client("brief.test", "h2") as tls:
        client = Http2Client(tls)
        client.send(client.head(1, _connect(_authority(bed, "brief.test"), "/brief"), ends=False))
        client.until(lambda it: it.is_over)
    for record in bed.gateway.wait_for_records(2, host="brief.test"):
        told = record["reason"], record["ended"], record["ended_by"]
        assert told == (Reason.LIFETIME_REACHED, "timeout", "gateway")


def test_an_idle_web_socket_is_ended_by_the_gateway(bed: Bed) -> None:
    with bed.client("stalling.test", "h2") as tls:
        client = Http2Client(tls)
        client.send(client.head(1, _connect(_authority(bed, "stalling.test"), "/socket-idle"), ends=False))
        client.until(lambda it: it.reset_code(1) is not None)
        assert (_status(client, 1), client.reset_code(1)) == ("200", ErrorCode.CANCEL)
    [record] = bed.gateway.wait_for_records(1, path="/socket-idle")
    assert (record["reason"], record["ended"], record["ended_by"]) == (Reason.IDLE_TIMEOUT, "timeout", "gateway")


def test_a_web_socket_that_is_slowed_down_is_not_idle_meanwhile(bed: Bed) -> None:
    """Three seconds are made up for."""
    with bed.client("slow.test", "h2") as tls:
        client = Http2Client(tls)
        client.send(client.head(1, _connect(_authority(bed, "slow.test"), "/slow"), ends=False))
        client.until(lambda it: it.heads[1])
        client.send(*[client.data(1, bytes(16_000))] * 2)
        time.sleep(2)
        client.send(client.data(1, b"last"))
        client.until(lambda it: it.bodies[1].endswith(b"last"))
        assert client.bodies[1].endswith(b"last")


# Windows.


def test_one_slow_reader_of_a_hundred_streams_holds_up_nobody(bed: Bed, origin: Http2Origin) -> None:
    with bed.client(HOST, "h2") as tls:
        client = Http2Client(tls, {4: 1000})  # each stream takes 1,000 bytes
        client.send(client.window(0, 16 * 1024 * 1024))
        client.get(1, _authority(bed), "/big")
        client.until(lambda it: len(it.bodies[1]) == 1000)
        others = range(3, 201, 2)
        client.send(*[client.head(n, request("GET", _authority(bed), f"/beside/{n}")) for n in others])
        assert [client.answer(n) for n in others] == [("200", b"hello\n")] * 99
        assert len(client.bodies[1]) == 1000
        client.send(client.window(1, 50_000))
        client.until(lambda it: len(it.bodies[1]) == 51_000)


def _wait(wanted: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not wanted():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.01)


def test_streams_whose_readers_stall_hold_little_and_are_ended_in_time(bed: Bed, origin: Http2Origin) -> None:
    with bed.client("stalling.test", "h2") as tls:
        client = Http2Client(tls, {4: 0})
        before = _rss(bed.gateway.process.pid)
        streams = range(1, 201, 2)
        client.send(*[client.head(n, request("GET", _authority(bed, "stalling.test"), "/big")) for n in streams])
        client.until(lambda it: all(it.reset_code(n) is not None for n in streams))
        assert {client.reset_code(n) for n in streams} <= {ErrorCode.CANCEL, ErrorCode.INTERNAL_ERROR}
        assert _rss(bed.gateway.process.pid) - before < 48 * 1024 * 1024
    records = bed.gateway.wait_for_records(100, path="/big", host="stalling.test")
    reasons = {record["reason"] for record in records}  # beyond what is held in all, the origin is not let send
    assert Reason.IDLE_TIMEOUT in reasons
    assert reasons <= {Reason.IDLE_TIMEOUT, Reason.RESPONSE_TIMEOUT}


def test_a_stream_without_an_answer_is_told_so_in_time_and_the_others_go_on(bed: Bed, origin: Http2Origin) -> None:
    with bed.client("stalling.test", "h2") as tls:
        client = Http2Client(tls)
        client.get(1, _authority(bed, "stalling.test"), "/silent")
        client.get(3, _authority(bed, "stalling.test"), "/good")
        assert client.answer(3) == ("200", b"hello\n")
        assert client.answer(1)[0] == "504"
    [record] = bed.gateway.wait_for_records(1, path="/silent", host="stalling.test")
    assert record["reason"] == Reason.RESPONSE_TIMEOUT


def test_a_gateway_that_drains_says_so_and_finishes_what_is_under_way(
    tmp_path: Path, issuer: Issuer, origin: Http2Origin
) -> None:
    rules = [{"name": "site", "hosts": [HOST]}]
    with (
        inspecting(tmp_path, cast("TlsOrigin", origin), issuer, time.time(), rules) as bed,
        bed.client(HOST, "h2") as tls,
    ):
        client = Http2Client(tls)
        client.send(client.head(1, request("POST", _authority(bed), "/finish"), ends=False))
        _wait(lambda: any(asked.value(":path") == "/finish" for asked in origin.requests))
        bed.gateway.terminate()
        client.until(lambda it: it.goaway is not None)
        assert client.goaway is not None
        assert (client.goaway.error_code, client.goaway.last_stream_id) == (ErrorCode.NO_ERROR, 1)
        client.get(3, _authority(bed), "/late")
        client.until(lambda it: it.reset_code(3) is not None)
        assert client.reset_code(3) == ErrorCode.REFUSED_STREAM
        client.send(client.data(1, b"", ends=True))
        assert client.answer(1) == ("200", b"hello\n")
        client.until(lambda it: it.is_over)


def test_a_client_is_told_of_as_many_streams_as_its_destination_takes(tmp_path: Path, issuer: Issuer) -> None:
    streams = range(1, 4 * CONNECTIONS, 2)
    with (
        Http2Origin(issuer.context(HOST), streams=2) as origin,
        inspecting(
            tmp_path, cast("TlsOrigin", origin), issuer, time.time(), [{"name": "site", "hosts": [HOST]}]
        ) as bed,
        bed.client(HOST, "h2") as tls,
    ):
        client = Http2Client(tls)
        client.until(lambda it: it.frames)
        first = client.frames[0]
        assert isinstance(first, SettingsFrame)
        assert first.settings[SettingCodes.MAX_CONCURRENT_STREAMS] == len(streams)
        client.send(*[client.head(n, request("GET", _authority(bed), f"/few/{n}")) for n in streams])
        assert [client.answer(n) for n in streams] == [("200", b"hello\n")] * len(streams)
        assert len(origin.requests) == len(streams)


def _rss(pid: int) -> int:
    """Bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def test_a_destination_that_takes_few_streams_is_connected_to_so_often_and_no_more(bed: Bed) -> None:
    """A client and its destination could take all descriptors of the gateway else, a hundred with each tunnel."""
    before = bed.origin.connections
    with bed.client(HOST, "h2") as tls:
        client = Http2Client(tls)
        for stream in range(1, 2 * CONNECTIONS, 2):
            client.get(stream, _authority(bed), "/full")
            client.until(partial(_has_head, stream))  # its connection is full, as the gateway knows
        client.get(2 * CONNECTIONS + 1, _authority(bed), "/full")
        assert client.answer(2 * CONNECTIONS + 1)[0] == "503"
        assert bed.origin.connections - before == CONNECTIONS
        client.send(RstStreamFrame(1, ErrorCode.CANCEL))
        client.get(2 * CONNECTIONS + 3, _authority(bed), "/full")
        client.until(partial(_has_head, 2 * CONNECTIONS + 3))
        assert _status(client, 2 * CONNECTIONS + 3) == "103"
    [record] = bed.gateway.wait_for_records(1, path="/full", reason=Reason.TOO_MANY_TUNNELS_OF_CLIENT)
    assert record["status"] == 503


def test_the_bound_of_heads_holds_for_answers_over_the_connection_that_was_made_before_the_clients(
    tmp_path: Path, origin: Http2Origin, issuer: Issuer
) -> None:
    rules = [{"name": "site", "hosts": [HOST]}]
    bounds = {"head": "2KiB"}
    with (
        inspecting(tmp_path, cast("TlsOrigin", origin), issuer, time.time(), rules, bounds=bounds) as bed,
        bed.client(HOST, "h2") as tls,
    ):
        client = Http2Client(tls)
        for stream, path in ((1, "/"), (3, "/large"), (5, "/")):
            client.get(stream, _authority(bed), path)
        assert [client.answer(stream)[0] for stream in (1, 3, 5)] == ["200", "502", "200"]
        bed.gateway.wait_for_records(1, reason=Reason.RESPONSE_HEAD_TOO_LARGE)
