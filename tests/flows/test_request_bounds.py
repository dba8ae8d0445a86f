"""What a peer of plain HTTP can make the gateway hold or wait for is bounded, in bytes and in time."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import psutil
import pytest

from gateway.model.reasons import Reason
from tests.helpers.dns_server import DnsServer
from tests.helpers.gateway import GatewayProcess
from tests.helpers.origins import Origin, Visit
from tests.helpers.raw_client import RawClient, status_of

MIB = 1 << 20
MUCH = 256 * MIB
HELD = 16 * MIB
"""What the gateway may grow by meanwhile: far more than it holds, far less than what is sent."""
TIMEOUT = 1.0
IDLE = 3.0
"""Seconds. Who is not read from waits for a part of it, on a busy machine as well."""
LATE = 4.0
"""Seconds that a time-out may be late on a busy machine."""

Act = Callable[[socket.socket], None]


@dataclass
class Bed:
    """An origin that reads one head and then does what `acts` says for its path. `ended` tells how each act
    ended: None, or the error that cut it off."""

    gateway: GatewayProcess
    origin: Origin
    acts: dict[str, Act]
    ended: dict[str, OSError | None] = field(default_factory=dict)

    def head(self, path: str, *fields: str, method: str = "GET") -> bytes:
        url = f"http://a.test:{self.origin.port}{path}"
        return "\r\n".join([f"{method} {url} HTTP/1.1", "Host: a.test", *fields, "", ""]).encode()

    def rss(self) -> int:
        return int(psutil.Process(self.gateway.process.pid).memory_info().rss)

    def reason(self, path: str) -> str | None:
        reason: str | None = self.gateway.wait_for_records(1, path=path)[-1].get("reason")
        return reason


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("bounds")
    acts: dict[str, Act] = {}
    ended: dict[str, OSError | None] = {}

    def serve(connection: socket.socket, visit: Visit) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            data = connection.recv(1)
            if not data:
                return
            head += data
        path = head.split(b" ")[1].decode()
        try:
            acts.get(path, _answers)(connection)
        except OSError as error:
            ended[path] = error
        else:
            ended[path] = None

    with DnsServer() as dns, Origin(serve) as origin:
        dns.answer("a.test", "127.0.0.1")
        rule = {"name": "a", "hosts": ["a.test"], "ports": [origin.port], "protocol": "http"}
        settings = {
            "resolver": {"servers": [f"127.0.0.1:{dns.port}"]},
            "timeouts": {"head": f"{TIMEOUT:g}s", "idle": f"{IDLE:g}s"},
        }
        with GatewayProcess(folder, {"rules": [rule]}, settings) as gateway:
            with RawClient(gateway.port) as client:  # so that what a first request loads is loaded
                client.send(Bed(gateway, origin, acts).head("/first", "Connection: close"))
                assert status_of(client.read_to_end()) == 200
            yield Bed(gateway, origin, acts, ended)


def _answers(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")


def _sends(first: bytes, again: bytes, times: int) -> Act:
    def act(connection: socket.socket) -> None:
        connection.sendall(first)
        for _ in range(times):
            connection.sendall(again)

    return act


@pytest.mark.parametrize(
    ("path", "act", "reason"),
    [
        ("/interim", _sends(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000, 10_000), Reason.MALFORMED_RESPONSE),
        ("/fields", _sends(b"HTTP/1.1 200 OK\r\n", b"X: a\r\n" * 10_000, 4_000), Reason.RESPONSE_HEAD_TOO_LARGE),
        ("/field", _sends(b"HTTP/1.1 200 OK\r\nX: ", b"a" * MIB, 256), Reason.RESPONSE_HEAD_TOO_LARGE),
    ],
)
def test_a_head_that_never_ends_is_cut_off_soon(bed: Bed, path: str, act: Act, reason: Reason) -> None:
    bed.acts[path] = act
    before = bed.rss()
    with RawClient(bed.gateway.port) as client:
        client.send(bed.head(path, "Connection: close"))
        assert b"HTTP/1.1 502 " in client.read_to_end()
    assert bed.reason(path) == reason
    assert bed.rss() - before < HELD
    _until(lambda: path in bed.ended)
    assert bed.ended[path] is not None


def test_a_chunk_extension_that_never_ends_is_cut_off_soon(bed: Bed) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;"
    bed.acts["/extension"] = _sends(head, b"a" * MIB, 256)
    before = bed.rss()
    with RawClient(bed.gateway.port) as client:
        client.send(bed.head("/extension"))
        with contextlib.suppress(ConnectionResetError):  # what had begun cannot be ended in order
            assert b"0\r\n\r\n" not in client.read_to_end()
    assert bed.reason("/extension") == Reason.MALFORMED_RESPONSE
    assert bed.rss() - before < HELD


def test_a_head_that_comes_byte_by_byte_has_its_time(bed: Bed) -> None:
    """Each byte comes soon enough; the head as a whole does not. On a kept connection as on a fresh one."""
    with RawClient(bed.gateway.port) as client:
        client.send(bed.head("/kept"))
        assert status_of(client.read_head()) == 200
        assert client.read(3) == b"ok\n"
        began = time.monotonic()
        told = _drips(client, bed.head("/drip", "X: " + "a" * 1000))
    assert status_of(told) == 408
    assert TIMEOUT <= time.monotonic() - began < TIMEOUT + LATE


def _drips(client: RawClient, data: bytes) -> bytes:
    """One byte every twentieth of a second until something is answered."""
    client.socket.settimeout(0.05)
    for byte in data:
        client.send(bytes([byte]))
        with contextlib.suppress(TimeoutError):
            return client.socket.recv(65536)
    raise AssertionError("the whole head was waited for")


def test_content_that_stops_coming_ends_the_request_at_the_origin(bed: Bed) -> None:
    bed.acts["/stops"] = _reads_all
    with RawClient(bed.gateway.port) as client:
        client.send(bed.head("/stops", "Content-Length: 100", method="POST") + b"x")
        assert status_of(client.read_head()) == 408
    assert bed.reason("/stops") == Reason.BODY_TIMEOUT
    _until(lambda: "/stops" in bed.ended)
    assert isinstance(bed.ended["/stops"], ConnectionResetError)


@pytest.mark.parametrize(
    "fields", [["Content-Length: 1000000"], ["Transfer-Encoding: chunked"]], ids=["length", "chunks"]
)
@pytest.mark.parametrize("way", ["closes", "resets"])
def test_a_client_that_leaves_within_an_upload_never_completes_it(bed: Bed, fields: list[str], way: str) -> None:
    path, began = f"/{way}-{fields[0][:2]}", threading.Event()

    def act(connection: socket.socket) -> None:
        began.set()
        _reads_all(connection)

    bed.acts[path] = act
    content = b"3e8\r\n" + b"x" * 1000 + b"\r\n" if "chunked" in fields[0] else b"x" * 1000
    with RawClient(bed.gateway.port) as client:
        client.send(bed.head(path, *fields, method="POST") + content)
        assert began.wait(60)  # both ways of leaving are told at any moment; this one is within the content
        if way == "resets":
            client.reset()
    _until(lambda: path in bed.ended)
    assert isinstance(bed.ended[path], ConnectionResetError)
    assert bed.reason(path) in {Reason.CLIENT_CLOSED, Reason.DOWNSTREAM_RESET}


def _reads_all(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def test_a_client_that_does_not_read_holds_up_the_origin_and_nothing_else(bed: Bed) -> None:
    sent = _Sent()
    bed.acts["/large"] = lambda connection: sent.all_of(connection, MUCH)
    before = bed.rss()
    with RawClient(bed.gateway.port) as client:
        client.send(bed.head("/large"))
        sent.wait_until_stuck()
        assert 0 < sent.size < MUCH
        assert bed.rss() - before < HELD
        head = client.read_head()
        assert status_of(head) == 200
        assert sum(_received(client, MUCH)) == MUCH
    assert bed.rss() - before < HELD


class _Sent:
    """How far somebody came with sending, whom the other side does not read from."""

    def __init__(self) -> None:
        self.size = 0

    def all_of(self, connection: socket.socket, size: int) -> None:
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        self.content(connection, size)

    def content(self, connection: socket.socket, size: int) -> None:
        data = bytes(MIB)
        while self.size < size:
            self.size += connection.send(data[: size - self.size])

    def wait_until_stuck(self) -> None:
        """Nothing was taken for a fifth of a second: well within `IDLE`, after which the gateway gives up."""
        before = -1
        while before != self.size or not self.size:
            before = self.size
            time.sleep(0.2)


def _received(client: RawClient, size: int) -> Iterator[int]:
    while size > 0 and (data := client.socket.recv(MIB)):
        size -= len(data)
        yield len(data)


def test_an_origin_that_does_not_read_holds_up_the_client_and_nothing_else(bed: Bed) -> None:
    go_on = threading.Event()
    taken: list[int] = []

    def act(connection: socket.socket) -> None:
        go_on.wait(20)
        while sum(taken) < MUCH and (data := connection.recv(MIB)):
            taken.append(len(data))
        _answers(connection)

    bed.acts["/upload"] = act
    before, sent = bed.rss(), _Sent()
    with RawClient(bed.gateway.port) as client:
        client.send(bed.head("/upload", f"Content-Length: {MUCH}", method="PUT"))
        sending = threading.Thread(target=sent.content, args=(client.socket, MUCH))
        sending.start()
        sent.wait_until_stuck()
        assert 0 < sent.size < MUCH
        assert bed.rss() - before < HELD
        go_on.set()
        sending.join()
        assert status_of(client.read_head()) == 200
    assert sum(taken) == MUCH
    assert bed.rss() - before < HELD


def test_of_a_client_that_asks_faster_than_it_is_answered_little_is_held_and_everything_answered(bed: Bed) -> None:
    count = 4000
    requests = bed.head("/" + "x" * 1000) * count
    before = bed.rss()
    with RawClient(bed.gateway.port) as client:
        sending = threading.Thread(target=client.send, args=(requests,))
        sending.start()
        answers = client.read_to_end()
        sending.join()
    assert answers.count(b"HTTP/1.1 200 ") == count
    assert bed.rss() - before < HELD


def _until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
