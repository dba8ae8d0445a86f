"""A real Envoy tunnels through the gateway: in the clear, with its certificate, and behind a PROXY header."""

from collections.abc import Iterator

import pytest

from gateway.model.reasons import Reason
from tests.flows.entrances import LOAD_BALANCER, SVID, Bed, exchange, open_bed
from tests.helpers.certificates import pem
from tests.helpers.raw_client import RawClient
from tests.peers.envoy import Envoy, Way, mutual_tls, with_proxy_header

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with open_bed(tmp_path_factory.mktemp("envoy")) as bed:
        yield bed


@pytest.fixture(scope="module")
def envoy(bed: Bed) -> Iterator[Envoy]:
    ca = bed.folder / "servers.pem"
    ca.write_bytes(pem(bed.servers.certificate))
    cert, key = bed.clients.api.write(bed.folder, "envoy")
    fired = bed.clients.revoked.write(bed.folder, "fired")
    ports = bed.gateway.ports
    ways = [
        Way("plain", bed.at("open"), ports["proxy"]),
        Way("denied", bed.at("unlisted"), ports["proxy"]),
        Way("mtls", bed.at("payments"), ports["strict"], mutual_tls(cert, key, ca)),
        Way("revoked", bed.at("open"), ports["strict"], mutual_tls(*fired, ca)),
        Way("header", bed.at("open"), ports["lb"], with_proxy_header(), LOAD_BALANCER),
        Way("all", bed.at("payments"), ports["all"], with_proxy_header(mutual_tls(cert, key, ca)), LOAD_BALANCER),
    ]
    with Envoy(bed.folder, ways) as envoy:
        yield envoy


def test_a_tcp_connection_goes_through_a_tunnel(bed: Bed, envoy: Envoy) -> None:
    with bed.one_record() as record, RawClient(envoy.ports["plain"]) as client:
        exchange(client, b"x" * 100_000)
    assert (record["door"], record["decision"], record["status"]) == ("connect", "allow", 200)
    assert (record["bytes_up"], record["bytes_down"]) == (100_000, 100_000)


def test_what_is_denied_is_closed_to_its_client(bed: Bed, envoy: Envoy) -> None:
    with bed.refused() as record, RawClient(envoy.ports["denied"]) as client:
        assert _is_closed(client)
    assert (record["reason"], record["status"]) == (Reason.NO_RULE, 403)


def test_its_certificate_says_who_it_is(bed: Bed, envoy: Envoy) -> None:
    with bed.one_record() as record, RawClient(envoy.ports["mtls"]) as client:
        exchange(client, b"x" * 100_000)
    assert (record["identity"], record["spiffe"], record["groups"]) == ("mtls", SVID, ["payments"])
    assert (record["bytes_up"], record["bytes_down"]) == (100_000, 100_000)


def test_with_a_revoked_certificate_it_does_not_get_in(bed: Bed, envoy: Envoy) -> None:
    with bed.refused() as record, RawClient(envoy.ports["revoked"]) as client:
        assert _is_closed(client)
    assert (record["reason"], record["detail"]) == (Reason.CLIENT_CERTIFICATE_INVALID, "certificate revoked")


@pytest.mark.parametrize(("way", "identity"), [("header", "address"), ("all", "mtls")])
def test_its_proxy_header_says_who_its_client_is(bed: Bed, envoy: Envoy, way: str, identity: str) -> None:
    with bed.one_record() as record, RawClient(envoy.ports[way], source="127.0.0.9") as client:
        port = client.socket.getsockname()[1]
        exchange(client)
    assert (record["client_address"], record["client_port"]) == ("127.0.0.9", port)
    assert (record["peer_address"], record["identity"]) == (LOAD_BALANCER, identity)


def _is_closed(client: RawClient) -> bool:
    try:
        return client.read_to_end() == b""
    except ConnectionResetError:
        return True
