"""The grammar of HTTP/1 heads, exactly as RFC 9112 has it: one for CONNECT and for every other message.

Where the RFC lets a recipient be lenient (bare LF, folded lines, other versions) this grammar is not: requests are
smuggled through what two parsers read differently. There are two leniencies: an empty line before the request line, and
a status line that ends with its code.
"""

import re
from collections.abc import Collection
from typing import NamedTuple

from gateway.model.errors import Malformed
from gateway.model.reasons import Reason

MAX_FIELD_LINES = 1000
"""The caller bounds bytes, but 64 KiB hold 16,000 lines, each costing more than its bytes. Real heads have 30."""

_SHORTEST_LINE = len("a:\r\n")
_GLANCE = 256  # bytes at either end of an unfinished head that are checked at each arrival

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_METHOD = rf"{_TOKEN}{{1,32}}+"
_REQUEST_LINE = rf"({_METHOD}) ([!-~]++) HTTP/1\.([01])"
_STATUS_LINE = r"HTTP/1\.([01]) ([1-5][0-9]{2})(?: ([\t -~\x80-\xff]*+))?"
_FIELD_LINE = rf"{_TOKEN}++:[\t -~\x80-\xff]*+"
_FIELD_LINES = rf"((?:{_FIELD_LINE}\r\n)*+)\r\n"

_WHOLE_FIELD_LINE = re.compile(_FIELD_LINE)
_WHOLE_FIELD_LINES = re.compile(_FIELD_LINES)
_FIELD = re.compile(r"([^:]++):[ \t]*+([^\r]*+)\r\n")
_BARE_LINE_END = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")

_OTHER_PROTOCOLS = (
    ("\x16", Reason.TLS_ON_PLAIN_PORT, "a TLS record"),
    ("PRI * HTTP/2", Reason.NOT_A_PROXY_REQUEST, "the HTTP/2 preface"),
    ("\x04", Reason.NOT_A_PROXY_REQUEST, "a SOCKS4 request"),
    ("\x05", Reason.NOT_A_PROXY_REQUEST, "a SOCKS5 greeting"),
)


class MalformedHead(Malformed):
    """No continuation makes this a head that we take."""


class HeadGrammar(NamedTuple):
    """One kind of head. `head` matches a whole one; its groups are those of the first line, then the field lines.

    `cut_line` matches what may become a first line; `others` are the beginnings of other protocols.
    """

    head: re.Pattern[str]
    first_line: re.Pattern[str]
    cut_line: re.Pattern[str]
    name: str
    malformed: Reason
    too_large: Reason
    others: tuple[tuple[str, Reason, str], ...] = ()


REQUEST = HeadGrammar(
    head=re.compile(rf"{_REQUEST_LINE}\r\n{_FIELD_LINES}"),
    first_line=re.compile(_REQUEST_LINE),
    cut_line=re.compile(rf"(?:{_TOKEN}{{1,32}}(?: (?:[!-~]+(?: [!-~]{{0,8}}\r?)?)?)?)?"),
    name="request line of HTTP/1.0 or HTTP/1.1",
    malformed=Reason.MALFORMED_REQUEST,
    too_large=Reason.HEAD_TOO_LARGE,
    others=_OTHER_PROTOCOLS,
)
RESPONSE = HeadGrammar(
    head=re.compile(rf"{_STATUS_LINE}\r\n{_FIELD_LINES}"),
    first_line=re.compile(_STATUS_LINE),
    cut_line=re.compile(rf"H?|HT|HTT|HTTP/?|HTTP/1\.?|HTTP/1\.[01](?: (?:[1-5][0-9]?)?)?|{_STATUS_LINE}\r?"),
    name="status line of HTTP/1.0 or HTTP/1.1",
    malformed=Reason.MALFORMED_RESPONSE,
    too_large=Reason.RESPONSE_HEAD_TOO_LARGE,
)


def find_head(data: bytes | bytearray, grammar: HeadGrammar, start: int = 0, seen: int = 0) -> int:
    """Where the head that begins at `start` ends, 0 while its end is missing. `seen`: no end begins before.

    What cannot become a head is refused before its end, where that shows cheaply. The caller bounds the bytes. Raises
    `MalformedHead`.
    """
    end = data.find(b"\r\n\r\n", max(start, seen))
    if end < 0:
        _refuse_hopeless(data, start, grammar)
        return 0
    return end + 4


def match_head(head: bytes, grammar: HeadGrammar) -> re.Match[str]:
    """A whole head, from its first line to its empty line. Raises `MalformedHead`."""
    text = head.decode("latin-1")
    if len(text) > MAX_FIELD_LINES * _SHORTEST_LINE and text.count("\n") > MAX_FIELD_LINES + 2:
        raise MalformedHead(grammar.too_large, f"more than {MAX_FIELD_LINES} header lines")
    match = grammar.head.fullmatch(text)
    if match is None:
        raise _fault(text, grammar)
    return match


def split_fields(lines: str) -> tuple[tuple[str, str], ...]:
    """Name and value of each of the field lines that a head was matched with, without the blanks around the values."""
    fields = _FIELD.findall(lines)
    if " \r" in lines or "\t\r" in lines:  # seldom, and stripping each value costs as much as all the rest
        return tuple([(name, value.rstrip(" \t")) for name, value in fields])
    return tuple(fields)


def match_trailers(section: str) -> str | None:
    """The field lines of a trailer section that ends with its empty line; None if they are malformed or too many."""
    match = _WHOLE_FIELD_LINES.fullmatch(section)
    return None if match is None or section.count("\n") > MAX_FIELD_LINES + 1 else match[1]


def has_bare_line_end(data: bytes | bytearray, start: int = 0) -> bool:
    """Whether a CR or LF stands alone in `data` from `start` on; a CR at the end may still get its LF."""
    return _BARE_LINE_END.search(data, start) is not None


def host_fault(hosts: int, minor: int) -> str | None:
    """What is wrong with this number of Host fields in a request of HTTP/1.x (RFC 9112 section 3.2)."""
    if hosts > 1:
        return "more than one Host"
    return "HTTP/1.1 without Host" if hosts == 0 and minor == 1 else None


def elements(values: list[str]) -> list[str]:
    """The elements of a list-valued field, in lower case, without empty ones (RFC 9110 section 5.6.1)."""
    return [each for part in ",".join(values).lower().split(",") if (each := part.strip(" \t"))]


def is_persistent(options: Collection[str], minor: int) -> bool:
    """Whether the sender goes on using the connection after a message of HTTP/1.x whose Connection has these options
    (RFC 9112 section 9.3). By the letter a proxy has to end the connection of an HTTP/1.0 client, because an older
    proxy between may pass `Connection` on unread and then wait for the end; like Squid this one keeps it for clients
    that ask for that, and tells them so."""
    return "close" not in options and (minor == 1 or "keep-alive" in options)


def _refuse_hopeless(data: bytes | bytearray, start: int, grammar: HeadGrammar) -> None:
    """Raise if nothing that follows can make it a head: no first line begins like this, or there is a bare CR or LF in
    the last bytes."""
    line, ended, _ = data[start : start + _GLANCE].decode("latin-1").partition("\r\n")
    may_become = grammar.first_line if ended else grammar.cut_line
    if not may_become.fullmatch(line) and data != b"\r":
        raise _fault(line + ended, grammar)
    if has_bare_line_end(data, max(0, len(data) - _GLANCE)):
        raise MalformedHead(grammar.malformed, "a bare CR or LF")


def _fault(text: str, grammar: HeadGrammar) -> MalformedHead:
    """What is wrong with `text`, which is no head: another protocol, or a malformed first line."""
    for opening, reason, what in grammar.others:
        if text.startswith(opening):
            return MalformedHead(reason, what)
    first_line, *field_lines = text.split("\r\n")
    if grammar.first_line.fullmatch(first_line):
        for number, line in enumerate(field_lines, start=2):
            if not _WHOLE_FIELD_LINE.fullmatch(line):
                return MalformedHead(grammar.malformed, f"line {number} is no header line")
    return MalformedHead(grammar.malformed, f"line 1 is no {grammar.name}")
