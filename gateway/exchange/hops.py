"""Max-Forwards: how many proxies a TRACE or OPTIONS may still pass (RFC 9110 section 7.6.2), and the answer of the
proxy at which the count ends."""

import re

from gateway.model.errors import DownstreamError
from gateway.model.reasons import Reason
from gateway.wire.http.messages import Request
from gateway.wire.http.writing import request_head, response_head

_COUNTED = frozenset(("TRACE", "OPTIONS"))
_DIGITS = re.compile(r"[0-9]{1,9}")
_NOT_REFLECTED = frozenset(("authorization", "cookie"))


def hops_left(request: Request, passing: list[tuple[str, str]]) -> int | None:
    """The count of Max-Forwards; None where it does not apply. Raises `DownstreamError` for a malformed one, and for a
    TRACE with content, which no client sends (RFC 9110 section 9.3.8)."""
    if request.method not in _COUNTED:
        return None
    if request.method == "TRACE" and not request.framing.is_empty:
        raise DownstreamError(Reason.MALFORMED_REQUEST, "a TRACE with content")
    counts = [value for name, value in passing if name.lower() == "max-forwards"]
    if not counts:
        return None
    if len(counts) > 1 or not _DIGITS.fullmatch(counts[0]):
        raise DownstreamError(Reason.MALFORMED_REQUEST, "Max-Forwards that is no number")
    return int(counts[0])


def with_hops(passing: list[tuple[str, str]], left: int) -> list[tuple[str, str]]:
    """The fields, with `left` for the count."""
    return [(name, str(left) if name.lower() == "max-forwards" else value) for name, value in passing]


def answer_fields(request: Request, passing: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], bytes]:
    """The fields, but for the length, and the content of our response to a request that may go no further: a TRACE gets
    back what it sent, without credentials."""
    if request.method != "TRACE":
        return [("Allow", "CONNECT, GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS, TRACE")], b""
    reflected = [field for field in passing if field[0].lower() not in _NOT_REFLECTED]
    content = request_head(request.method, request.target.partition("?")[0], reflected)
    return [("Content-Type", "message/http")], content


def answer_here(request: Request, passing: list[tuple[str, str]], keeps: bool) -> bytes:
    """The same as bytes of HTTP/1.1."""
    fields, content = answer_fields(request, passing)
    fields += [("Content-Length", str(len(content))), ("Connection", "keep-alive" if keeps else "close")]
    return response_head(200, "OK", fields) + content
