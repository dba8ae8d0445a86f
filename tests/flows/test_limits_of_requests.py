"""Stories of limits where requests are seen: which connections count, and what who has spent a budget is told."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from gateway.model.reasons import Reason
from tests.flows.interception import Bed, inspecting
from tests.helpers.http2_client import Http2Client, request
from tests.helpers.http2_origin import Asked, Http2Origin, Speaking
from tests.helpers.http_origin import Got, HttpOrigin, Talk, plain
from tests.helpers.origins import Origin, Visit
from tests.helpers.raw_client import RawClient, status_of
from tests.helpers.tls_origin import Issuer, TlsOrigin

ONE = {"connections": "1/h", "burst": 1}
TWO = {"connections": "1/h", "burst": 2}

BREAKER = {"failures": 2, "window": "60s", "open": "60s"}
QUEUE = {"requests": "1/h", "on_limit": "queue", "max_wait": "60s"}


def _leave(speaking: Speaking, asked: Asked) -> None:
    speaking.socket.shutdown(socket.SHUT_RDWR)


def _thousand(speaking: Speaking, asked: Asked) -> None:
    speaking.reply(asked.stream, b"x" * 1000)


ANSWERS = {"/leave": _leave, "/thousand": _thousand}


@pytest.fixture(scope="module")
def origin(issuer: Issuer) -> Iterator[Http2Origin]:
    with Http2Origin(issuer.context("streams.test", "budget.test"), ANSWERS) as origin:
        yield origin


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    return Issuer(tmp_path_factory.mktemp("issuer"))


@pytest.fixture(scope="module")
def http() -> Iterator[HttpOrigin]:
    with HttpOrigin() as http:
        yield http


def _mute(connection: socket.socket, _: Visit) -> None:
    while connection.recv(65536):
        pass


@pytest.fixture(scope="module")
def mute() -> Iterator[Origin]:
    """Accepts, and never says anything."""
    with Origin(_mute) as mute:
        yield mute


@pytest.fixture(scope="module")
def bed(
    tmp_path_factory: pytest.TempPathFactory, origin: Http2Origin, http: HttpOrigin, mute: Origin, issuer: Issuer
) -> Iterator[Bed]:
    plainly: dict[str, Any] = {"ports": [http.port], "protocol": "http", "inspect": False}
    rules: list[dict[str, Any]] = [
        {"name": "streams", "hosts": ["streams.test"], "limits": [TWO]},
        {"name": "unproven", "hosts": ["unproven.test"], "limits": [ONE]},
        {"name": "budget", "hosts": ["budget.test"], "limits": [{"bytes": "1500B/day"}]},
        {"name": "queue", "hosts": ["queue.test"], "limits": [QUEUE], **plainly},
        {"name": "short", "hosts": ["short.test"], "limits": [{**QUEUE, "max_wait": "100ms"}], **plainly},
        {"name": "shadow", "hosts": ["shadow.test"], "limits": [{**ONE, "mode": "report"}], **plainly},
        {
            "name": "mute",
            "hosts": ["mute.test"],
            "ports": [mute.port],
            "breaker": BREAKER,
            "timeouts": {"tls_handshake": "500ms"},
        },
        {"name": "spends", "hosts": ["spends.test"], "limits": [{"bytes": "1500B/day", "mode": "report"}], **plainly},
    ]
    folder = tmp_path_factory.mktemp("limits")
    with inspecting(folder, cast("TlsOrigin", origin), issuer, time.time(), rules) as bed:
        yield bed


def test_a_destination_that_is_not_verified_is_told_of_and_spends_no_second_connection(bed: Bed) -> None:
    with bed.client("unproven.test") as client:
        client.ask(f"unproven.test:{bed.origin.port}", "/")
        head = client.read_head()
        assert status_of(head) == 502
        assert b"(upstream_certificate_name_mismatch, " in client.read(_length(head))
    assert _results(bed, "unproven.connections") == {"passed": 1.0}


def test_streams_that_share_a_connection_spend_one(bed: Bed, origin: Http2Origin) -> None:
    authority = f"streams.test:{bed.origin.port}"
    with bed.client("streams.test", "h2") as tls:
        client = Http2Client(tls)
        client.send(client.head(1, request("POST", authority, "/leave")))  # which is not sent twice
        client.until(lambda it: 1 in it.ended or it.reset_code(1) is not None)
        before = origin.connections
        streams = range(3, 23, 2)
        client.send(*[client.head(stream, request("GET", authority, "/")) for stream in streams])
        assert [client.answer(stream)[0] for stream in streams] == ["200"] * len(streams)
        assert origin.connections == before + 1
    assert _results(bed, "streams.connections") == {"passed": 2.0}


def test_who_has_spent_its_budget_is_told_until_when_and_by_which_limit(bed: Bed) -> None:
    authority = f"budget.test:{bed.origin.port}"
    with bed.client("budget.test", "h2") as tls:
        client = Http2Client(tls)
        for stream in (1, 3):
            client.get(stream, authority, "/thousand")
            assert client.answer(stream)[0] == "200"
        client.get(5, authority, "/thousand")
        assert client.answer(5)[0] == "429"
        told = dict(client.heads[5][0])
        assert 0 < int(told["retry-after"]) <= 86400
        assert told["ratelimit-policy"] == '"bytes";q=1500;qu="content-bytes";w=86400'
        client.send(client.head(7, [*request("POST", authority, "/a.B/C"), ("content-type", "application/grpc")]))
        client.answer(7)
        assert dict(client.heads[7][0])["grpc-retry-pushback-ms"] == f"{dict(client.heads[7][0])['retry-after']}000"
    records = bed.gateway.wait_for_records(2, reason=Reason.BUDGET_SPENT)
    assert {record["detail"] for record in records} == {"policy.yaml#budget.bytes"}
    assert _results(bed, "budget.bytes") == {"passed": 1.0, "refused": 2.0}
    [fill] = [each for each in json.loads(bed.gateway.admin("/limits")[1])["limits"] if "budget" in each["limit"]]
    assert (fill["left"], fill["refused"]) == (0, 2)


def test_a_limit_that_would_refuse_the_second_connection_is_named_by_both_records(bed: Bed, http: HttpOrigin) -> None:
    asked = 0

    def close_at_first(talk: Talk, got: Got) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            talk.close()
        plain(talk, got)

    http.answers = {"/closed": close_at_first}
    with RawClient(bed.gateway.port) as client:
        for path in ("/", "/closed"):
            client.send(f"GET http://shadow.test:{http.port}{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            head = client.read_head()
            assert status_of(head) == 200
            client.read(_length(head))
    records = bed.gateway.wait_for_records(3, host="shadow.test")
    limited = {record.get("path"): record.get("would_limit") for record in records}
    assert limited == {"/": None, "/closed": "policy.yaml#shadow.connections", None: "policy.yaml#shadow.connections"}
    assert _results(bed, "shadow.connections") == {"passed": 2.0, "would_refuse": 1.0}


def test_a_budget_in_report_mode_that_a_request_spends_is_named_by_its_record(bed: Bed, http: HttpOrigin) -> None:
    def thousand(talk: Talk, got: Got) -> None:
        talk.read_body(got)
        talk.reply(b"x" * 1000)

    http.answers = {"/one": thousand, "/two": thousand}
    with RawClient(bed.gateway.port) as client:
        for path in ("/one", "/two"):
            client.send(f"GET http://spends.test:{http.port}{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            head = client.read_head()
            assert status_of(head) == 200
            client.read(_length(head))
    records = bed.gateway.wait_for_records(3, host="spends.test")
    limited = {record.get("path"): record.get("would_limit") for record in records}
    assert limited == {"/one": None, "/two": "policy.yaml#spends.bytes", None: "policy.yaml#spends.bytes"}


def test_who_leaves_the_queue_within_an_upload_leaves_it_at_once_and_spends_nothing(bed: Bed, http: HttpOrigin) -> None:
    def ask(client: RawClient, method: str, body: bytes = b"") -> None:
        head = f"{method} http://queue.test:{http.port}/ HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        client.send(head.encode() + body)

    with RawClient(bed.gateway.port) as client:
        ask(client, "GET")
        assert status_of(client.read_head()) == 200
    arrived = len(http.requests)
    with RawClient(bed.gateway.port) as client:
        ask(client, "POST", bytes(200_000))  # more than is held
        _until(lambda: bed.gateway.metric("egress_limit_waiting") == 1)
        client.reset()
    left_at = time.monotonic()
    [record] = bed.gateway.wait_for_records(1, host="queue.test", method="POST")
    assert time.monotonic() - left_at < 20
    assert record["reason"] == Reason.CLIENT_CLOSED
    assert "dialled_address" not in record
    assert len(http.requests) == arrived


def test_a_destination_that_answers_no_handshake_is_left_alone(bed: Bed, mute: Origin) -> None:
    statuses = []
    for _ in range(2):
        with bed.client("mute.test", port=mute.port) as client:
            client.ask(f"mute.test:{mute.port}", "/")
            statuses.append(status_of(client.read_head()))
    with RawClient(bed.gateway.port) as client:
        statuses.append(status_of(client.connect(f"mute.test:{mute.port}")))
    assert statuses == [504, 504, 503]


def test_a_connection_goes_on_after_a_request_that_waited_in_vain(bed: Bed, http: HttpOrigin) -> None:
    with RawClient(bed.gateway.port) as client:
        for status in (200, 429, 429):
            client.send(f"GET http://short.test:{http.port}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            head = client.read_head()
            assert status_of(head) == status
            assert b"\r\nConnection: close\r\n" not in head
            client.read(_length(head))


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60.0
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _length(head: bytes) -> int:
    return int(next(line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")))


def _results(bed: Bed, limit: str) -> dict[str, float]:
    """Of a limit, by result."""
    begin = f'egress_limit_results_total{{limit="policy.yaml#{limit}",result="'
    lines = (line.removeprefix(begin) for line in bed.gateway.metrics().splitlines() if line.startswith(begin))
    return {line.partition('"')[0]: float(line.rpartition(" ")[2]) for line in lines}
