"""Inspectors look at streams of HTTP/2 as they look at exchanges of HTTP/1."""

import time
from collections.abc import Iterator
from typing import cast

import pytest

from gateway.model.reasons import Reason
from tests.flows.interception import Bed, inspecting
from tests.helpers.http2_client import Http2Client, request
from tests.helpers.http2_origin import Http2Origin
from tests.helpers.tls_origin import Issuer, TlsOrigin
from tests.intercept.shipped.keys import KEYS

HOST = "keys.test"
KEY = KEYS["github-token"]


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    return Issuer(tmp_path_factory.mktemp("issuer"))


@pytest.fixture(scope="module")
def origin(issuer: Issuer) -> Iterator[Http2Origin]:
    with Http2Origin(issuer.context(HOST)) as origin:
        yield origin


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer, origin: Http2Origin) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("inspectors")
    inspect = {"upstream_ca": "origins.pem", "inspectors": ["keys"]}
    rules = [{"name": "keys", "hosts": [HOST], "inspect": inspect}]
    said = cast("TlsOrigin", origin)
    with inspecting(folder, said, issuer, time.time(), rules, inspectors={"keys": {"secrets": {}}}) as bed:
        yield bed


def _post(bed: Bed, path: str, *fields: tuple[str, str]) -> list[tuple[str, str]]:
    return [*request("POST", f"{HOST}:{bed.origin.port}", path), ("content-type", "application/json"), *fields]


def test_what_nobody_objects_to_passes_but_for_trailers_which_nobody_was_shown(bed: Bed, origin: Http2Origin) -> None:
    with bed.client(HOST, "h2") as tls:
        client = Http2Client(tls)
        client.send(client.head(1, _post(bed, "/plain"), ends=False), client.data(1, b"x" * 1000))
        client.send(client.data(1, b"yz"), client.head(1, [("x-sum", "2")]))
        assert client.answer(1) == ("200", b"hello\n")
        client.send(
            client.head(3, _post(bed, "/length", ("content-length", "3")), ends=False), client.data(3, b"abc", True)
        )
        assert client.answer(3) == ("200", b"hello\n")
        client.get(5, f"{HOST}:{bed.origin.port}", "/get")
        assert client.answer(5) == ("200", b"hello\n")
    got = {asked.value(":path"): asked for asked in origin.requests}
    assert (got["/plain"].body, got["/plain"].trailers) == (b"x" * 1000 + b"yz", [])
    assert got["/length"].body == b"abc"


def test_a_key_that_is_cut_in_two_frames_is_found_and_does_not_arrive(bed: Bed, origin: Http2Origin) -> None:
    with bed.client(HOST, "h2") as tls:
        client = Http2Client(tls)
        client.send(client.head(1, _post(bed, "/leak"), ends=False), client.data(1, b"see " + KEY[:10]))
        client.send(client.data(1, KEY[10:] + b" there", ends=True))
        client.until(lambda it: 1 in it.ended or it.reset_code(1) is not None)
        assert client.heads[1][0][0] == (":status", "403")
        client.send(
            client.head(3, _post(bed, "/clean", ("content-length", "2")), ends=False), client.data(3, b"ok", True)
        )
        assert client.answer(3) == ("200", b"hello\n")
    assert KEY not in b"".join(asked.body for asked in origin.requests)
    [record] = bed.gateway.wait_for_records(1, path="/leak")
    assert (record["decision"], record["reason"]) == ("deny", Reason.INSPECTOR_DENIED)
