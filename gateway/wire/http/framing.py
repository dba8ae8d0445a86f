"""Where the content of a message ends (RFC 9112 section 6), and which heads do not say so unambiguously.

Refused, where the RFC would let a recipient choose: a length beside a transfer coding, a length given twice or with
leading zeros, a coding in HTTP/1.0, and content where a message has none.
"""

import re
from typing import NoReturn

from gateway.model.reasons import Reason
from gateway.wire.grammar import host_fault
from gateway.wire.http.messages import (
    CHUNKED,
    NO_CONTENT,
    UNTIL_CLOSE,
    Delimiter,
    Fields,
    Framing,
    MalformedMessage,
    values_of,
)

METHODS = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
    | {"ACL", "BIND", "CHECKOUT", "COPY", "LINK", "LOCK", "MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL", "MOVE"}
    | {"PROPFIND", "PROPPATCH", "REBIND", "REPORT", "SEARCH", "UNBIND", "UNLINK", "UNLOCK"}
    | {"M-SEARCH", "NOTIFY", "PURGE", "SOURCE", "SUBSCRIBE", "UNSUBSCRIBE"}
)
"""Those that llhttp knows: HTTP's own, those of WebDAV and the like, and a few of caches and devices."""

_FRAMING = frozenset({"content-length", "transfer-encoding"})
_OF_HEADS = _FRAMING | {"host"}
LENGTH = re.compile(r"0|[1-9][0-9]{0,17}")
_PLACE = r"[!$&-.0-;=A-Z\[\]_a-z~%]+"
TARGET_FORMS = re.compile(rf"/[!\"$-~]*|\*|[A-Za-z]+://(?:[!$&-;=A-Z_a-z~%]*@)?{_PLACE}(?:[/?][!\"$-~]*)?")
AUTHORITY_FORM = re.compile(_PLACE)
"""Without user information (RFC 9112 section 3.2.3): llhttp takes `/` in that, and so a whole URL before the `@`."""


def request_framing(method: str, target: str, minor: int, fields: Fields) -> Framing:
    """How a request with this head is framed. Raises `MalformedMessage`.

    Also checks what belongs to framing in a wider sense: one Host, and a method and a form of target that every parser
    reads alike (RFC 9112 sections 3.2 and 6.3).
    """
    names = [name.lower() for name, _ in fields]
    hosts = names.count("host")
    if hosts != 1 and (fault := host_fault(hosts, minor)):
        _refuse(fault)
    if method not in METHODS:
        _refuse("a method that is not registered")
    check_target(method, target)
    if _FRAMING.isdisjoint(names):
        return NO_CONTENT
    framing = _framing(minor, names, fields, Reason.MALFORMED_REQUEST, Reason.UNSUPPORTED_TRANSFER_CODING)
    if method == "CONNECT":
        if framing != (Delimiter.LENGTH, 0):
            _refuse("a CONNECT with content")
        return NO_CONTENT
    return framing


def check_target(method: str, target: str) -> None:
    """Raise `MalformedMessage` for a target in a form that does not go with the method."""
    if not (AUTHORITY_FORM if method == "CONNECT" else TARGET_FORMS).fullmatch(target):
        _refuse("a target whose form does not go with the method")


def response_framing(method: str, status: int, minor: int, fields: Fields) -> Framing:
    """How a response with this head to a request with this method is framed. Raises `MalformedMessage`.

    A response to HEAD and a 304 describe content that does not follow. Framing fields of a response to CONNECT, or of
    an interim one, are refused or mean nothing (RFC 9110 section 9.3.6, RFC 9112 section 6.3).
    """
    names = [name.lower() for name, _ in fields]
    framing = None
    if not _FRAMING.isdisjoint(names):
        framing = _framing(minor, names, fields, Reason.MALFORMED_RESPONSE, Reason.MALFORMED_RESPONSE)
    if status < 200 or status == 204:
        if framing not in (None, (Delimiter.LENGTH, 0)):
            _refuse(f"a {status} with content", Reason.MALFORMED_RESPONSE)
        return NO_CONTENT
    if method == "HEAD" or status == 304 or (method == "CONNECT" and status < 300):
        return NO_CONTENT
    return UNTIL_CLOSE if framing is None else framing


def check_trailers(trailers: Fields, malformed: Reason) -> None:
    """Raise `MalformedMessage` if a trailer would frame or route its message (RFC 9110 section 6.5.1)."""
    if any(name.lower() in _OF_HEADS for name, _ in trailers):
        _refuse("a trailer that belongs in the head", malformed)


def _framing(minor: int, names: list[str], fields: Fields, malformed: Reason, unsupported: Reason) -> Framing:
    """What the fields say, at least one of which is about framing. `names` are theirs in lower case."""
    if _FRAMING.issubset(names):
        _refuse("Content-Length beside Transfer-Encoding", malformed)
    if "content-length" in names:
        length = fields[names.index("content-length")][1]
        if names.count("content-length") > 1 or not LENGTH.fullmatch(length):
            _refuse("a Content-Length that is not one decimal number", malformed)
        return Framing(Delimiter.LENGTH, int(length))
    if minor == 0:
        _refuse("Transfer-Encoding in HTTP/1.0", malformed)
    names = [name.strip(" \t") for name in ",".join(values_of(fields, "transfer-encoding")).lower().split(",")]
    if names == ["chunked"]:
        return CHUNKED
    if "" in names or "chunked" in names[:-1]:
        _refuse("a Transfer-Encoding in which chunked is not the last, or an element is empty", malformed)
    return _refuse("a transfer coding other than chunked", unsupported)


def _refuse(detail: str, reason: Reason = Reason.MALFORMED_REQUEST) -> NoReturn:
    raise MalformedMessage(reason, detail)
