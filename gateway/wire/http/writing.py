"""Messages to bytes: what was read is written anew from its values, never passed on as it came.

Whoever calls these took the values from a reader or made them; the values are not checked again but for line ends, the
one thing that could turn a value into another message.
"""

from collections.abc import Iterable

from gateway.wire.http.messages import Fields

LAST_CHUNK = b"0\r\n\r\n"


def request_head(method: str, target: str, fields: Iterable[tuple[str, str]]) -> bytes:
    """A request head of HTTP/1.1 (RFC 9112 section 3). Raises ValueError if a line end stands in a value."""
    return _head(f"{method} {target} HTTP/1.1", fields)


def response_head(status: int, phrase: str, fields: Iterable[tuple[str, str]]) -> bytes:
    """A response head of HTTP/1.1 (RFC 9112 section 4). Raises ValueError if a line end stands in a value."""
    return _head(f"HTTP/1.1 {status} {phrase}", fields)


def chunk(data: bytes) -> bytes:
    """One chunk (RFC 9112 section 7.1); nothing for no data, for an empty chunk is the last."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def last_chunk(trailers: Fields = ()) -> bytes:
    """The end of a chunked body. Raises ValueError if a line end stands in a value."""
    return b"0\r\n" + _lines("".join([f"{name}: {value}\r\n" for name, value in trailers]), len(trailers)) + b"\r\n"


def _head(first_line: str, fields: Iterable[tuple[str, str]]) -> bytes:
    lines = [first_line, *[f"{name}: {value}" for name, value in fields], ""]
    return _lines("\r\n".join(lines), len(lines) - 1) + b"\r\n"


def _lines(text: str, count: int) -> bytes:
    if text.count("\n") != count or text.count("\r") != count:
        raise ValueError("a line end within a line")
    return text.encode("latin-1")
