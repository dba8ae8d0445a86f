"""A client of HTTP/2 before an origin that knows HTTP/1.1 alone: what goes on is written anew, and means the same."""

import base64
import hashlib
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hyperframe.frame import ContinuationFrame, Frame, HeadersFrame, SettingsFrame

from gateway.intercept.dialer import CONNECTIONS
from gateway.model.reasons import Reason
from gateway.wire.http2.codes import ErrorCode
from tests.flows.interception import HOST, Bed, inspecting
from tests.helpers.http2_client import Http2Client, request
from tests.helpers.http_origin import Got, Talk
from tests.helpers.raw_client import status_of
from tests.helpers.requirements import require
from tests.helpers.tls_origin import Issuer, TlsOrigin

DESCRIPTORS = 128
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def _echo(talk: Talk, got: Got) -> None:
    talk.read_body(got)
    talk.reply(got.body)


def _chunked(talk: Talk, got: Got) -> None:
    talk.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n")
    talk.send(b"Keep-Alive: 5\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n")
    talk.send(b"3\r\nabc\r\n0\r\nX-Sum: 3\r\n\r\n")


def _until_close(talk: Talk, got: Got) -> None:
    talk.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it")
    assert isinstance(talk.socket, ssl.SSLSocket)
    talk.socket.unwrap()  # says goodbye: else nobody could tell whether it is all
    raise ConnectionResetError


def _broken(talk: Talk, got: Got) -> None:
    talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
    talk.reset()


def _socket(talk: Talk, got: Got) -> None:
    [key] = got.values("sec-websocket-key")
    accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
    if got.path.endswith("wrong"):
        accept = accept[::-1]
    talk.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n")
    talk.send(f"Sec-WebSocket-Accept: {accept}\r\n\r\nwelcome ".encode())
    while data := talk.read_some():
        talk.send(data.upper())
    talk.close()


def _endless(talk: Talk, got: Got) -> None:
    talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n1")
    _silent(talk, got)


def _silent(talk: Talk, got: Got) -> None:
    while talk.read_some():
        pass


ANSWERS = {
    "/silent": _silent,
    "/endless": _endless,
    "/echo": _echo,
    "/chunked": _chunked,
    "/until-close": _until_close,
    "/broken": _broken,
    "/socket": _socket,
    "/socket-wrong": _socket,
}


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("downgraded")
    issuer = Issuer(folder)
    with TlsOrigin(answers=ANSWERS, context=issuer.context(HOST)) as origin:
        rules = [{"name": "site", "hosts": [HOST], "inspect": {"upstream_ca": "origins.pem", "headers": {
            "set": {"X-Team": "payments"}, "remove": ["x-internal"]}}}]  # fmt: skip
        with inspecting(folder, origin, issuer, time.time(), rules) as bed:
            yield bed


def _authority(bed: Bed) -> str:
    return f"{HOST}:{bed.origin.port}"


def test_streams_go_over_connections_of_their_own_and_rules_change_their_fields(bed: Bed) -> None:
    with bed.client(HOST, "h2") as tls:
        client = Http2Client(tls)
        fields = [*request("POST", _authority(bed), "/echo"), ("x-internal", "1"), ("cookie", "a=1"), ("cookie", "b=2")]
        client.send(client.head(1, fields, ends=False), client.data(1, b"one "), client.data(1, b"two", ends=True))
        assert client.answer(1) == ("200", b"one two")
        client.send(client.head(3, [*request("POST", _authority(bed), "/echo"), ("content-length", "5")], ends=False))
        client.send(client.data(3, b"three", ends=True))
        assert client.answer(3) == ("200", b"three")
    first, second = [got for got in bed.origin.requests if got.path == "/echo"]
    assert (first.line, first.values("transfer-encoding")) == ("POST /echo HTTP/1.1", ["chunked"])
    assert (first.values("x-team"), first.values("x-internal"), first.values("cookie")) == (
        ["payments"],
        [],
        ["a=1; b=2"],
    )
    assert first.values("host") == [_authority(bed)]
    assert (second.values("content-length"), second.values("transfer-encoding")) == (["5"], [])
    records = bed.gateway.wait_for_records(2, path="/echo", http_version="2")
    assert [record["bytes_up"] for record in records] == [7, 5]


def test_what_ends_by_chunks_or_by_closing_ends_the_stream(bed: Bed) -> None:
    with bed.client(HOST, "h2") as tls:
        client = Http2Client(tls)
        client.get(1, _authority(bed), "/chunked")
        assert client.answer(1) == ("200", b"abc")
        names = [name for name, _ in client.heads[1][0]]
        assert not {"transfer-encoding", "connection", "keep-alive", "x-hop"} & set(names)
        assert client.heads[1][1] == [("x-sum", "3")]
        client.get(3, _authority(bed), "/until-close")
        assert client.answer(3) == ("200", b"all of it")


def test_a_response_that_breaks_off_resets_the_stream(bed: Bed) -> None:
    with bed.client(HOST, "h2") as tls:
        client = Http2Client(tls)
        client.get(1, _authority(bed), "/broken")
        client.until(lambda it: it.reset_code(1) is not None)
        assert client.reset_code(1) is not None
        assert 1 not in client.ended
        client.get(3, _authority(bed), "/good")
        assert client.answer(3)[0] == "200"


def test_a_web_socket_becomes_an_upgrade_with_a_handshake_of_ours(bed: Bed) -> None:
    head = [(":method", "CONNECT"), (":protocol", "websocket"), *request("", _authority(bed), "/socket")[1:]]
    with bed.client(HOST, "h2") as tls:
        client = Http2Client(tls)
        client.send(client.head(1, head, ends=False), client.data(1, b"early "))
        client.until(lambda it: it.bodies[1] == b"welcome EARLY ")
        client.send(client.data(1, b"late", ends=True))
        client.until(lambda it: 1 in it.ended)
        assert (client.heads[1][0][0], client.bodies[1]) == ((":status", "200"), b"welcome EARLY LATE")
        assert "sec-websocket-accept" not in dict(client.heads[1][0])
    [got] = [got for got in bed.origin.requests if got.path == "/socket"]
    assert (got.method, got.values("upgrade"), got.values("connection")) == ("GET", ["websocket"], ["Upgrade"])
    [record] = bed.gateway.wait_for_records(1, path="/socket")
    assert (record["status"], record["bytes_up"], record["bytes_down"]) == (200, 10, 18)


def test_a_handshake_that_is_not_answered_rightly_opens_no_web_socket(bed: Bed) -> None:
    head = [(":method", "CONNECT"), (":protocol", "websocket"), *request("", _authority(bed), "/socket-wrong")[1:]]
    with bed.client(HOST, "h2") as tls:
        client = Http2Client(tls)
        client.send(client.head(1, head, ends=False))
        client.until(lambda it: 1 in it.ended)
        assert client.heads[1][0][0] == (":status", "502")
    [record] = bed.gateway.wait_for_records(1, path="/socket-wrong")
    assert record["reason"] == Reason.UPGRADE_FAILED


def test_an_ordinary_success_is_not_taken_for_a_web_socket(bed: Bed) -> None:
    """To a client that asks by extended CONNECT it would be one: what follows would be read as its frames."""
    head = [(":method", "CONNECT"), (":protocol", "websocket"), *request("", _authority(bed), "/no-socket")[1:]]
    with bed.client(HOST, "h2") as tls:
        client = Http2Client(tls)
        client.send(client.head(1, head, ends=False))
        client.until(lambda it: 1 in it.ended)
        assert client.heads[1][0][0] == (":status", "502")
    [record] = bed.gateway.wait_for_records(1, path="/no-socket")
    assert (record["status"], record["reason"]) == (502, Reason.UPGRADE_FAILED)


def test_a_client_is_told_of_as_many_streams_as_it_may_have_connections_and_has_no_more(bed: Bed) -> None:
    """It could take all descriptors of the gateway else, a hundred with each tunnel."""
    before = len(bed.origin.requests)
    with bed.client(HOST, "h2") as tls:
        client = Http2Client(tls)
        streams = range(1, 2 * CONNECTIONS + 5, 2)
        for stream in streams:
            client.get(stream, _authority(bed), "/silent")
        client.until(lambda _: client.reset_code(streams[-1]) is not None)
        [told] = [frame.settings for frame in client.frames if isinstance(frame, SettingsFrame) and frame.settings]
        assert told[SettingsFrame.MAX_CONCURRENT_STREAMS] == CONNECTIONS
        refused = {stream: client.reset_code(stream) for stream in streams if client.reset_code(stream) is not None}
        assert refused == dict.fromkeys(streams[CONNECTIONS:], ErrorCode.REFUSED_STREAM)
    records = bed.gateway.wait_for_records(CONNECTIONS, path="/silent")
    assert len(records) == CONNECTIONS
    assert len(bed.origin.requests) - before <= CONNECTIONS


def test_tunnels_with_many_connections_leave_descriptors_to_everybody_else(tmp_path: Path) -> None:
    """What each may have bounds no sum of them."""
    issuer, few = Issuer(tmp_path), [require("prlimit"), f"--nofile={DESCRIPTORS}:{DESCRIPTORS}"]
    rules, bounds = [{"name": "site", "hosts": [HOST]}], {"tunnels": DESCRIPTORS}
    with ExitStack() as stack:
        origin = stack.enter_context(TlsOrigin(answers=ANSWERS, context=issuer.context(HOST)))
        bed = stack.enter_context(inspecting(tmp_path, origin, issuer, time.time(), rules, prefix=few, bounds=bounds))
        statuses = Counter[str]()
        for _ in range(DESCRIPTORS // CONNECTIONS - 1):
            client = Http2Client(stack.enter_context(bed.client(HOST, "h2")))
            for stream in range(1, 2 * CONNECTIONS, 2):
                client.get(stream, _authority(bed), "/endless")
            client.until(lambda it: len(it.heads) == CONNECTIONS)
            statuses.update(dict(heads[0])[":status"] for heads in client.heads.values())
        with bed.client() as other:
            other.ask(_authority(bed), "/good")
            assert status_of(other.read_until(b"\r\n\r\n")) == 200
        assert bed.gateway.admin("/readyz")[0] == 200
        assert bed.gateway.metric("process_open_fds") < DESCRIPTORS * 7 / 8
        assert set(statuses) == {"200", "503"}
        refused = bed.gateway.wait_for_records(statuses["503"], reason=Reason.DESCRIPTORS_EXHAUSTED)
        assert all("exchange_id" in record for record in refused)


@pytest.mark.parametrize(("bound", "passes", "is_too_large"), [("2KiB", 1, 5), ("160KiB", 155, 161)])
def test_heads_are_bounded_as_those_of_http_1(tmp_path: Path, bound: str, passes: int, is_too_large: int) -> None:
    """In KiB, of which a field has about one, also as it is sent: nothing of it can be compressed."""
    issuer = Issuer(tmp_path)
    with (
        TlsOrigin(context=issuer.context(HOST)) as origin,
        inspecting(
            tmp_path, origin, issuer, time.time(), [{"name": "site", "hosts": [HOST]}], bounds={"head": bound}
        ) as bed,
        bed.client(HOST, "h2") as tls,
    ):
        client = Http2Client(tls)
        for stream, size in ((1, passes), (3, is_too_large), (5, passes)):
            fields = [(f"x-{number}", "X" * 990) for number in range(size)]
            block = client.encoder.encode([*request("GET", f"{HOST}:{origin.port}", "/"), *fields])
            pieces = [block[at : at + 16_384] for at in range(0, len(block), 16_384)]
            frames: list[Frame] = [HeadersFrame(stream, data=pieces[0], flags=["END_STREAM"])]
            frames += [ContinuationFrame(stream, data=piece) for piece in pieces[1:]]
            frames[-1].flags.add("END_HEADERS")
            client.send(*frames)
        assert [client.answer(stream)[0] for stream in (1, 3, 5)] == ["200", "431", "200"]
