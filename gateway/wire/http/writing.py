"""Messages to bytes: what was read is written anew from its values, never copied.

The values come from a reader or are the callers' own. They are not checked again except for line ends, the one thing
that could turn a value into another message.
"""

from collections.abc import Iterable

from gateway.wire.http.messages import Fields


def request_head(method: str, target: str, fields: Iterable[tuple[str, str]]) -> bytes:
    """A request head of HTTP/1.1 (RFC 9112 section 3). Raises ValueError if a line end stands in a value."""
    return _lines(f"{method} {target} HTTP/1.1\r\n", 1) + field_lines(fields)


def request_opening(method: str, target: str, host: str) -> bytes:
    """The first two lines of a request head: Host is to be the first field (RFC 9110 section 7.2). Raises ValueError if
    a line end stands in a value."""
    return _lines(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n", 2)


def field_lines(fields: Iterable[tuple[str, str]]) -> bytes:
    """The fields that a head ends with, and its empty line. Raises ValueError if a line end stands in a value."""
    lines = [*map(": ".join, fields), "\r\n"]
    return _lines("\r\n".join(lines), len(lines))


def response_head(status: int, phrase: str, fields: Iterable[tuple[str, str]]) -> bytes:
    """A response head of HTTP/1.1 (RFC 9112 section 4). Raises ValueError if a line end stands in a value."""
    return _lines(f"HTTP/1.1 {status} {phrase}\r\n", 1) + field_lines(fields)


def chunk(data: bytes) -> bytes:
    """One chunk (RFC 9112 section 7.1); nothing for no data, as an empty chunk would be the last."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def last_chunk(trailers: Fields = ()) -> bytes:
    """The end of a chunked body. Raises ValueError if a line end stands in a value."""
    return b"0\r\n" + field_lines(trailers)


def _lines(text: str, count: int) -> bytes:
    if text.count("\n") != count or text.count("\r") != count:
        raise ValueError("a line end within a line")
    return text.encode("latin-1")
