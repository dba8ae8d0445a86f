"""Responses of the gateway's own; the only place that knows status codes.

The phrase of the status line states the reason, because many clients print nothing else. It discloses no more than
which kind of rule refused: the rest is for the operator, who finds the record by `X-Egress-Request-Id`.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Final, NamedTuple

from gateway.model.errors import GatewayError, Refused, RefusedUnasked, UpstreamError
from gateway.model.reasons import Reason
from gateway.wire.head import RequestHead
from gateway.wire.http.retry import retry_fields

RETRY_AFTER: Final = 5
"""Seconds after which a draining gateway is replaced, or a full one has room again."""

_STAND_IN: Final = "~"  # repeated to an id's length, it stands for the id in a remembered answer
_CREDENTIALS_REQUIRED: Final = int(HTTPStatus.PROXY_AUTHENTICATION_REQUIRED)
_CHALLENGE: Final = 'Basic realm="egress gateway", charset="UTF-8"'
_JSON_TYPES: Final = frozenset({"application/json", "application/problem+json"})
_SF_TOKEN = re.compile(r"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*")
_UNPRINTABLE = re.compile(r"[^ -~]")
_ZERO_QUALITY = re.compile(r"q=0(?:\.0{0,3})?")

_INTERNAL: Final = 13
_GRPC: Final = {
    403: 7,  # PERMISSION_DENIED
    407: 16,  # UNAUTHENTICATED
    408: 4,  # DEADLINE_EXCEEDED
    413: 8,  # RESOURCE_EXHAUSTED
    415: 7,
    421: 7,
    429: 8,
    431: 8,
    501: 12,  # UNIMPLEMENTED
    502: 14,  # UNAVAILABLE
    503: 14,
    504: 14,
}

_ESTABLISHED: Final = (
    b"HTTP/1.0 200 Connection established\r\n\r\n",
    b"HTTP/1.1 200 Connection established\r\n\r\n",
)


@dataclass(frozen=True, slots=True)
class _Answer:
    """`error` is the token of RFC 9209 section 2.3, None where none fits."""

    status: int
    phrase: str
    error: str | None = None


_BAD_REQUEST = "http_request_error"
_DENIED = "http_request_denied"
_BAD_CERTIFICATE = "tls_certificate_error"

_ANSWERS: Final[dict[Reason, _Answer]] = {
    Reason.MALFORMED_REQUEST: _Answer(400, "Malformed request", _BAD_REQUEST),
    Reason.MALFORMED_AUTHORITY: _Answer(400, "Malformed host or port", _BAD_REQUEST),
    Reason.NOT_A_PROXY_REQUEST: _Answer(400, "Not a proxy request: use CONNECT host:port", _BAD_REQUEST),
    Reason.TLS_ON_PLAIN_PORT: _Answer(400, "TLS on a plain port: use http:// for the proxy", _BAD_REQUEST),
    Reason.HEAD_TOO_LARGE: _Answer(431, "Request head too large", _BAD_REQUEST),
    Reason.UNSUPPORTED_TRANSFER_CODING: _Answer(501, "Transfer coding not supported", _BAD_REQUEST),
    Reason.HEAD_TIMEOUT: _Answer(408, "Request head not complete in time", _BAD_REQUEST),
    Reason.HTTPS_WITHOUT_CONNECT: _Answer(400, "https:// without CONNECT: use CONNECT host:port", _BAD_REQUEST),
    Reason.BODY_TIMEOUT: _Answer(408, "Request body not complete in time", _BAD_REQUEST),
    Reason.CLIENT_CLOSED: _Answer(400, "Connection closed by the client", _BAD_REQUEST),
    Reason.CLIENT_SILENT: _Answer(408, "Nothing sent through the tunnel in time", _BAD_REQUEST),
    Reason.CLIENT_HELLO_TIMEOUT: _Answer(408, "TLS ClientHello not complete in time", _BAD_REQUEST),
    Reason.MALFORMED_CLIENT_HELLO: _Answer(400, "Malformed TLS ClientHello", _BAD_REQUEST),
    Reason.CLIENT_HELLO_TOO_LARGE: _Answer(400, "TLS ClientHello too large", _BAD_REQUEST),
    Reason.PLAIN_ON_TLS_PORT: _Answer(400, "Plain HTTP on a TLS port: use https:// for the proxy", _BAD_REQUEST),
    Reason.TLS_HANDSHAKE_FAILED: _Answer(400, "TLS handshake failed", _BAD_REQUEST),
    Reason.TLS_HANDSHAKE_TIMEOUT: _Answer(408, "TLS handshake not complete in time", _BAD_REQUEST),
    Reason.ALPN_UNSUPPORTED: _Answer(
        400, "No protocol offered that can be inspected: HTTP/2 and HTTP/1.1 can", _BAD_REQUEST
    ),
    Reason.HTTP2_FLOOD: _Answer(400, "Too many useless frames on one HTTP/2 connection", _BAD_REQUEST),
    Reason.CLIENT_REJECTED_CERTIFICATE: _Answer(400, "Certificate of the gateway rejected", _BAD_REQUEST),
    Reason.PROXY_HEADER_MISSING: _Answer(400, "PROXY protocol header missing", _BAD_REQUEST),
    Reason.PROXY_HEADER_MALFORMED: _Answer(400, "Malformed PROXY protocol header", _BAD_REQUEST),
    Reason.NO_RULE: _Answer(403, "Egress denied: no rule allows this host", _DENIED),
    Reason.DENIED_BY_RULE: _Answer(403, "Egress denied: a rule denies this host", _DENIED),
    Reason.PROTOCOL_MISMATCH: _Answer(403, "Egress denied: another protocol than the rule allows", _DENIED),
    Reason.IN_CLUSTER_NAME: _Answer(403, "Egress denied: in-cluster name, add it to NO_PROXY", _DENIED),
    Reason.ADDRESS_REFUSED: _Answer(
        403, "Egress denied: the host's addresses are not allowed", "destination_ip_prohibited"
    ),
    Reason.SNI_MISSING: _Answer(403, "Egress denied: TLS without a server name", _DENIED),
    Reason.SNI_MISMATCH: _Answer(403, "Egress denied: TLS server name differs from the requested host", _DENIED),
    Reason.SNI_DENIED: _Answer(403, "Egress denied: a rule denies the TLS server name", _DENIED),
    Reason.ECH_DENIED: _Answer(403, "Egress denied: encrypted ClientHello", _DENIED),
    Reason.HOST_MISMATCH: _Answer(421, "Host differs from the host of the tunnel", _BAD_REQUEST),
    Reason.HOST_DENIED: _Answer(421, "A rule denies the host named in the tunnel", _BAD_REQUEST),
    Reason.LIMIT_EXCEEDED: _Answer(429, "Over a limit: come again later", _BAD_REQUEST),
    Reason.DESTINATION_ASKED_TO_WAIT: _Answer(429, "The destination asked to wait", _BAD_REQUEST),
    Reason.LIMIT_WAIT_EXCEEDED: _Answer(429, "Over a limit: waited too long for a turn", _BAD_REQUEST),
    Reason.LIMIT_STORE_UNAVAILABLE: _Answer(503, "Limits cannot be checked", "proxy_internal_response"),
    Reason.BUDGET_SPENT: _Answer(429, "Over a limit: no bytes are left for now", _BAD_REQUEST),
    Reason.REQUEST_DENIED: _Answer(403, "Egress denied: no rule allows this request", _DENIED),
    Reason.INSPECTOR_DENIED: _Answer(403, "Egress denied: content not allowed", _DENIED),
    Reason.INSPECTOR_FAILED: _Answer(403, "Egress denied: content could not be inspected", _DENIED),
    Reason.CONTENT_UNREADABLE: _Answer(403, "Egress denied: content could not be decoded", _DENIED),
    Reason.MEDIA_TYPE_DENIED: _Answer(415, "Content type of the request not allowed", _BAD_REQUEST),
    Reason.BODY_TOO_LARGE: _Answer(413, "Content of the request too large", _BAD_REQUEST),
    Reason.SECRET_NEEDS_TLS: _Answer(403, "Egress denied: this request is for https:// only", _DENIED),
    Reason.CREDENTIALS_MISSING: _Answer(407, "Proxy credentials required", _DENIED),
    Reason.CREDENTIALS_INVALID: _Answer(407, "Proxy credentials not accepted", _DENIED),
    Reason.TOKEN_INVALID: _Answer(407, "Proxy token not accepted", _DENIED),
    Reason.TOKEN_EXPIRED: _Answer(407, "Proxy token has expired", _DENIED),
    Reason.CLIENT_CERTIFICATE_MISSING: _Answer(403, "Client certificate required", _DENIED),
    Reason.CLIENT_CERTIFICATE_INVALID: _Answer(403, "Client certificate not accepted", _DENIED),
    Reason.PROXY_HEADER_REFUSED: _Answer(403, "PROXY protocol header not accepted from this address", _DENIED),
    Reason.DNS_NAME_NOT_FOUND: _Answer(502, "Host name does not exist", "dns_error"),
    Reason.DNS_NO_ADDRESS: _Answer(502, "Host name has no address", "dns_error"),
    Reason.DNS_FAILURE: _Answer(502, "Host name could not be resolved", "dns_error"),
    Reason.DNS_TIMEOUT: _Answer(504, "Host name not resolved in time", "dns_timeout"),
    Reason.PROXY_LOOP: _Answer(502, "Destination is this gateway", "proxy_loop_detected"),
    Reason.CONNECTION_REFUSED: _Answer(502, "Destination refused the connection", "connection_refused"),
    Reason.CONNECTION_UNROUTABLE: _Answer(502, "No route to the destination", "destination_ip_unroutable"),
    Reason.CONNECTION_TIMEOUT: _Answer(504, "Destination not reached in time", "connection_timeout"),
    Reason.DESTINATION_UNAVAILABLE: _Answer(503, "Destination fails too often for now", "destination_unavailable"),
    Reason.LOCAL_PORTS_EXHAUSTED: _Answer(502, "Gateway is out of local ports", "proxy_internal_error"),
    Reason.CONNECTION_TERMINATED: _Answer(502, "Destination closed the connection", "connection_terminated"),
    Reason.UPSTREAM_CERTIFICATE_EXPIRED: _Answer(502, "Destination's certificate has expired", _BAD_CERTIFICATE),
    Reason.UPSTREAM_CERTIFICATE_NOT_YET_VALID: _Answer(
        502, "Destination's certificate is not valid yet", _BAD_CERTIFICATE
    ),
    Reason.UPSTREAM_CERTIFICATE_NAME_MISMATCH: _Answer(
        502, "Destination's certificate is for another name", _BAD_CERTIFICATE
    ),
    Reason.UPSTREAM_CERTIFICATE_SELF_SIGNED: _Answer(502, "Destination's certificate is self-signed", _BAD_CERTIFICATE),
    Reason.UPSTREAM_CERTIFICATE_UNTRUSTED: _Answer(
        502, "Destination's certificate is of an unknown authority", _BAD_CERTIFICATE
    ),
    Reason.UPSTREAM_CERTIFICATE_WEAK: _Answer(502, "Destination's certificate is too weak", _BAD_CERTIFICATE),
    Reason.UPSTREAM_CERTIFICATE_INVALID: _Answer(502, "Destination's certificate is not valid", _BAD_CERTIFICATE),
    Reason.UPSTREAM_WANTS_CERTIFICATE: _Answer(502, "Destination demands a client certificate", "tls_alert_received"),
    Reason.UPSTREAM_TLS_ALERT: _Answer(502, "Destination refused the TLS handshake", "tls_alert_received"),
    Reason.UPSTREAM_TLS_FAILED: _Answer(502, "No secure TLS with the destination", "tls_protocol_error"),
    Reason.UPSTREAM_TLS_TIMEOUT: _Answer(504, "TLS with the destination not set up in time", "connection_timeout"),
    Reason.RESPONSE_TIMEOUT: _Answer(504, "Destination did not answer in time", "connection_read_timeout"),
    Reason.UPGRADE_FAILED: _Answer(502, "Destination changed the protocol unasked", "http_upgrade_failed"),
    Reason.MALFORMED_RESPONSE: _Answer(502, "Malformed response from the destination", "http_protocol_error"),
    Reason.RESPONSE_HEAD_TOO_LARGE: _Answer(
        502, "Response head from the destination too large", "http_response_header_section_size"
    ),
    Reason.RESPONSE_INCOMPLETE: _Answer(502, "Incomplete response from the destination", "http_response_incomplete"),
    Reason.RESPONSE_ENCODED: _Answer(502, "Response from the destination is compressed", "http_protocol_error"),
    Reason.DOWNSTREAM_RESET: _Answer(400, "Connection reset by the client", _BAD_REQUEST),
    Reason.UPSTREAM_RESET: _Answer(502, "Connection reset by the destination", "connection_terminated"),
    Reason.IDLE_TIMEOUT: _Answer(504, "Tunnel idle for too long"),
    Reason.LIFETIME_REACHED: _Answer(504, "Tunnel open for too long"),
    Reason.POLICY_CHANGED: _Answer(403, "Egress denied: the policy changed", _DENIED),
    Reason.CLOSED_BY_OPERATOR: _Answer(503, "Tunnel closed by an operator", "proxy_internal_response"),
    Reason.TOO_MANY_TUNNELS: _Answer(503, "Gateway is full", "proxy_internal_response"),
    Reason.TOO_MANY_TUNNELS_OF_CLIENT: _Answer(503, "Client has too many open connections", "proxy_internal_response"),
    Reason.MEMORY_EXHAUSTED: _Answer(503, "Gateway is full", "proxy_internal_response"),
    Reason.DESCRIPTORS_EXHAUSTED: _Answer(503, "Gateway is full", "proxy_internal_response"),
    Reason.SOURCE_UNAVAILABLE: _Answer(502, "Gateway cannot use the rule's source address", "proxy_internal_error"),
    Reason.TOKEN_UNVERIFIABLE: _Answer(503, "Proxy token cannot be checked", "proxy_internal_response"),
    Reason.SECRET_UNAVAILABLE: _Answer(503, "Gateway lacks a credential for this", "proxy_configuration_error"),
    Reason.DRAINING: _Answer(503, "Gateway is shutting down", "proxy_internal_response"),
    Reason.INTERNAL_ERROR: _Answer(500, "Gateway error", "proxy_internal_error"),
}
"""For every reason. Some end an open tunnel, where no HTTP is spoken; theirs is the answer while none is open."""
_UNKNOWN_CLIENT: Final = _Answer(403, "Egress denied: it is not known who the client is", _DENIED)


def established(minor: int) -> bytes:
    """The success of a CONNECT in the client's own HTTP/1.x, without framing headers (RFC 9110 section 9.3.6)."""
    return _ESTABLISHED[minor]


def status_of(reason: Reason) -> int:
    """The status code that a reason usually has."""
    return _ANSWERS[reason].status


def status_for(error: GatewayError) -> int:
    """The status code of the response to this error."""
    return _answer_for(error).status


def _answer_for(error: GatewayError) -> _Answer:
    if isinstance(error, RefusedUnasked) and error.reason is Reason.CREDENTIALS_MISSING:
        return _UNKNOWN_CLIENT
    return _ANSWERS[error.reason]


def grpc_status(status: int) -> int:
    """The gRPC status that corresponds to one of ours."""
    return _GRPC.get(status, _INTERNAL)


def asks_to_wait(status: int) -> bool:
    """Whether a destination that answers this may say when to try again (RFC 9110 section 10.2.3)."""
    return status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


def is_out_of_order(status: int) -> bool:
    """Whether this status means that the server, or one behind it, fails (RFC 9110 section 15.6). A 500 concerns one
    request."""
    return status in (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)


def may_follow(reason: Reason, head: RequestHead | None) -> bool:
    """Whether another request may follow on the connection: after a 407, without which many clients send no
    credentials. Not where content follows the head: it was not read, and must not be taken for the next request."""
    asks = _ANSWERS[reason].status == _CREDENTIALS_REQUIRED
    return asks and head is not None and head.is_persistent and not head.has_content


def reply(error: GatewayError, head: RequestHead | None, name: str, request_id: str, is_last: bool = False) -> bytes:
    """A whole response. `head` is the request's, None where none could be read; `name` is ours in Proxy-Status. It
    announces the end of the connection if it `is_last`, and unless another request `may_follow`."""
    accept = head.values("accept") if head is not None else ()
    is_head = head is not None and head.method == "HEAD"
    keeps_open = not is_last and may_follow(error.reason, head)
    return answer_with(error, name, request_id, keeps_open, accept, without_content=is_head)


def answer_with(
    error: GatewayError,
    name: str,
    request_id: str,
    keeps_open: bool,
    accept: Iterable[str] = (),
    without_content: bool = False,
) -> bytes:
    """A whole response of HTTP/1.1. `accept` are the values of the request's header of that name; `without_content`
    where it asked by HEAD."""
    as_json = _admits_json(accept)
    varies = isinstance(error, UpstreamError | RefusedUnasked)
    if varies or (isinstance(error, Refused) and error.retry is not None):
        return _write(_values(error, name, request_id, as_json), keeps_open, without_content)
    form = _form(error.reason, name, len(request_id), as_json, keeps_open, without_content)
    return form.replace(_STAND_IN * len(request_id), request_id).encode("ascii")


class AnswerValues(NamedTuple):
    """A response before any version of HTTP writes it. `fields` begin with the content's type and length."""

    status: int
    phrase: str
    fields: list[tuple[str, str]]
    content: bytes


@lru_cache(maxsize=256)
def _form(reason: Reason, name: str, id_length: int, as_json: bool, keeps_open: bool, without_content: bool) -> str:
    """All of an answer but its request's id: a client that is refused tends to be refused again and again."""
    answer = _values(GatewayError(reason), name, _STAND_IN * id_length, as_json)
    return _write(answer, keeps_open, without_content).decode("ascii")


def _write(answer: AnswerValues, keeps_open: bool, without_content: bool) -> bytes:
    content_type, length, *others = answer.fields
    fields = [content_type, length, ("Connection", "keep-alive" if keeps_open else "close"), *others]
    lines = [f"HTTP/1.1 {answer.status} {answer.phrase}", *[f"{field}: {value}" for field, value in fields]]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + (b"" if without_content else answer.content)


def answer_to(error: GatewayError, name: str, request_id: str, accept: Iterable[str] = ()) -> AnswerValues:
    """The response for a reason. `accept` as in `answer_with`."""
    return _values(error, name, request_id, _admits_json(accept))


def _values(error: GatewayError, name: str, request_id: str, as_json: bool) -> AnswerValues:
    answer = _answer_for(error)
    content_type, content = _content(answer, error.reason, request_id, as_json)
    fields = [
        ("Content-Type", content_type),
        ("Content-Length", str(len(content))),
        ("Proxy-Status", _proxy_status(answer, error, name)),
        ("X-Egress-Request-Id", request_id),
        ("X-Content-Type-Options", "nosniff"),
        ("Cache-Control", "no-store"),
    ]
    if answer.status == _CREDENTIALS_REQUIRED:
        fields.append(("Proxy-Authenticate", _CHALLENGE))
    retry = error.retry if isinstance(error, Refused | UpstreamError) else None
    if retry is not None:
        fields += retry_fields(retry)
    elif answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
        fields.append(("Retry-After", str(RETRY_AFTER)))
    return AnswerValues(answer.status, answer.phrase, fields, content)


def _content(answer: _Answer, reason: Reason, request_id: str, as_json: bool) -> tuple[str, bytes]:
    """RFC 9457 without `type`: the title is the status's own, the reason and the request are members of ours."""
    if not as_json:
        text = f"{answer.phrase} ({reason}, request {request_id})\n"
        return "text/plain; charset=utf-8", text.encode("utf-8")
    problem = {
        "title": HTTPStatus(answer.status).phrase,
        "status": answer.status,
        "detail": answer.phrase,
        "reason": reason.value,
        "request_id": request_id,
    }
    return "application/problem+json", json.dumps(problem).encode("utf-8")


def _admits_json(accept: Iterable[str]) -> bool:
    """Whether JSON is asked for by name; `*/*` has no preference (RFC 9110 section 12.5.1)."""
    for item in ",".join(accept).lower().split(","):
        media_type, *parameters = [part.strip() for part in item.split(";")]
        if media_type in _JSON_TYPES and not any(_ZERO_QUALITY.fullmatch(each) for each in parameters):
            return True
    return False


def _proxy_status(answer: _Answer, error: GatewayError, name: str) -> str:
    """One member of RFC 9209 section 2: who answers, and why."""
    member = name if _SF_TOKEN.fullmatch(name) else _sf_string(name)
    if answer.error is None:
        return member
    member = f"{member}; error={answer.error}"
    if answer.error == _BAD_REQUEST:
        return f"{member}; status-code={answer.status}"
    if isinstance(error, UpstreamError) and error.rcode is not None:
        return f"{member}; rcode={_sf_string(error.rcode)}"
    return member


def _sf_string(text: str) -> str:
    """RFC 8941 section 3.3.3. What it cannot hold becomes a question mark, so that no reply ever fails over a name."""
    return '"' + _UNPRINTABLE.sub("?", text).replace("\\", "\\\\").replace('"', '\\"') + '"'
