"""The head of an HTTP/1.0 or HTTP/1.1 request (RFC 9112): accepted exactly as the grammar has it, or refused."""

from typing import NamedTuple

from gateway.model.reasons import Reason
from gateway.wire.grammar import MAX_FIELD_LINES as MAX_FIELD_LINES
from gateway.wire.grammar import REQUEST, host_fault, match_head, split_fields
from gateway.wire.grammar import MalformedHead as MalformedHead


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
        """Whether the client goes on listening to this connection after the answer (RFC 9112 section 9.3)."""
        fields = ",".join(self.values("connection") + self.values("proxy-connection")).lower().split(",")
        options = {option.strip(" \t") for option in fields}
        return "close" not in options and (self.minor == 1 or "keep-alive" in options)


def parse_head(data: bytes) -> RequestHead | None:
    """The head at the start of `data`; None while its end is missing. Raises `MalformedHead`.

    What can become no head any more is refused before its end where that shows cheaply. The caller bounds the bytes.
    """
    start = 2 if data.startswith(b"\r\n") else 0
    match = match_head(data, REQUEST, start)
    if match is None:
        return None
    method, target, minor, lines = match.groups()
    headers = tuple([(name.lower(), value) for name, value in split_fields(lines)])
    head = RequestHead(method, target, int(minor), headers, start + match.end())
    _check_fields(head)
    return head


def _check_fields(head: RequestHead) -> None:
    """One Host in HTTP/1.1 (RFC 9112 section 3.2); no content in a CONNECT (RFC 9110 section 9.3.6)."""
    names = [name for name, _ in head.headers]
    if fault := host_fault(names.count("host"), head.minor):
        raise MalformedHead(Reason.MALFORMED_REQUEST, fault)
    if head.method == "CONNECT" and ("content-length" in names or "transfer-encoding" in names) and head.has_content:
        raise MalformedHead(Reason.MALFORMED_REQUEST, "a CONNECT with content")
