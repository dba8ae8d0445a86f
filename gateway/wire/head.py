"""The head of an HTTP/1.0 or HTTP/1.1 request (RFC 9112): accepted exactly as the grammar has it, or refused.

Where the RFC lets a recipient be lenient (bare LF, folded lines, other versions) this parser is not: what two parsers
read differently is how requests are smuggled. The one leniency is an empty line before the request line.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from gateway.model.errors import Malformed
from gateway.model.reasons import Reason

MAX_FIELD_LINES = 1000
"""The caller bounds bytes, but 64 KiB hold 16,000 lines, each dearer than its few bytes. Real heads have 30."""

_SHORTEST_LINE = len("a:\r\n")
_REMEMBERED_BYTES = 512  # of a head that is remembered: what a peer sends must not fill the memory
_GLANCE = 256  # bytes of an unfinished head that are looked at, first and last: it is done again at each arrival

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_METHOD = rf"{_TOKEN}{{1,32}}+"
_REQUEST_LINE = rf"({_METHOD}) ([!-~]++) HTTP/1\.([01])"
_FIELD_LINE = rf"{_TOKEN}++:[\t -~\x80-\xff]*+"

_HEAD = re.compile(rf"{_REQUEST_LINE}\r\n((?:{_FIELD_LINE}\r\n)*+)\r\n")
_FIELD = re.compile(r"([^:]++):([^\r]*+)\r\n")
_WHOLE_REQUEST_LINE = re.compile(_REQUEST_LINE)
_WHOLE_FIELD_LINE = re.compile(_FIELD_LINE)
_CUT_REQUEST_LINE = re.compile(rf"(?:{_TOKEN}{{1,32}}(?: (?:[!-~]+(?: [!-~]{{0,8}}\r?)?)?)?)?")

_BARE_LINE_END = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")

_OTHER_PROTOCOLS = (
    ("\x16", Reason.TLS_ON_PLAIN_PORT, "a TLS record"),
    ("PRI * HTTP/2", Reason.NOT_A_PROXY_REQUEST, "the HTTP/2 preface"),
    ("\x04", Reason.NOT_A_PROXY_REQUEST, "a SOCKS4 request"),
    ("\x05", Reason.NOT_A_PROXY_REQUEST, "a SOCKS5 greeting"),
)


class MalformedHead(Malformed):
    """No continuation makes this a request head that we take."""


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
    end = data.find(b"\r\n\r\n", start)
    if end < 0:
        _refuse_hopeless(data, start)
        return None
    size = end + 4
    whole = data[start:size]
    if size > _REMEMBERED_BYTES or not whole.startswith(b"CONNECT ") or b"authorization:" in whole.lower():
        return _parse_whole(whole, size)
    return _remembered(whole, size)


def _parse_whole(data: bytes, size: int) -> RequestHead:
    """`data` ends with the empty line; `size` counts what stood before the request line as well."""
    text = data.decode("latin-1")
    if size > MAX_FIELD_LINES * _SHORTEST_LINE and text.count("\n") > MAX_FIELD_LINES + 2:
        raise MalformedHead(Reason.HEAD_TOO_LARGE, f"more than {MAX_FIELD_LINES} header lines")
    match = _HEAD.fullmatch(text)
    if match is None:
        raise _fault(text)
    method, target, minor, lines = match.groups()
    headers = tuple([(name.lower(), value.strip(" \t")) for name, value in _FIELD.findall(lines)])
    head = RequestHead(method, target, int(minor), headers, size)
    _check_fields(head)
    return head


@lru_cache(maxsize=1024)
def _remembered(data: bytes, size: int) -> RequestHead:
    """A client's CONNECTs to one destination are alike to the byte. Those with credentials are never kept."""
    return _parse_whole(data, size)


def _check_fields(head: RequestHead) -> None:
    """One Host in HTTP/1.1 (RFC 9112 section 3.2); no content in a CONNECT (RFC 9110 section 9.3.6)."""
    names = [name for name, _ in head.headers]
    hosts = names.count("host")
    if hosts > 1 or (hosts == 0 and head.minor == 1):
        raise MalformedHead(Reason.MALFORMED_REQUEST, "more than one Host" if hosts else "HTTP/1.1 without Host")
    if head.method == "CONNECT" and ("content-length" in names or "transfer-encoding" in names) and head.has_content:
        raise MalformedHead(Reason.MALFORMED_REQUEST, "a CONNECT with content")


def _refuse_hopeless(data: bytes, start: int) -> None:
    """Raise if no continuation can help: no request line begins like this, or the last bytes have a bare CR or LF."""
    line, ended, _ = data[start : start + _GLANCE].decode("latin-1").partition("\r\n")
    may_become = _WHOLE_REQUEST_LINE if ended else _CUT_REQUEST_LINE
    if not may_become.fullmatch(line) and data != b"\r":
        raise _fault(line + ended)
    if _BARE_LINE_END.search(data, max(0, len(data) - _GLANCE)):
        raise MalformedHead(Reason.MALFORMED_REQUEST, "a bare CR or LF")


def _fault(text: str) -> MalformedHead:
    """What is wrong with `text`, which is no head: another protocol, or the first line that is not as it should be."""
    for opening, reason, what in _OTHER_PROTOCOLS:
        if text.startswith(opening):
            return MalformedHead(reason, what)
    request_line, *field_lines = text.split("\r\n")
    if _WHOLE_REQUEST_LINE.fullmatch(request_line):
        for number, line in enumerate(field_lines, start=2):
            if not _WHOLE_FIELD_LINE.fullmatch(line):
                return MalformedHead(Reason.MALFORMED_REQUEST, f"line {number} is no header line")
    return MalformedHead(Reason.MALFORMED_REQUEST, "line 1 is no request line of HTTP/1.0 or HTTP/1.1")
