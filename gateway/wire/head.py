"""The head of an HTTP/1.0 or HTTP/1.1 request (RFC 9112): exactly as the grammar has it, or refused."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from gateway.model.client import TraceParent
from gateway.model.reasons import Reason
from gateway.wire.grammar import REQUEST, elements, find_head, host_fault, is_persistent, match_head, split_fields
from gateway.wire.grammar import MalformedHead as MalformedHead

_MOST_REMEMBERED = 1024
_REMEMBERED_BYTES = 512  # of a head that is remembered: a peer must not be able to fill the memory

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.{0,200})?", re.ASCII)
_SAMPLED = 1


class RequestHead(NamedTuple):
    """A request up to its empty line. `minor` is that of HTTP/1.x, `size` the bytes that the head took.

    `headers` in the order they came: names in lower case, values as Latin-1 without the blanks around them. Target and
    headers may hold secrets and stay out of the representation.
    """

    method: str
    target: str
    minor: int
    headers: tuple[tuple[str, str], ...]
    size: int

    def __repr__(self) -> str:
        return f"RequestHead({self.method!r}, {len(self.headers)} headers, {self.size} bytes)"

    def values(self, name: str) -> list[str]:
        """Every value of the header `name` (lower case), one for each line."""
        return [value for each, value in self.headers if each == name]

    @property
    def has_content(self) -> bool:
        """Whether content follows the head (RFC 9112 section 6.3)."""
        return bool(self.values("transfer-encoding")) or self.values("content-length") not in ([], ["0"])

    @property
    def is_persistent(self) -> bool:
        """Whether the client goes on using this connection after the answer."""
        return is_persistent(elements(self.values("connection") + self.values("proxy-connection")), self.minor)


_remembered: dict[bytes, RequestHead] = {}
"""A client's CONNECTs to one destination are alike to the byte. Those with credentials are never kept."""


def parse_head(data: bytes) -> RequestHead | None:
    """The head at the start of `data`; None while its end is missing. Raises `MalformedHead`.

    What cannot become a head is refused before its end, where that shows cheaply. The caller bounds the bytes.
    """
    known = _remembered.get(data) if len(data) <= _REMEMBERED_BYTES else None
    if known is not None:
        return known
    start = 2 if data.startswith(b"\r\n") else 0
    size = find_head(data, REQUEST, start)
    if not size:
        return None
    whole = data[:size]
    if size > _REMEMBERED_BYTES:
        return _parse_whole(whole, start)
    return _remembered.get(whole) or _parse_and_remember(whole, start)


def _parse_whole(data: bytes, start: int) -> RequestHead:
    """`data` ends with the empty line; the request line stands at `start`."""
    method, target, minor, lines = match_head(data[start:], REQUEST).groups()
    headers = tuple([(name.lower(), value) for name, value in split_fields(lines)])
    head = RequestHead(method, target, int(minor), headers, len(data))
    _check_fields(head)
    return head


def _parse_and_remember(data: bytes, start: int) -> RequestHead:
    head = _parse_whole(data, start)
    if head.method == "CONNECT" and b"authorization:" not in data.lower():
        if len(_remembered) >= _MOST_REMEMBERED:
            _remembered.clear()
        _remembered[data] = head
    return head


def _check_fields(head: RequestHead) -> None:
    """One Host in HTTP/1.1 (RFC 9112 section 3.2); no content in a CONNECT (RFC 9110 section 9.3.6)."""
    names = [name for name, _ in head.headers]
    if fault := host_fault(names.count("host"), head.minor):
        raise MalformedHead(Reason.MALFORMED_REQUEST, fault)
    if head.method == "CONNECT" and ("content-length" in names or "transfer-encoding" in names) and head.has_content:
        raise MalformedHead(Reason.MALFORMED_REQUEST, "a CONNECT with content")


def parse_traceparent(values: Sequence[str]) -> TraceParent | None:
    """The client's span (W3C Trace Context, level 1). `values` are those of all lines of the field. None, unless it is
    valid to the letter: then a trace begins here. A later version is read as far as this one goes (section 4.3); `ff`
    is invalid."""
    if len(values) != 1:
        return None
    match = _TRACEPARENT.fullmatch(values[0])
    if match is None:
        return None
    version, trace, span, flags, rest = match.groups()
    trace_id, span_id = int(trace, 16), int(span, 16)
    if version == "ff" or (rest is not None and version == "00") or not trace_id or not span_id:
        return None
    return TraceParent(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))
