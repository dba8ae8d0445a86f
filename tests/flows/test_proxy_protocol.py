"""Stories of a gateway behind a load balancer: who may say who the client is, and what a destination is told."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.model.addresses import parse_address
from gateway.model.decision import ProxyVersion
from gateway.model.reasons import Reason
from gateway.wire.proxy_protocol import build_proxy_header, parse_proxy_header
from tests.flows.entrances import LOAD_BALANCER, Bed, connect, exchange, open_bed
from tests.helpers.client_hello import build_client_hello
from tests.helpers.raw_client import RawClient, status_of

ACCESS_DENIED = bytes((21, 3, 3, 0, 2, 2, 49))
POD = "10.7.1.9"
MAPPED_V1 = f"PROXY TCP6 ::ffff:{POD} ::ffff:192.0.2.1 40000 3128\r\n".encode()
LOCAL = b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with open_bed(tmp_path_factory.mktemp("proxy-protocol")) as bed:
        yield bed


def header(version: ProxyVersion) -> bytes:
    client, gateway = parse_address(POD), parse_address("192.0.2.1")
    assert client is not None
    assert gateway is not None
    return build_proxy_header(version, (client, 40000), (gateway, 3128))


@pytest.mark.parametrize("form", ["v1", "v2", "IPv4 inside IPv6"])
def test_the_client_is_who_a_trusted_sender_says(bed: Bed, form: str) -> None:
    sent = header(ProxyVersion(form)) if form in list(ProxyVersion) else MAPPED_V1
    with bed.one_record() as record, bed.client("lb", source=LOAD_BALANCER) as client:
        peer = client.socket.getsockname()
        client.send(sent + f"CONNECT {bed.at('pods')} HTTP/1.1\r\nHost: {bed.at('pods')}\r\n\r\n".encode())
        assert status_of(client.read_head()) == 200
        exchange(client)
    assert (record["client_address"], record["client_port"], record["groups"]) == (POD, 40000, ["pods"])
    assert (record["peer_address"], record["peer_port"]) == peer


def test_a_header_that_comes_byte_by_byte_is_read_whole(bed: Bed) -> None:
    with bed.one_record() as record, bed.client("lb", source=LOAD_BALANCER) as client:
        for byte in header(ProxyVersion.V2):
            client.send(bytes((byte,)))
        assert connect(client, bed.at("pods")) == 200
        exchange(client)
    assert record["client_address"] == POD


@pytest.mark.parametrize("opening", [LOCAL, b"PROXY UNKNOWN\r\n"])
def test_a_sender_that_speaks_for_itself_is_the_client(bed: Bed, opening: bytes) -> None:
    with bed.one_record() as record, bed.client("lb", source=LOAD_BALANCER) as client:
        client.send(opening)
        assert connect(client, bed.at("open")) == 200
        exchange(client)
    assert record["client_address"] == LOAD_BALANCER
    assert "peer_address" not in record


@pytest.mark.parametrize("version", ProxyVersion)
def test_who_is_not_trusted_cannot_be_somebody_else(bed: Bed, version: ProxyVersion) -> None:
    with bed.refused() as record, bed.client("lb") as client:
        client.send(header(version) + f"CONNECT {bed.at('pods')} HTTP/1.1\r\n\r\n".encode())
        assert status_of(client.read_to_end()) == 403
    assert (record["reason"], record["client_address"]) == (Reason.PROXY_HEADER_REFUSED, "127.0.0.1")
    assert record["ended"] == "refused"
    assert "identity" not in record


def test_who_is_not_trusted_and_sends_none_is_a_client_like_any(bed: Bed) -> None:
    with bed.one_record() as record, bed.client("lb") as client:
        assert connect(client, bed.at("open")) == 200
        exchange(client)
    assert record["client_address"] == "127.0.0.1"


def test_a_trusted_sender_without_a_header_is_refused(bed: Bed) -> None:
    with bed.refused() as record, bed.client("lb", source=LOAD_BALANCER) as client:
        assert connect(client, bed.at("open")) == 400
    assert (record["reason"], record["status"]) == (Reason.PROXY_HEADER_MISSING, 400)


def test_a_trusted_sender_without_a_header_before_its_tls_gets_an_alert(bed: Bed) -> None:
    with bed.refused() as record, bed.client("all", source=LOAD_BALANCER) as client:
        client.send(build_client_hello())
        assert client.read_to_end() == ACCESS_DENIED
    assert record["reason"] == Reason.PROXY_HEADER_MISSING


def test_a_malformed_header_is_refused(bed: Bed) -> None:
    with bed.refused() as record, bed.client("lb", source=LOAD_BALANCER) as client:
        client.send(b"PROXY TCP4 10.7.1.9 192.0.2.1 040000 3128\r\n")
        assert status_of(client.read_to_end()) == 400
    assert record["reason"] == Reason.PROXY_HEADER_MALFORMED


@pytest.mark.parametrize("source", [LOAD_BALANCER, "127.0.0.1"])
def test_a_header_that_does_not_come_in_time_is_not_waited_for(bed: Bed, source: str) -> None:
    with bed.refused() as record, bed.client("lb", source=source) as client:
        client.send(b"PRO")
        assert status_of(client.read_to_end()) == 408
    assert (record["reason"], record["detail"]) == (Reason.HEAD_TIMEOUT, "PROXY header")


def test_on_a_listener_without_the_protocol_a_header_is_a_malformed_request(bed: Bed) -> None:
    with bed.refused() as record, bed.client("proxy") as client:
        client.send(header(ProxyVersion.V1))
        assert status_of(client.read_to_end()) == 400
    assert record["reason"] == Reason.MALFORMED_REQUEST


def test_connections_count_for_the_client_that_is_named_and_not_for_the_load_balancer(tmp_path: Path) -> None:
    with open_bed(tmp_path, bounds={"tunnels_per_client": 1}) as bed, contextlib.ExitStack() as clients:

        def arrive(pod: str) -> RawClient:
            client = clients.enter_context(bed.client("lb", source=LOAD_BALANCER))
            client.send(f"PROXY TCP4 {pod} 192.0.2.1 40000 3128\r\n".encode())
            return client

        first, other = arrive("10.7.0.1"), arrive("10.7.0.2")
        assert (connect(first, bed.at("pods")), connect(other, bed.at("pods"))) == (200, 200)
        left = bed.left()
        assert connect(arrive("10.7.0.1"), bed.at("pods")) == 503
        assert bed.left() == left
        [record] = bed.gateway.wait_for_records(1, reason=Reason.TOO_MANY_TUNNELS_OF_CLIENT)
        assert (record["client_address"], record["peer_address"]) == ("10.7.0.1", LOAD_BALANCER)
        exchange(first)
        exchange(other)
        bed.gateway.quiet()
        again = arrive("10.7.0.1")
        assert connect(again, bed.at("pods")) == 200
        exchange(again)


def test_a_destination_is_told_who_the_client_is_before_its_first_byte(bed: Bed) -> None:
    received = len(bed.origin.received)
    with bed.one_record() as record, bed.client("lb", source=LOAD_BALANCER) as client:
        client.send(header(ProxyVersion.V2))
        assert connect(client, bed.at("told")) == 200
        told = client.read(28)
        exchange(client)
    named = parse_proxy_header(bed.origin.received[received:])
    assert named is not None
    assert named.source == (parse_address(POD), 40000)
    assert bed.origin.received[received:] == told + b"ping"
    assert told == header_to(bed.origin.port)
    assert (record["bytes_up"], record["bytes_down"]) == (4, 32)


def test_a_destination_is_told_nothing_before_the_last_verdict(bed: Bed) -> None:
    received = len(bed.origin.received)
    with bed.one_record() as record, bed.client("proxy") as client:
        assert connect(client, bed.at("late")) == 200
        client.send(build_client_hello(server_name="open.test"))
        assert client.read_to_end() == ACCESS_DENIED
    assert len(bed.origin.received) == received
    assert record["reason"] == Reason.SNI_MISMATCH
    hello = build_client_hello(server_name="late.test")
    with bed.one_record(), bed.client("proxy") as client:
        own_port = client.socket.getsockname()[1]
        assert connect(client, bed.at("late")) == 200
        client.send(hello)
        line = f"PROXY TCP4 127.0.0.1 127.0.0.1 {own_port} {bed.origin.port}\r\n".encode()
        assert client.read(len(line + hello)) == line + hello


def header_to(port: int) -> bytes:
    client, origin = parse_address(POD), parse_address("127.0.0.1")
    assert client is not None
    assert origin is not None
    return build_proxy_header(ProxyVersion.V2, (client, 40000), (origin, port))
