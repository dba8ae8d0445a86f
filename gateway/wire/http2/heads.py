"""Heads and trailers of HTTP/2 (RFC 9113 sections 8.2 and 8.3), read into the values that HTTP/1 has, and written.

What RFC 9113 calls malformed is refused here, before it could become a line of HTTP/1: names and values that no line
may hold, pseudo-header fields that are missing, doubled, misplaced or unknown, connection-specific fields, a Host that
differs from `:authority`. A WebSocket over extended CONNECT (RFC 8441) reads as the GET with `Upgrade` that it would be
in HTTP/1, so that one rule judges both.
"""

import re
from collections.abc import Iterable, Sequence

from gateway.model.reasons import Reason
from gateway.wire.grammar import MAX_FIELD_LINES
from gateway.wire.http.framing import AUTHORITY_FORM, LENGTH, METHODS, check_trailers
from gateway.wire.http.messages import (
    CHUNKED,
    NO_CONTENT,
    Delimiter,
    Fields,
    Framing,
    MalformedMessage,
    Request,
    Response,
)
from gateway.wire.http2.settings import HEADER_LIST

WEBSOCKET = "websocket"
UPGRADED = (("connection", "upgrade"), ("upgrade", WEBSOCKET))

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
_VALUE = re.compile(r"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")
_STATUS = re.compile(r"[1-5][0-9]{2}")
_PATH = re.compile(r"/[!\"$-~]*|\*")
_OF_ONE_CONNECTION = frozenset({"connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"})
_OF_REQUESTS = frozenset({":method", ":scheme", ":authority", ":path", ":protocol"})
_OF_RESPONSES = frozenset({":status"})
_NEVER_SENT = _OF_ONE_CONNECTION | {"host", "te", "content-length", "http2-settings"}
_OF_HANDSHAKES = frozenset({"sec-websocket-key", "sec-websocket-accept"})
_FIELD_OVERHEAD = 32  # RFC 9113 section 6.5.2


class Unindexed(str):
    """A value that its sender wants in no table, on this connection or the next (RFC 7541 section 7.1.3)."""

    __slots__ = ()


def read_request(fields: Fields, ended: bool, bound: int = HEADER_LIST) -> Request:
    """`ended`: no content follows; `bound` as `HEADER_LIST`. Raises `MalformedMessage`."""
    bad = Reason.MALFORMED_REQUEST
    pseudo, regular = _sorted(fields, _OF_REQUESTS, bad, Reason.HEAD_TOO_LARGE, bound)
    method = pseudo.get(":method", "")
    if method not in METHODS:
        raise MalformedMessage(bad, "a method that is missing or not registered")
    regular = _with_host(_with_one_cookie(regular), pseudo.get(":authority"))
    if any(name == "te" and value.lower() != "trailers" for name, value in regular):
        raise MalformedMessage(bad, "TE other than trailers")
    if method == "CONNECT":
        return _read_connect(pseudo, regular, ended)
    if ":protocol" in pseudo or pseudo.get(":scheme") != "https":
        raise MalformedMessage(bad, "a scheme or protocol that does not go with the method")
    path = pseudo.get(":path", "")
    if not _PATH.fullmatch(path) or (path == "*" and method != "OPTIONS"):
        raise MalformedMessage(bad, "a path in no form that goes with the method")
    return Request(method, path, 1, regular, _framing(regular, ended, bad) or (NO_CONTENT if ended else CHUNKED), True)


def _read_connect(pseudo: dict[str, str], regular: Fields, ended: bool) -> Request:
    bad = Reason.MALFORMED_REQUEST
    if any(name == "content-length" for name, _ in regular):
        raise MalformedMessage(bad, "a CONNECT with a length")
    protocol = pseudo.get(":protocol")
    if protocol is None:
        if ":scheme" in pseudo or ":path" in pseudo or ":authority" not in pseudo:
            raise MalformedMessage(bad, "a CONNECT that names more or less than an authority")
        return Request("CONNECT", pseudo[":authority"], 1, regular, NO_CONTENT, True)
    path = pseudo.get(":path", "")
    if protocol != WEBSOCKET or pseudo.get(":scheme") != "https" or path[:1] != "/" or not _PATH.fullmatch(path):
        raise MalformedMessage(bad, "an extended CONNECT that is no WebSocket")
    if ended:
        raise MalformedMessage(bad, "a WebSocket that ends with its head")
    return Request("GET", path, 1, (*regular, *UPGRADED), NO_CONTENT, True)


def read_response(fields: Fields, ended: bool, method: str, bound: int = HEADER_LIST) -> Response:
    """The answer to a request with this method; `ended` and `bound` as in `read_request`. Raises `MalformedMessage`."""
    bad = Reason.MALFORMED_RESPONSE
    pseudo, regular = _sorted(fields, _OF_RESPONSES, bad, Reason.RESPONSE_HEAD_TOO_LARGE, bound)
    code = pseudo.get(":status", "")
    if not _STATUS.fullmatch(code) or code == "101":
        raise MalformedMessage(bad, "a status that is missing or not one of HTTP/2")
    status = int(code)
    if status < 200:  # RFC 9110 section 15.2
        if ended:
            raise MalformedMessage(bad, "a stream that ends with an interim response")
        return Response(status, "", 1, regular, NO_CONTENT, True)
    if method == "HEAD" or status in (204, 304):
        _framing(regular, False, bad)  # only checked: the client is told the length of content that does not follow
        return Response(status, "", 1, regular, NO_CONTENT, True)
    return Response(status, "", 1, regular, _framing(regular, ended, bad) or CHUNKED, True)


def read_trailers(fields: Fields, bad: Reason) -> Fields:
    """Raises `MalformedMessage`."""
    too_large = Reason.HEAD_TOO_LARGE if bad is Reason.MALFORMED_REQUEST else Reason.RESPONSE_HEAD_TOO_LARGE
    _, regular = _sorted(fields, frozenset(), bad, too_large)
    check_trailers(regular, bad)
    return regular


def _sorted(
    fields: Fields, known: frozenset[str], bad: Reason, too_large: Reason, bound: int = HEADER_LIST
) -> tuple[dict[str, str], Fields]:
    """Pseudo-header fields, which come first, and the others."""
    size = sum([len(name) + len(value) for name, value in fields]) + _FIELD_OVERHEAD * len(fields)
    if size > bound or len(fields) > MAX_FIELD_LINES:
        raise MalformedMessage(too_large, f"more than {bound} bytes or {MAX_FIELD_LINES} lines of fields")
    pseudo: dict[str, str] = {}
    for count, (name, value) in enumerate(fields):
        if not _VALUE.fullmatch(value):
            raise MalformedMessage(bad, "a value with an invalid character")
        if name[:1] != ":":
            regular = fields[count:]
            break
        if name not in known or name in pseudo:
            raise MalformedMessage(bad, "a pseudo-header field that is unknown or repeated")
        pseudo[name] = value
    else:
        return pseudo, ()
    for name, value in regular:
        if not _NAME.fullmatch(name):
            raise MalformedMessage(bad, "an invalid name, one with capitals, or a pseudo-header field out of place")
        if not _VALUE.fullmatch(value):
            raise MalformedMessage(bad, "a value with an invalid character")
        if name in _OF_ONE_CONNECTION:
            raise MalformedMessage(bad, "a field of one connection of HTTP/1")
    return pseudo, regular


def _with_one_cookie(fields: Fields) -> Fields:
    """With all crumbs of the cookie joined (RFC 9113 section 8.2.3)."""
    crumbs = [value for name, value in fields if name == "cookie"]
    if len(crumbs) < 2:
        return fields
    cookie = "; ".join(crumbs)
    if any(isinstance(crumb, Unindexed) for crumb in crumbs):
        cookie = Unindexed(cookie)
    return (*[field for field in fields if field[0] != "cookie"], ("cookie", cookie))


def _with_host(fields: Fields, authority: str | None) -> Fields:
    """With exactly one Host, which says what `:authority` says."""
    bad = Reason.MALFORMED_REQUEST
    hosts = [value for name, value in fields if name == "host"]
    if len(hosts) > 1:
        raise MalformedMessage(bad, "more than one Host")
    named = authority if authority is not None else hosts[0] if hosts else None
    if named is None or not AUTHORITY_FORM.fullmatch(named):
        raise MalformedMessage(bad, "no authority, or an invalid one")
    if not hosts:
        return (("host", named), *fields)
    if hosts[0].lower() != named.lower():
        raise MalformedMessage(bad, "Host differs from :authority")
    return fields


def _framing(fields: Fields, ended: bool, bad: Reason) -> Framing | None:
    """What `content-length` says; None if nothing."""
    lengths = [value for name, value in fields if name == "content-length"]
    if not lengths:
        return None
    if len(lengths) > 1 or not LENGTH.fullmatch(lengths[0]):
        raise MalformedMessage(bad, "a content-length that is not one decimal number")
    length = int(lengths[0])
    if ended and length:
        raise MalformedMessage(bad, "a content-length without content")
    return Framing(Delimiter.LENGTH, length)


# Heads and trailers to send.


def request_fields(
    method: str, host: str, path: str, fields: Iterable[tuple[str, str]], request: Request, websocket: bool
) -> list[tuple[str, str]]:
    """A head for a destination. `fields` are those that are forwarded; `request` is the client's."""
    head = [(":method", "CONNECT" if websocket else method)]
    if websocket:
        head.append((":protocol", WEBSOCKET))
    head += [(":scheme", "https"), (":authority", host), (":path", path), *_lowered(fields, websocket)]
    if request.framing.delimiter is Delimiter.LENGTH:
        head.append(("content-length", str(request.framing.length)))
    if any(value.lower() == "trailers" for value in request.values("te")):
        head.append(("te", "trailers"))
    return head


def response_fields(
    status: int, fields: Iterable[tuple[str, str]], length: str | None, websocket: bool = False
) -> list[tuple[str, str]]:
    """A head for a client. `length` is what `content-length` says, None for nothing."""
    head = [(":status", str(status)), *_lowered(fields, websocket)]
    if length is not None:
        head.append(("content-length", length))
    return head


def trailer_fields(trailers: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Trailers for either side."""
    return _lowered(trailers, False)


def _lowered(fields: Iterable[tuple[str, str]], websocket: bool) -> list[tuple[str, str]]:
    """With names in lower case, and without the fields that HTTP/2 has no place for."""
    lowered = [(name.lower(), value) for name, value in fields]
    dropped = _NEVER_SENT | _OF_HANDSHAKES if websocket else _NEVER_SENT
    return [field for field in lowered if field[0] not in dropped]
