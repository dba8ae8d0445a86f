"""The load generator and the origin, through a proxy that is honest or is not."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from benchmarks import layout, load
from benchmarks.load import LoadFailed
from tests.benchmarks.connect_proxy import connect_proxy
from tests.helpers.naive_proxy import NaiveProxy
from tests.helpers.origins import Origin as Pretender
from tests.helpers.origins import Visit
from tests.helpers.ports import free_port
from tests.helpers.requirements import require

Ports = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Origin:
    tls: Ports
    echo: Ports
    bulk: Ports
    http: Ports


def _ports() -> Ports:
    """For one process: from a port to the same."""
    port = free_port()
    return port, port


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    require("cc")
    load.build()
    ports = Origin(_ports(), _ports(), _ports(), _ports())
    with load.origin(ports.tls, ports.echo, ports.bulk, ports.http):
        yield ports


def test_the_recorded_hellos_are_one_tls_record_each_and_name_the_target() -> None:
    for path in layout.HELLOS:
        hello = path.read_bytes()
        assert path.stem.endswith(f"-{len(hello)}")
        assert hello[0] == 0x16
        assert int.from_bytes(hello[3:5]) == len(hello) - 5
        assert layout.TARGET.encode() in hello


def test_tunnels_with_a_hello_are_opened_answered_and_closed(origin: Origin) -> None:
    with (
        connect_proxy() as proxy,
        load.generate(
            "tunnels", origin.tls, {"total": 200, "tunnels": 8}, proxy_port=proxy.port, hellos=layout.HELLOS
        ) as run,
    ):
        result = run.read()
    assert (result.units, result.tunnels, result.bytes) == (200, 200, 200 * 64)


def test_tunnels_with_an_echo_are_opened_answered_and_closed(origin: Origin) -> None:
    with (
        connect_proxy() as proxy,
        load.generate("tunnels", origin.echo, {"total": 200, "tunnels": 8}, proxy_port=proxy.port) as run,
    ):
        assert run.read().units == 200


def test_round_trips_run_in_tunnels_that_stay_open(origin: Origin) -> None:
    with (
        connect_proxy() as proxy,
        load.generate("roundtrips", origin.echo, {"total": 1000, "tunnels": 4}, proxy_port=proxy.port) as run,
    ):
        opened, worked, closed = run.read(), run.go_on(), run.go_on()
    assert opened.tunnels == worked.tunnels == closed.tunnels == 4
    assert worked.units == 1000


@pytest.mark.parametrize("direction", ["down", "up"])
def test_bulk_arrives_whole_in_either_direction(origin: Origin, direction: str) -> None:
    counts = {"tunnels": 4, direction: 20_000_000}
    with connect_proxy() as proxy, load.generate("bulk", origin.bulk, counts, proxy_port=proxy.port) as run:
        run.read()
        assert run.go_on().bytes == 20_000_000
        run.go_on()


def test_idle_tunnels_are_held_until_told(origin: Origin) -> None:
    with (
        connect_proxy() as proxy,
        load.generate("idle", origin.tls, {"tunnels": 100}, proxy_port=proxy.port, hellos=layout.HELLOS) as run,
    ):
        assert run.read().tunnels == 100
        assert run.go_on().phase == "closed"


def test_messages_may_be_long_and_are_timed(origin: Origin) -> None:
    counts = {"total": 100, "tunnels": 2, "message": 16_384}
    with connect_proxy() as proxy, load.generate("roundtrips", origin.echo, counts, proxy_port=proxy.port) as run:
        run.read()
        worked = run.go_on()
        run.go_on()
    assert (worked.units, worked.bytes) == (100, 100 * 16_384)
    assert 0 < worked.p50 <= worked.p99 <= worked.p999


@pytest.mark.parametrize("answer", [b"Content-Length: 6\r\n\r\ndenied", b"\r\nread to the end"])
def test_refusals_are_read_to_their_end(origin: Origin, answer: bytes) -> None:
    with (
        connect_proxy(answer=b"HTTP/1.1 403 Forbidden\r\n" + answer) as proxy,
        load.generate("denials", origin.echo, {"total": 50, "tunnels": 4}, proxy_port=proxy.port) as run,
    ):
        result = run.read()
    assert (result.units, result.tunnels) == (50, 50)
    assert result.p50 > 0


def test_a_tunnel_where_a_refusal_should_be_fails_the_run(origin: Origin) -> None:
    with (
        connect_proxy() as proxy,
        load.generate("denials", origin.echo, {"total": 10}, proxy_port=proxy.port) as run,
        pytest.raises(LoadFailed, match="not refused"),
    ):
        run.read()


def test_a_refused_connect_fails_the_run(origin: Origin) -> None:
    with (
        connect_proxy(answer=b"HTTP/1.1 403 Forbidden\r\n\r\n") as proxy,
        load.generate("tunnels", origin.echo, {"total": 10}, proxy_port=proxy.port) as run,
        pytest.raises(LoadFailed, match="403 Forbidden"),
    ):
        run.read()


def test_bytes_behind_the_200_fail_the_run(origin: Origin) -> None:
    with (
        connect_proxy(answer=b"HTTP/1.1 200 OK\r\n\r\nx") as proxy,
        load.generate("tunnels", origin.echo, {"total": 10}, proxy_port=proxy.port) as run,
        pytest.raises(LoadFailed, match="before the origin spoke"),
    ):
        run.read()


@pytest.mark.parametrize("mode", ["tunnels", "roundtrips"])
def test_an_altered_echo_fails_the_run(origin: Origin, mode: str) -> None:
    with (
        connect_proxy(change=lambda received: received[:-1] + bytes([received[-1] ^ 1])) as proxy,
        load.generate(mode, origin.echo, {"total": 10, "tunnels": 2}, proxy_port=proxy.port) as run,
        pytest.raises(LoadFailed, match="another answer"),
    ):
        run.read()


def test_an_altered_download_fails_the_run(origin: Origin) -> None:
    with (
        connect_proxy(change=lambda received: received[:-1] + bytes([received[-1] ^ 1])) as proxy,
        load.generate("bulk", origin.bulk, {"tunnels": 1, "down": 1_000_000}, proxy_port=proxy.port) as run,
    ):
        run.read()
        with pytest.raises(LoadFailed, match="another byte"):
            run.go_on()


def test_nobody_listening_fails_the_run(origin: Origin) -> None:
    with (
        load.generate("tunnels", origin.echo, {"total": 10}, proxy_port=free_port()) as run,
        pytest.raises(LoadFailed, match="refused"),
    ):
        run.read()


def test_requests_are_answered_also_by_a_proxy_that_closes_after_each(origin: Origin) -> None:
    with (
        NaiveProxy() as proxy,
        load.generate(
            "get", origin.http, {"total": 100, "tunnels": 4}, proxy_port=proxy.port, program="requests"
        ) as run,
    ):
        result = run.read()
    assert (result.units, result.bytes, result.tunnels) == (100, 100 * 200, 100)


@pytest.mark.parametrize("mode", ["download", "upload"])
def test_a_body_arrives_whole_in_either_direction(origin: Origin, mode: str) -> None:
    counts = {"total": 1, "tunnels": 1, "bytes": 20_000_000}
    with (
        NaiveProxy() as proxy,
        load.generate(mode, origin.http, counts, proxy_port=proxy.port, program="requests") as run,
    ):
        assert run.read().bytes == 20_000_000


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "403 Forbidden"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 199\r\n\r\n" + bytes(199), "Content-Length: 199"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n" + bytes(200), "another byte"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n", "ended early"),
        (b"", "closed"),
    ],
)
def test_an_answer_that_is_not_the_origins_fails_the_run(answer: bytes, complaint: str) -> None:
    def serve(connection: socket.socket, visit: Visit) -> None:
        visit.received += connection.recv(65536)
        connection.sendall(answer)

    with (
        Pretender(serve) as pretender,
        load.generate("get", (1, 1), {"total": 1, "tunnels": 1}, proxy_port=pretender.port, program="requests") as run,
        pytest.raises(LoadFailed, match=complaint),
    ):
        run.read()
