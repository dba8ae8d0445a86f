"""Plain HTTP in absolute form: each request is judged by itself, rewritten, streamed, and recorded."""

import contextlib
import socket
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import psutil
import pytest

from gateway.exchange.http1.upstream import SURE_SECONDS
from gateway.model.reasons import Reason
from tests.helpers.dns_server import DnsServer
from tests.helpers.gateway import GatewayProcess, Record
from tests.helpers.http_origin import Answer, Got, HttpOrigin, Talk, plain
from tests.helpers.raw_client import RawClient, status_of
from tests.helpers.responses import read_response

NAME = "gw-under-test"


@dataclass
class Bed:
    """One gateway, one DNS server, two origins."""

    dns: DnsServer
    origin: HttpOrigin
    other: HttpOrigin
    gateway: GatewayProcess

    def client(self) -> RawClient:
        return RawClient(self.gateway.port)

    def url(self, path: str = "/", host: str = "a.test") -> str:
        return f"http://{host}:{self.origin.port}{path}"

    def ask(self, client: RawClient, path: str = "/", *fields: str, method: str = "GET", body: bytes = b"") -> None:
        lines = [f"{method} {self.url(path)} HTTP/1.1", "Host: ignored.test", *fields, "", ""]
        client.send("\r\n".join(lines).encode() + body)

    def exchange_of(self, path: str, **having: object) -> Record:
        return self.gateway.wait_for_records(1, path=path, **having)[-1]


_answers: dict[str, Answer] = {}


def answers(path: str, answer: Answer) -> None:
    """What the origin says from now on."""
    _answers[path] = answer


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("requests")
    users = folder / "users.htpasswd"
    users.write_text(f"ci:{bcrypt.hashpw(b'correct-horse', bcrypt.gensalt(4)).decode()}\n")
    with DnsServer() as dns, HttpOrigin(_answers) as origin, HttpOrigin() as other:
        ports = [origin.port, other.port]
        policy = {
            "clients": {"ci": {"match": [{"user": "ci"}]}},
            "rules": [
                {"name": "a", "hosts": ["a.test", "b.test"], "ports": [*ports], "protocol": "http"},
                {
                    "name": "slow",
                    "hosts": ["slow.test"],
                    "ports": [*ports],
                    "protocol": "http",
                    "timeouts": {"idle": "1s"},
                },
                {"name": "tls", "hosts": ["tls.test"], "ports": [*ports], "protocol": "tls"},
                {"name": "users", "hosts": ["users.test"], "clients": ["ci"], "ports": [*ports], "protocol": "http"},
                {"name": "no", "hosts": ["denied.test"], "action": "deny"},
            ],
        }
        settings = {
            "resolver": {"servers": [f"127.0.0.1:{dns.port}"], "timeout": "500ms"},
            "identity": {"basic": {"htpasswd": str(users)}},
            "timeouts": {"head": "1s", "connect": "1s"},
        }
        settings["telemetry"] = {"access_log": [{"path": "records.jsonl", "format": "json"}], "name": NAME}
        for name in ("a", "b", "tls", "users"):
            dns.answer(f"{name}.test", "127.0.0.1")
        with GatewayProcess(folder, policy, settings) as gateway:
            yield Bed(dns, origin, other, gateway)


def test_each_request_on_a_connection_is_judged_and_leads_where_it_says(bed: Bed) -> None:
    with bed.client() as client:
        client.send(f"GET http://a.test:{bed.origin.port}/one?q=s3cret HTTP/1.1\r\nHost: x.test\r\n\r\n".encode())
        assert status_of(read_response(client)[0]) == 200
        client.send(f"GET http://B.test:{bed.other.port}/two HTTP/1.1\r\nHost: x.test\r\n\r\n".encode())
        assert status_of(read_response(client)[0]) == 200
        client.send(b"GET http://denied.test/three HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert status_of(read_response(client)[0]) == 403
        client.send(f"GET http://a.test:{bed.origin.port}/four HTTP/1.1\r\nHost: x.test\r\n\r\n".encode())
        assert status_of(read_response(client)[0]) == 200
    one, two, three, four = (bed.exchange_of(path) for path in ("/one", "/two", "/three", "/four"))
    assert bed.origin.requests[-2].path == "/one?q=s3cret"
    assert bed.origin.requests[-2].values("host") == [f"a.test:{bed.origin.port}"]
    assert bed.other.requests[-1].values("host") == [f"b.test:{bed.other.port}"]
    assert len({each["connection_id"] for each in (one, two, three, four)}) == 1
    assert [each["decision"] for each in (one, two, three, four)] == ["allow", "allow", "deny", "allow"]
    assert three["reason"] == Reason.DENIED_BY_RULE
    assert four["reused"]
    [connection] = bed.gateway.wait_for_records(1, connection_id=one["connection_id"], requests=4)
    assert (connection["bytes_down"], connection["door"]) == (18, "absolute_form")
    assert "s3cret" not in bed.gateway.log_file.read_text()


def test_what_describes_one_connection_is_not_passed_on(bed: Bed) -> None:
    def answer(talk: Talk, got: Got) -> None:
        fields = ["Connection: X-Hop, Set-Cookie", "X-Hop: 1", "Set-Cookie: kept", "Keep-Alive: timeout=5", "X-Good: 1"]
        fields += ["X-Egress-Request-Id: forged", f"Proxy-Status: other; error=dns_timeout, {NAME}; error=forged"]
        talk.reply(b"hello\n", "200 Fine", *fields)

    answers("/fields", answer)
    with bed.client() as client:
        credentials = b64encode(b"ci:correct-horse").decode()
        fields = ["Connection: X-Hop, Host, Content-Length, Authorization", "X-Hop: 1", "Authorization: kept"]
        fields += [f"Proxy-Authorization: Basic {credentials}", "Proxy-Connection: keep-alive", "TE: trailers"]
        fields += ["X-Egress-Whatever: 1", "Keep-Alive: 5", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk", "X-Good: 1"]
        bed.ask(client, "/fields", *fields)
        head, body = read_response(client)
    got = bed.origin.requests[-1]
    assert sorted(name for name, _ in got.fields) == ["authorization", "host", "via", "x-good"]
    assert got.values("via") == [f"1.1 {NAME}"]
    assert body == b"hello\n"
    assert head.startswith(b"HTTP/1.1 200 Fine\r\n")
    names = sorted(line.split(b":")[0].lower() for line in head.split(b"\r\n")[1:] if line)
    assert names == [b"content-length", b"date", b"proxy-status", b"set-cookie", b"via", b"x-good"]
    assert b"forged" not in head
    assert bed.exchange_of("/fields")["user"] == "ci"


@pytest.mark.parametrize("pieces", [[b"hello"], [b"a" * 100_000, b"b" * 300_000]])
def test_bodies_go_both_ways_by_length_and_in_chunks(bed: Bed, pieces: list[bytes]) -> None:
    body = b"".join(pieces)

    def answer(talk: Talk, got: Got) -> None:
        talk.read_body(got)
        if got.values("x-chunked"):
            chunks = b"".join(b"%x;x=y\r\n%s\r\n" % (len(each), each) for each in pieces)
            talk.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nX-Sum: 1\r\n\r\n")
        else:
            talk.reply(got.body)

    answers("/echo", answer)
    with bed.client() as client:
        bed.ask(client, "/echo", f"Content-Length: {len(body)}", method="POST", body=body)
        assert read_response(client)[1] == body
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in pieces) + b"0\r\nX-Last: 1\r\n\r\n"
        bed.ask(client, "/echo", "Transfer-Encoding: chunked", "X-Chunked: 1", method="POST", body=chunks)
        _, content = read_response(client)
    assert content == body
    assert bed.origin.requests[-1].body == body
    assert bed.origin.requests[-1].fields[-1][0] == "trailer: X-Last: 1"
    record = bed.gateway.wait_for_records(2, path="/echo", bytes_up=len(body))[-1]
    assert record["bytes_down"] == len(body)


def test_a_client_of_http_1_0_gets_what_it_understands(bed: Bed) -> None:
    def answer(talk: Talk, got: Got) -> None:
        talk.send(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        talk.send(b"3\r\nabc\r\n0\r\n\r\n")

    answers("/old", answer)
    with bed.client() as client:
        client.send(f"GET {bed.url('/old')} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".encode())
        head, _, body = client.read_to_end().partition(b"\r\n\r\n")
    assert status_of(head) == 200
    assert b"chunked" not in head.lower()
    assert b"Connection: close" in head
    assert body == b"abc"


def test_content_until_the_close_becomes_chunks(bed: Bed) -> None:
    def answer(talk: Talk, got: Got) -> None:
        talk.send(b"HTTP/1.0 200 OK\r\n\r\nabc")
        talk.close()

    answers("/close", answer)
    with bed.client() as client:
        for _ in range(2):
            bed.ask(client, "/close")
            assert read_response(client)[1] == b"abc"
    assert bed.exchange_of("/close")["status"] == 200


def test_head_and_not_modified_keep_the_length_and_have_no_content(bed: Bed) -> None:
    def answer(talk: Talk, got: Got) -> None:
        status = "304 Not Modified" if got.method == "GET" else "200 OK"
        talk.send(f"HTTP/1.1 {status}\r\nContent-Length: 42\r\nETag: x\r\n\r\n".encode())

    answers("/head", answer)
    with bed.client() as client:
        for method in ("HEAD", "GET", "HEAD"):
            bed.ask(client, "/head", method=method)
            assert b"Content-Length: 42\r\n" in client.read_head()
        bed.ask(client, "/after")
        assert read_response(client)[1] == b"hello\n"


def test_a_client_that_waits_for_100_gets_the_origins(bed: Bed) -> None:
    asked = threading.Event()

    def answer(talk: Talk, got: Got) -> None:
        asked.set()
        talk.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        plain(talk, got)

    answers("/expect", answer)
    with bed.client() as client:
        bed.ask(client, "/expect", "Content-Length: 5", "Expect: 100-continue", method="PUT")
        assert client.read_head().startswith(b"HTTP/1.1 100 ")
        assert asked.is_set()
        client.send(b"12345")
        assert read_response(client)[1] == b"hello\n"
    assert bed.origin.requests[-1].body == b"12345"


def test_a_denied_client_that_waits_for_100_gets_its_403_and_the_end(bed: Bed) -> None:
    with bed.client() as client:
        client.send(b"PUT http://denied.test/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert status_of(client.read_to_end()) == 403


def test_an_early_answer_is_passed_on_and_ends_the_connection(bed: Bed) -> None:
    def answer(talk: Talk, got: Got) -> None:
        talk.reply(b"too much\n", "413 Content Too Large")
        talk.close()

    answers("/early", answer)
    with bed.client() as client:
        bed.ask(client, "/early", "Content-Length: 10000000", method="POST", body=b"x" * 1000)
        head, body = read_response(client)
        assert (status_of(head), body) == (413, b"too much\n")
        assert b"Connection: close" in head
        assert client.read_to_end() == b""


def test_pipelined_requests_are_answered_in_order_also_after_a_denied_one(bed: Bed) -> None:
    with bed.client() as client:
        requests = [bed.url("/p1"), "http://denied.test/p2", bed.url("/p3")]
        client.send("".join(f"GET {each} HTTP/1.1\r\nHost: x\r\n\r\n" for each in requests).encode())
        assert [status_of(read_response(client)[0]) for _ in range(3)] == [200, 403, 200]
    assert [got.path for got in bed.origin.requests[-2:]] == ["/p1", "/p3"]


def test_the_body_of_a_denied_request_is_never_taken_for_a_request(bed: Bed) -> None:
    inner = f"GET {bed.url('/smuggled')} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    with bed.client() as client:
        head = f"POST http://denied.test/ HTTP/1.1\r\nHost: x\r\nContent-Length: {len(inner)}\r\n\r\n".encode()
        client.send(head + inner)
        assert status_of(read_response(client)[0]) == 403
        bed.ask(client, "/behind")
        assert status_of(read_response(client)[0]) == 200
        client.send(b"POST http://denied.test/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n")
        assert status_of(client.read_head()) == 403
        client.send(inner)
        with contextlib.suppress(ConnectionError):
            client.read_to_end()
    assert all(got.path != "/smuggled" for got in bed.origin.requests)


def test_credentials_are_asked_for_and_the_connection_stays(bed: Bed) -> None:
    credentials = b64encode(b"ci:correct-horse").decode()
    with bed.client() as client:
        for fields, status in (((), 407), ((f"Proxy-Authorization: Basic {credentials}",), 200), ((), 407)):
            lines = [f"GET {bed.url('/auth', 'users.test')} HTTP/1.1", "Host: x", *fields, "", ""]
            client.send("\r\n".join(lines).encode())
            assert status_of(read_response(client)[0]) == status
    records = bed.gateway.wait_for_records(3, path="/auth")
    assert [each.get("reason") for each in records] == [
        Reason.CREDENTIALS_MISSING,
        None,
        Reason.CREDENTIALS_MISSING,
    ]


def test_a_kept_connection_that_died_is_replaced_for_what_may_be_repeated(bed: Bed) -> None:
    def answer(talk: Talk, got: Got) -> None:
        talk.reply()
        talk.read_head()
        talk.reset()

    answers("/dies", answer)
    with bed.client() as client:
        bed.ask(client, "/dies")
        read_response(client)
        bed.ask(client, "/again")
        assert status_of(read_response(client)[0]) == 200
        bed.ask(client, "/dies")
        read_response(client)
        bed.ask(client, "/not-again", "Content-Length: 0", method="POST")
        assert status_of(read_response(client)[0]) == 502
    assert bed.exchange_of("/not-again")["reason"] == Reason.CONNECTION_TERMINATED


def test_what_may_not_be_repeated_does_not_meet_the_end_of_a_connection_that_rested(bed: Bed) -> None:
    """The origin does the worst that it can: it closes just when the next request is on its way."""

    def answer(talk: Talk, got: Got) -> None:
        talk.reply()
        talk.socket.recv(1, socket.MSG_PEEK)
        talk.reset()

    answers("/rests", answer)
    with bed.client() as client:
        bed.ask(client, "/rests")
        read_response(client)
        bed.exchange_of("/rests")  # the connection rests from before this on, and not from when the answer came
        time.sleep(SURE_SECONDS)
        bed.ask(client, "/after-a-rest", "Content-Length: 3", method="POST", body=b"abc")
        assert status_of(read_response(client)[0]) == 200
    assert "reused" not in bed.exchange_of("/after-a-rest")


def test_a_websocket_is_a_tunnel_after_its_101(bed: Bed) -> None:
    def answer(talk: Talk, got: Got) -> None:
        assert (got.values("upgrade"), got.values("connection")) == (["websocket"], ["Upgrade"])
        talk.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nfirst")
        while data := talk.read_some():
            talk.send(data)

    answers("/ws", answer)
    with bed.client() as client:
        bed.ask(client, "/ws", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: x", body=b"early")
        assert status_of(client.read_head()) == 101
        assert client.read(10) == b"firstearly"
        client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert client.read(18) == b"GET / HTTP/1.1\r\n\r\n"
        client.finish()
        assert client.read_to_end() == b""
    record = bed.exchange_of("/ws")
    assert (record["status"], record["bytes_up"], record["bytes_down"]) == (101, 23, 28)


def test_a_loop_is_refused(bed: Bed) -> None:
    with bed.client() as client:
        for via in (f"1.1 elsewhere, 1.1 {NAME}", f"1.1 {NAME.upper()} (ours)"):
            bed.ask(client, "/loop", f"Via: {via}")
            assert status_of(read_response(client)[0]) == 502
    assert bed.exchange_of("/loop")["reason"] == Reason.PROXY_LOOP
    assert all(got.path != "/loop" for got in bed.origin.requests)


def test_a_trace_or_options_goes_as_far_as_it_may(bed: Bed) -> None:
    with bed.client() as client:
        bed.ask(client, "/trace?q=1", "Max-Forwards: 0", "Cookie: s3cret", "X-A: b", method="TRACE")
        head, body = read_response(client)
        assert b"message/http" in head
        assert body.startswith(f"TRACE {bed.url('/trace')} HTTP/1.1\r\n".encode())
        assert b"X-A: b\r\n" in body
        assert b"s3cret" not in body
        bed.ask(client, "/options", "Max-Forwards: 0", method="OPTIONS")
        assert read_response(client)[1] == b""
        bed.ask(client, "/options", "Max-Forwards: 1", method="OPTIONS")
        assert read_response(client)[1] == b"hello\n"
        assert bed.origin.requests[-1].values("max-forwards") == ["0"]
        bed.ask(client, "/trace", "Content-Length: 1", method="TRACE", body=b"x")
        assert status_of(read_response(client)[0]) == 400


def test_http_where_the_rule_says_tls_is_refused(bed: Bed) -> None:
    with bed.client() as client:
        client.send(f"GET {bed.url('/tls', 'tls.test')} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert status_of(read_response(client)[0]) == 403
    assert bed.exchange_of("/tls")["reason"] == Reason.PROTOCOL_MISMATCH


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("https://a.test/", Reason.HTTPS_WITHOUT_CONNECT),
        ("http://u:p@a.test/", Reason.MALFORMED_AUTHORITY),
        ("http://a.test/#x", Reason.MALFORMED_REQUEST),
        ("/", Reason.NOT_A_PROXY_REQUEST),
        ("http:///x", Reason.MALFORMED_REQUEST),
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_targets_that_no_proxy_forwards_are_400(bed: Bed, target: str, reason: Reason, first: bool) -> None:
    with bed.client() as client:
        if not first:
            bed.ask(client, "/first")
            read_response(client)
        client.send(f"GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode())
        assert status_of(read_response(client)[0]) == 400
        port = client.socket.getsockname()[1]
    bed.gateway.wait_for_records(1, reason=reason, client_port=port)


@pytest.mark.parametrize("direction", ["up", "down", "chunked"])
def test_a_large_body_is_held_nowhere(bed: Bed, direction: str) -> None:
    """A reader that is slow at first makes the other side wait."""
    block, blocks = b"x" * (256 * 1024), 256
    size, slow = len(block) * blocks, threading.Event()

    def answer(talk: Talk, got: Got) -> None:
        if direction == "up":
            slow.wait(5)
            left = size
            while left:
                left -= len(talk.read_some())
            talk.reply()
            return
        framing = f"Content-Length: {size}" if direction == "down" else "Transfer-Encoding: chunked"
        talk.send(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n".encode())
        for _ in range(blocks):
            talk.send(block if direction == "down" else b"%x\r\n%s\r\n" % (len(block), block))
        if direction == "chunked":
            talk.send(b"0\r\n\r\n")

    path = f"/large/{direction}"
    answers(path, answer)
    gateway = psutil.Process(bed.gateway.process.pid)
    before = gateway.memory_info().rss
    timer = threading.Timer(0.3, slow.set)
    timer.start()
    with bed.client() as client:
        if direction == "up":
            bed.ask(client, path, f"Content-Length: {size}", method="POST")
            for _ in range(blocks):
                client.send(block)
            grown = gateway.memory_info().rss - before
            assert status_of(read_response(client)[0]) == 200
        else:
            bed.ask(client, path)
            slow.wait(5)
            grown = gateway.memory_info().rss - before
            assert len(read_response(client)[1]) == size
    timer.join()
    grown = max(grown, gateway.memory_info().rss - before)
    assert grown < 16 * 1024 * 1024, f"{grown / 1024:.0f} KiB"
    record = bed.exchange_of(path)
    assert record["bytes_up" if direction == "up" else "bytes_down"] == size


def test_a_client_that_resets_ends_its_request_at_the_origin(bed: Bed) -> None:
    gone = threading.Event()

    def answer(talk: Talk, got: Got) -> None:
        with contextlib.suppress(ConnectionError):
            talk.read_some()
        gone.set()

    answers("/left", answer)
    with bed.client() as client:
        bed.ask(client, "/left")
        while not any(got.path == "/left" for got in bed.origin.requests):
            pass
        client.reset()
    assert gone.wait(60)
    assert bed.exchange_of("/left")["reason"] == Reason.DOWNSTREAM_RESET


def test_draining_closes_connections_that_only_wait(tmp_path: Path) -> None:
    with HttpOrigin() as origin:
        policy = {"rules": [{"name": "ip", "cidrs": ["127.0.0.1/32"], "ports": [origin.port], "protocol": "http"}]}
        with GatewayProcess(tmp_path, policy) as gateway, RawClient(gateway.port) as client:
            client.send(f"GET http://127.0.0.1:{origin.port}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert read_response(client)[1] == b"hello\n"
            gateway.terminate()
            assert client.read_to_end() == b""
            assert gateway.stop() == 0
