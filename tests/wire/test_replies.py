"""What the client is told, read with another HTTP implementation."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import h11
import pytest

from gateway.model.decision import Deny
from gateway.model.errors import DownstreamError, GatewayError, InternalError, Refused, UpstreamError
from gateway.model.reasons import Reason
from gateway.wire.head import RequestHead, parse_head
from gateway.wire.replies import established, proxy_status_error, reply, status_of

# RFC 9209 section 2.3.
PROXY_ERRORS = {
    "dns_timeout", "dns_error", "destination_not_found", "destination_unavailable", "destination_ip_prohibited",
    "destination_ip_unroutable", "connection_refused", "connection_terminated", "connection_timeout",
    "connection_read_timeout", "connection_write_timeout", "connection_limit_reached", "http_request_error",
    "http_request_denied", "proxy_internal_response", "proxy_internal_error", "proxy_configuration_error",
    "proxy_loop_detected", "http_protocol_error", "http_response_incomplete", "http_upgrade_failed",
    "http_response_header_section_size", "tls_protocol_error", "tls_certificate_error", "tls_alert_received",
}  # fmt: skip


@dataclass(frozen=True)
class Told:
    """A reply as a client sees it."""

    status: int
    phrase: str
    fields: Mapping[str, str]
    content: bytes
    keeps_open: bool


def read_reply(data: bytes, method: str = "CONNECT") -> Told:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="a.test:443", headers=[("Host", "a.test:443")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    response = client.next_event()
    assert isinstance(response, h11.Response)
    content = b""
    while not isinstance(event := client.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data)
        content += bytes(event.data)
    assert client.trailing_data == (b"", False)
    fields = {bytes(name).decode(): bytes(value).decode() for name, value in response.headers}
    assert len(fields) == len(list(response.headers)), "a header twice"
    keeps_open = client.their_state is h11.DONE
    return Told(response.status_code, bytes(response.reason).decode(), fields, content, keeps_open)


def request(*fields: str, method: str = "CONNECT") -> RequestHead:
    lines = [f"{method} a.test:443 HTTP/1.1", "Host: a.test:443", *fields, "", ""]
    head = parse_head("\r\n".join(lines).encode())
    assert head is not None
    return head


def tell(error: GatewayError, *fields: str, name: str = "gw-1") -> Told:
    return read_reply(reply(error, request(*fields), name, "01HXYZ"))


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_can_be_told(reason: Reason) -> None:
    told = tell(GatewayError(reason, "what the operator alone reads"))
    assert told.status == status_of(reason)
    assert told.status >= 400
    assert reason in told.content.decode()
    assert "alone reads" not in str(told)
    error = proxy_status_error(reason)
    assert error is None or error in PROXY_ERRORS
    assert told.fields["x-egress-request-id"] == "01HXYZ"
    assert told.fields["x-content-type-options"] == "nosniff"
    assert told.fields["cache-control"] == "no-store"
    assert told.keeps_open == (told.status == 407)
    assert ("proxy-authenticate" in told.fields) == (told.status == 407)
    assert ("retry-after" in told.fields) == (told.status == 503)


@pytest.mark.parametrize(
    ("error", "status", "phrase", "proxy_status"),
    [
        (
            Refused(Deny(Reason.NO_RULE, 1)),
            403,
            "Egress denied: no rule allows this host",
            "gw-1; error=http_request_denied",
        ),
        (
            Refused(Deny(Reason.ADDRESS_REFUSED, 1)),
            403,
            "Egress denied: the host's addresses are not allowed",
            "gw-1; error=destination_ip_prohibited",
        ),
        (
            DownstreamError(Reason.CREDENTIALS_MISSING),
            407,
            "Proxy credentials required",
            "gw-1; error=http_request_denied",
        ),
        (
            DownstreamError(Reason.HEAD_TOO_LARGE),
            431,
            "Request head too large",
            "gw-1; error=http_request_error; status-code=431",
        ),
        (
            UpstreamError(Reason.DNS_NAME_NOT_FOUND, "", "NXDOMAIN"),
            502,
            "Host name does not exist",
            'gw-1; error=dns_error; rcode="NXDOMAIN"',
        ),
        (UpstreamError(Reason.DNS_TIMEOUT), 504, "Host name not resolved in time", "gw-1; error=dns_timeout"),
        (
            UpstreamError(Reason.CONNECTION_REFUSED),
            502,
            "Destination refused the connection",
            "gw-1; error=connection_refused",
        ),
        (UpstreamError(Reason.PROXY_LOOP), 502, "Destination is this gateway", "gw-1; error=proxy_loop_detected"),
        (InternalError(Reason.DRAINING), 503, "Gateway is shutting down", "gw-1; error=proxy_internal_response"),
        (InternalError(Reason.INTERNAL_ERROR), 500, "Gateway error", "gw-1; error=proxy_internal_error"),
    ],
)
def test_status_phrase_and_proxy_status(error: GatewayError, status: int, phrase: str, proxy_status: str) -> None:
    told = tell(error)
    assert (told.status, told.phrase, told.fields["proxy-status"]) == (status, phrase, proxy_status)


def test_a_denial_says_nothing_of_the_policy() -> None:
    told = tell(Refused(Deny(Reason.DENIED_BY_RULE, 7, also=("policy.yaml#secret",), detail="policy.yaml#secret")))
    assert "policy" not in str(told)


@pytest.mark.parametrize("accept", ["", "application/json"])
def test_each_answer_bears_its_own_requests_id(accept: str) -> None:
    head = parse_head(f"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\nAccept: {accept}\r\n\r\n".encode())
    error = Refused(Deny(Reason.NO_RULE, 1))
    for request_id in ("0123456789abcdef", "fedcba9876543210", "0123456789abcdef-12"):
        told = read_reply(reply(error, head, "egress-gateway", request_id))
        assert told.fields["x-egress-request-id"] == request_id
        assert told.content.count(request_id.encode()) == 1


def test_text_is_one_line() -> None:
    told = tell(Refused(Deny(Reason.NO_RULE, 1)), "Accept: */*")
    assert told.fields["content-type"] == "text/plain; charset=utf-8"
    assert told.content == b"Egress denied: no rule allows this host (no_rule, request 01HXYZ)\n"


@pytest.mark.parametrize(
    ("accept", "as_json"),
    [
        ("application/json", True),
        ("application/problem+json", True),
        ("text/html, Application/JSON;q=0.5", True),
        ("text/html, application/json; q=0", False),
        ("application/json;q=0.000", False),
        ("application/*", False),
        ("*/*", False),
        ("text/html", False),
        (",;,", False),
    ],
)
def test_json_is_for_those_who_ask_for_it(accept: str, as_json: bool) -> None:
    told = tell(Refused(Deny(Reason.NO_RULE, 1)), f"Accept: {accept}")
    assert (told.fields["content-type"] == "application/problem+json") is as_json


def test_a_problem_is_a_problem_of_rfc_9457() -> None:
    told = tell(Refused(Deny(Reason.NO_RULE, 1)), "Accept: text/html", "Accept: application/json")
    assert json.loads(told.content) == {
        "title": "Forbidden",
        "status": 403,
        "detail": "Egress denied: no rule allows this host",
        "reason": "no_rule",
        "request_id": "01HXYZ",
    }


def test_an_answer_to_head_has_no_content() -> None:
    data = reply(DownstreamError(Reason.HTTPS_WITHOUT_CONNECT), request(method="HEAD"), "gw", "01")
    told = read_reply(data, method="HEAD")
    assert told.status == 400
    assert told.content == b""
    assert int(told.fields["content-length"]) > 0


def test_a_head_that_could_not_be_read_is_answered_in_text() -> None:
    told = read_reply(reply(DownstreamError(Reason.MALFORMED_REQUEST), None, "gw", "01"))
    assert (told.status, told.fields["content-type"]) == (400, "text/plain; charset=utf-8")


def test_credentials_are_asked_for_in_utf8() -> None:
    told = tell(DownstreamError(Reason.CREDENTIALS_INVALID))
    assert told.fields["proxy-authenticate"] == 'Basic realm="egress gateway", charset="UTF-8"'


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("gw.example.com", "gw.example.com"),
        ("*gw", "*gw"),
        ("10.0.0.1", '"10.0.0.1"'),
        ("egress gateway", '"egress gateway"'),
        ('a"b\\c', '"a\\"b\\\\c"'),
        ("a\r\nX: b", '"a??X: b"'),
        ("gué", '"gu?"'),
        ("", '""'),
    ],
)
def test_our_name_is_a_token_or_a_quoted_string(name: str, member: str) -> None:
    told = tell(InternalError(Reason.DRAINING), name=name)
    assert told.fields["proxy-status"] == f"{member}; error=proxy_internal_response"


@pytest.mark.parametrize("minor", [0, 1])
def test_success_answers_in_the_clients_version_and_without_framing(minor: int) -> None:
    assert established(minor) == b"HTTP/1.%d 200 Connection established\r\n\r\n" % minor
