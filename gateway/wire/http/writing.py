"""Messages to bytes: what was read is written anew from its values, never copied.

Callers took the values from a reader or made them; they are not checked again except for line ends, the one thing that
could turn a value into another message.
"""

from collections.abc import Iterable

from gateway.wire.http.messages import Fields


def request_head(method: str, target: str, fields: Iterable[tuple[str, str]]) -> bytes:
    """A request head of HTTP/1.1 (RFC 9112 section 3). Raises ValueError if a line end stands in a value."""
    return request_line(method, target) + field_lines(fields)


def request_line(method: str, target: str) -> bytes:
    """The first line of a request head. Raises ValueError if a line end stands in a value."""
    return _lines(f"{method} {target} HTTP/1.1\r\n", 1)


def field_lines(fields: Iterable[tuple[str, str]]) -> bytes:
    """All of a head but its first line. Raises ValueError if a line end stands in a value."""
    lines = [*map(": ".join, fields), "\r\n"]
    return _lines("\r\n".join(lines), len(lines))


def response_head(status: int, phrase: str, fields: Iterable[tuple[str, str]]) -> bytes:
    """A response head of HTTP/1.1 (RFC 9112 section 4). Raises ValueError if a line end stands in a value."""
    return _lines(f"HTTP/1.1 {status} {phrase}\r\n", 1) + field_lines(fields)


def chunk(data: bytes) -> bytes:
    """One chunk (RFC 9112 section 7.1); nothing for no data, for an empty chunk is the last."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def last_chunk(trailers: Fields = ()) -> bytes:
    """The end of a chunked body. Raises ValueError if a line end stands in a value."""
    return b"0\r\n" + field_lines(trailers)


def _lines(text: str, count: int) -> bytes:
    if text.count("\n") != count or text.count("\r") != count:
        raise ValueError("a line end within a line")
    return text.encode("latin-1")
