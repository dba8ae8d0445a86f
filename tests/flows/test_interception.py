"""Inspected tunnels: TLS is ended here, each request in it is judged, and the destination proves itself first."""

import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from gateway.model.reasons import Reason
from tests.flows.interception import HOST, Bed, inspecting
from tests.helpers.http_origin import Answer, Got, Talk
from tests.helpers.raw_client import RawClient, status_of
from tests.helpers.responses import read_response
from tests.helpers.tls_client import HelloInMemory, TlsClient, client_context
from tests.helpers.tls_origin import Issuer, TlsOrigin

REASONS = frozenset({Reason.ALPN_UNSUPPORTED, Reason.CLIENT_REJECTED_CERTIFICATE})


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("inspecting")
    issuer = Issuer(folder)
    with TlsOrigin(context=issuer.context(HOST, "a.fam.test", "b.fam.test", "counted.test", "brief.test")) as origin:
        rules: list[dict[str, Any]] = [
            {"name": "site", "hosts": [HOST]},
            {"name": "family", "hosts": ["a.fam.test", "b.fam.test"], "sni": "rule"},
            {"name": "other", "hosts": ["other.test"]},
            {"name": "brief", "hosts": ["brief.test"], "timeouts": {"lifetime": "3s"}},
            {"name": "counted", "hosts": ["counted.test"], "limits": [{"requests": "1/m", "burst": 3}]},
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


def test_requests_are_counted_inside_tls_over_all_tunnels_and_what_is_over_the_limit_does_not_leave(bed: Bed) -> None:
    requests = len(bed.origin.requests)
    heads = []
    for path in ("/1", "/2"):
        with bed.client("counted.test") as client:
            for _ in range(2):
                client.ask(f"counted.test:{bed.origin.port}", path)
                heads.append(read_response(client)[0])
    assert [status_of(head) for head in heads] == [200, 200, 200, 429]
    assert b"\r\nRateLimit-Policy: " in heads[-1]
    assert b"\r\nRetry-After: " in heads[-1]
    assert len(bed.origin.requests) == requests + 3
    record, *_ = bed.gateway.wait_for_records(1, host="counted.test", status=429)
    assert (record["reason"], record["rule"]) == (Reason.LIMIT_EXCEEDED, "policy.yaml#counted")


@pytest.mark.parametrize(
    ("connect", "sni"),
    [(HOST, "other.test"), ("a.fam.test", HOST), (HOST, "unlisted.test")],
)
def test_another_server_name_is_refused_by_an_alert_and_no_byte_goes_to_the_origin(
    bed: Bed, connect: str, sni: str
) -> None:
    bed.gateway.quiet()
    received, seen = len(bed.origin.origin.received), len(bed.gateway.records())
    with pytest.raises(ssl.SSLError, match="ACCESS_DENIED"):
        bed.client(connect, sni=sni)
    [record] = bed.gateway.quiet()[-1:]
    assert (record["decision"], record["reason"], record["sni"]) == ("deny", Reason.SNI_MISMATCH, sni)
    assert "inspected" not in record
    assert len(bed.gateway.records()) == seen + 1
    assert len(bed.origin.origin.received) == received


def test_with_sni_rule_the_leaf_and_the_destination_are_for_the_server_name(bed: Bed) -> None:
    with bed.client("a.fam.test", sni="b.fam.test") as client:
        shown = client.tls.getpeercert()
        client.ask(f"b.fam.test:{bed.origin.port}", "/family")
        assert status_of(read_response(client)[0]) == 200
        client.ask(f"{HOST}:{bed.origin.port}", "/other-family")
        assert status_of(read_response(client)[0]) == 421
    assert shown is not None
    assert shown["subjectAltName"] == (("DNS", "b.fam.test"),)


@pytest.mark.parametrize(
    ("line", "host", "status", "reason"),
    [
        ("GET /host HTTP/1.1", "other.test", 421, Reason.HOST_MISMATCH),
        ("GET http://other.test/absolute HTTP/1.1", HOST, 421, Reason.HOST_MISMATCH),
        ("GET https://other.test/absolute HTTP/1.1", HOST, 421, Reason.HOST_MISMATCH),
        ("CONNECT other.test:443 HTTP/1.1", "other.test:443", 400, Reason.NOT_A_PROXY_REQUEST),
        ("PRI * HTTP/2.0", HOST, 400, Reason.NOT_A_PROXY_REQUEST),
        ("\x00\x01 binary", HOST, 400, Reason.MALFORMED_REQUEST),
    ],
)
def test_what_is_not_for_the_tunnels_host_or_not_http_is_told_so_inside_tls(
    bed: Bed, line: str, host: str, status: int, reason: Reason
) -> None:
    requests = len(bed.origin.requests)
    place = host if ":" in host else f"{host}:{bed.origin.port}"
    with bed.client() as client:
        client.send(f"{line}\r\nHost: {place}\r\n\r\n".encode())
        head, _ = read_response(client)
    assert status_of(head) == status
    assert bed.gateway.wait_for_records(1, reason=reason, status=status)
    assert len(bed.origin.requests) == requests


def test_an_origins_absolute_form_is_taken_inside_tls(bed: Bed) -> None:
    """As every origin must (RFC 9112 section 3.2.2)."""
    place = f"{HOST}:{bed.origin.port}"
    with bed.client() as client:
        client.send(f"GET https://{place}/whole?x HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
        assert status_of(read_response(client)[0]) == 200
    assert bed.origin.requests[-1].line == "GET /whole?x HTTP/1.1"


def test_an_upgrade_to_h2c_is_not_passed_on(bed: Bed) -> None:
    with bed.client() as client:
        client.ask(
            f"{HOST}:{bed.origin.port}",
            "/h2c",
            "Connection: Upgrade, HTTP2-Settings",
            "Upgrade: h2c",
            "HTTP2-Settings: AA",
        )
        assert status_of(read_response(client)[0]) == 200
    got = bed.origin.requests[-1]
    assert (got.values("upgrade"), got.values("http2-settings")) == ([], [])


def test_alpn_is_mirrored_as_far_as_it_is_inspected(bed: Bed) -> None:
    for offer in (("h2", "http/1.1"), ("http/1.1",), ()):
        with bed.client(HOST, *offer) as client:
            client.ask(f"{HOST}:{bed.origin.port}", "/alpn")
            assert status_of(read_response(client)[0]) == 200
            assert client.tls.selected_alpn_protocol() is None  # the origin agrees to none
    [*_, record] = bed.gateway.wait_for_records(3, path="/alpn")
    assert record["status"] == 200


def test_a_client_that_offers_what_is_not_inspected_is_told_that_there_is_no_such_protocol(bed: Bed) -> None:
    received = len(bed.origin.origin.received)
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        bed.client(HOST, "h3")
    [record] = bed.gateway.wait_for_records(1, reason=Reason.ALPN_UNSUPPORTED)
    assert (record["inspected"], record["alpn"]) == (True, ["h3"])
    assert len(bed.origin.origin.received) == received


def test_connect_and_hello_may_come_in_one_segment(bed: Bed) -> None:
    authority = f"{HOST}:{bed.origin.port}"
    hello = HelloInMemory(client_context(bed.ca), HOST)
    with RawClient(bed.gateway.port) as client:
        assert status_of(client.connect(authority, early=hello.hello)) == 200
        hello.finish(client.socket)
        hello.send(client.socket, f"GET /one-segment HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
        assert hello.read_until(client.socket, b"hello\n").startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed_on_both_sides(bed: Bed, version: ssl.TLSVersion) -> None:
    context = client_context(bed.ca)
    context.minimum_version = context.maximum_version = version
    authority = f"{HOST}:{bed.origin.port}"
    session, resumed = None, []
    for _ in range(3):
        with TlsClient(bed.gateway.port, authority, context, session=session) as client:
            client.ask(authority, f"/resumed/{version.name}")
            assert status_of(read_response(client)[0]) == 200
            session = client.tls.session  # the newest: a resumed one brings another
            resumed.append(client.tls.session_reused)
    assert resumed == [False, True, True]
    [*_, record] = bed.gateway.wait_for_records(3, path=f"/resumed/{version.name}")
    [connection] = bed.gateway.wait_for_records(1, connection_id=record["connection_id"], requests=1, door="connect")
    assert (connection["tls_resumed"], connection["upstream_tls_resumed"]) == (True, True)
    assert bed.origin.resumed[-1]


def test_a_client_that_rejects_our_certificate_is_named_and_something_is_suggested(bed: Bed) -> None:
    received = len(bed.origin.origin.received)
    with pytest.raises(ssl.SSLCertVerificationError):
        TlsClient(bed.gateway.port, f"{HOST}:{bed.origin.port}", client_context(None))
    [record, *_] = bed.gateway.wait_for_records(1, reason=Reason.CLIENT_REJECTED_CERTIFICATE)
    assert (record["decision"], record["rule"], record["inspected"]) == ("allow", "policy.yaml#site", True)
    assert "alert unknown ca" in record["detail"]
    line = bed.gateway.wait_for_line("rejected our certificate")
    assert f"for {HOST}" in line
    assert "inspect: false" in line
    assert len(bed.origin.origin.received) == received


def test_a_client_that_leaves_at_the_sight_of_our_certificate_has_rejected_it(bed: Bed) -> None:
    seen = len(bed.gateway.quiet())
    hello = HelloInMemory(client_context(bed.ca), HOST)
    with RawClient(bed.gateway.port) as client:
        client.connect(f"{HOST}:{bed.origin.port}", early=hello.hello)
        assert client.read(100)
    [record] = bed.gateway.quiet()[seen:]
    assert (record["reason"], record["detail"]) == (
        Reason.CLIENT_REJECTED_CERTIFICATE,
        "closed right after our certificate",
    )
    bed.client().socket.close()
    record = bed.gateway.quiet()[-1]
    assert record["reason"] == Reason.CLIENT_REJECTED_CERTIFICATE
    assert record["detail"] == "closed right after the handshake, without a request"


@pytest.mark.parametrize(
    ("alert", "detail"),
    [((2, 49), "tlsv1 alert access denied"), ((1, 0), "closed right after our certificate")],  # RFC 8446 section 6
)
def test_a_client_that_does_so_in_words_has_rejected_it_as_well(bed: Bed, alert: tuple[int, int], detail: str) -> None:
    seen = len(bed.gateway.quiet())
    hello = HelloInMemory(client_context(bed.ca), HOST)
    with RawClient(bed.gateway.port) as client:
        client.connect(f"{HOST}:{bed.origin.port}", early=hello.hello)
        assert client.read(100)
        client.send(bytes((21, 3, 3, 0, 2, *alert)))
        [record] = bed.gateway.quiet()[seen:]
    assert (record["reason"], record["detail"]) == (Reason.CLIENT_REJECTED_CERTIFICATE, detail)


def test_a_client_that_ends_tls_for_another_fault_has_not_rejected_our_certificate(bed: Bed) -> None:
    seen = len(bed.gateway.quiet())
    hello = HelloInMemory(client_context(bed.ca), HOST)
    with RawClient(bed.gateway.port) as client:
        client.connect(f"{HOST}:{bed.origin.port}", early=hello.hello)
        hello.finish(client.socket)
        client.send(hello.alert_over(b"\x17\x03\x03\x00\x20" + bytes(32)))
        [record] = bed.gateway.quiet()[seen:]
    assert (record["reason"], record["ended"]) == (Reason.DOWNSTREAM_RESET, "reset")
    assert record["detail"] == "alert bad record mac after the handshake"


def test_a_destination_that_closes_between_requests_is_dialled_and_proved_again(bed: Bed) -> None:
    def closing(talk: Talk, got: Got) -> None:
        talk.reply(b"once\n", "200 OK", "Connection: close")
        talk.close()

    authority, connections = f"{HOST}:{bed.origin.port}", bed.origin.connections
    bed.origin.answers = {"/closing": closing}
    with bed.client() as client:
        for _ in range(3):
            client.ask(authority, "/closing")
            assert read_response(client)[1] == b"once\n"
    assert bed.origin.connections == connections + 3
    dialled = [record for record in bed.gateway.wait_for_records(3, path="/closing") if "dial_ms" in record]
    assert len(dialled) == 2  # the first dial is the connection's


def _until_the_end(says_goodbye: bool) -> Answer:
    def answer(talk: Talk, got: Got) -> None:
        talk.send(b"HTTP/1.1 200 OK\r\n\r\nall of it, or not")
        if says_goodbye:
            assert isinstance(talk.socket, ssl.SSLSocket)
            talk.socket.unwrap()
        talk.close()

    return answer


def test_an_answer_that_lasts_until_the_end_is_whole_only_where_tls_said_goodbye(bed: Bed) -> None:
    authority = f"{HOST}:{bed.origin.port}"
    bed.origin.answers = {"/whole": _until_the_end(says_goodbye=True), "/cut": _until_the_end(says_goodbye=False)}
    with bed.client() as client:
        client.ask(authority, "/whole")
        assert read_response(client)[1] == b"all of it, or not"
    with bed.client() as client:
        client.ask(authority, "/cut")
        with pytest.raises((ConnectionResetError, ssl.SSLError, ValueError)):
            read_response(client)
    [record] = bed.gateway.wait_for_records(1, path="/cut")
    assert record["reason"] == Reason.RESPONSE_INCOMPLETE


def test_a_web_socket_is_relayed_inside_tls(bed: Bed) -> None:
    def switching(talk: Talk, got: Got) -> None:
        talk.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst")
        while data := talk.read_some():
            talk.send(data.upper())

    bed.origin.answers = {"/socket": switching}
    fields = "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + "A" * 24
    with bed.client() as client:
        client.ask(f"{HOST}:{bed.origin.port}", "/socket", *fields)
        assert status_of(client.read_head()) == 101
        assert client.read(5) == b"first"
        client.send(b"frames" * 10_000)
        assert client.read(60_000) == b"FRAMES" * 10_000
    [record] = bed.gateway.wait_for_records(1, path="/socket")
    assert (record["status"], record["bytes_up"]) == (101, 60_000)


def test_clients_get_the_authority_from_the_admin_port(bed: Bed) -> None:
    status, body = bed.gateway.admin("/ca.pem")
    assert (status, body.strip()) == (200, bed.ca.read_text().strip())
    status, bundle = bed.gateway.admin("/ca-bundle.pem")
    assert status == 200
    assert bundle.endswith(body)
    assert bundle.count("BEGIN CERTIFICATE") > 10


def test_a_tunnel_ends_with_its_lifetime_though_its_client_goes_on(bed: Bed) -> None:
    with bed.client("brief.test") as client:
        client.ask(f"brief.test:{bed.origin.port}", "/brief")
        read_response(client)
        with suppress(ConnectionError):  # some versions of `ssl` tell a reset from an end, others do not
            assert client.socket.recv(1) == b""
    [record] = bed.gateway.wait_for_records(1, host="brief.test", reason="lifetime_reached")
    assert (record["requests"], record["ended"], record["ended_by"]) == (1, "timeout", "gateway")
