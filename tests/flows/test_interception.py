"""Inspected tunnels: TLS is ended here, each request in it judged, and the destination proved before anything is said."""

import time
from collections.abc import Iterator

import pytest

from gateway.model.reasons import Reason
from tests.flows.interception import HOST, Bed, inspecting, problem
from tests.helpers.raw_client import status_of
from tests.helpers.responses import read_response
from tests.helpers.tls_origin import Issuer, TlsOrigin


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("inspecting")
    issuer = Issuer(folder)
    with TlsOrigin(context=issuer.context(HOST, "a.fam.test", "b.fam.test")) as origin:
        rules = [
            {"name": "site", "hosts": [HOST]},
            {"name": "family", "hosts": ["a.fam.test", "b.fam.test"], "sni": "rule"},
            {"name": "other", "hosts": ["other.test"]},
        ]
        with inspecting(folder, origin, issuer, time.time(), rules) as bed:
            yield bed


def test_many_requests_go_over_one_pair_of_connections_and_each_leaves_its_record(bed: Bed) -> None:
    connections = bed.origin.connections
    authority = f"{HOST}:{bed.origin.port}"
    with bed.client() as client:
        for number in range(3):
            client.ask(authority, f"/many/{number}")
            head, body = read_response(client)
            assert (status_of(head), body) == (200, b"hello\n")
        shown = client.tls.getpeercert()
    assert shown is not None
    assert shown["subjectAltName"] == (("DNS", HOST),)
    assert bed.origin.connections == connections + 1
    records = [bed.gateway.wait_for_records(1, path=f"/many/{number}")[0] for number in range(3)]
    [connection] = bed.gateway.wait_for_records(1, connection_id=records[0]["connection_id"], requests=3)
    assert (connection["inspected"], connection["tls_version"], connection["upstream_tls_version"]) == (
        True,
        "TLSv1.3",
        "TLSv1.3",
    )
    assert connection["upstream_issuer"] == "CN=tests"
    assert len(connection["upstream_certificate"]) == 64
