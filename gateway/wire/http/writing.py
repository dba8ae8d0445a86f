"""Messages to bytes: what was read is written anew from its values, never copied.

The values come from a reader or are the callers' own. They are not checked again except for line ends, the one thing
that could turn a value into another message.
"""

from collections.abc import Iterable

from gateway.wire.http.messages import Fields


def request_head(method: str, target: str, fields: Iterable[tuple[str, str]]) -> bytes:
    """A request head of HTTP/1.1 (RFC 9112 section 3). Raises ValueError if a line end stands in a value."""
    return whole_head([f"{method} {target} HTTP/1.1", *field_lines(fields)])


def response_head(status: int, phrase: str, fields: Iterable[tuple[str, str]]) -> bytes:
    """A response head of HTTP/1.1 (RFC 9112 section 4). Raises ValueError if a line end stands in a value."""
    return whole_head([f"HTTP/1.1 {status} {phrase}", *field_lines(fields)])


def field_lines(fields: Iterable[tuple[str, str]]) -> list[str]:
    """The lines of a head after the first."""
    return [*map(": ".join, fields)]


def whole_head(lines: list[str]) -> bytes:
    """The head of which these are the lines. Raises ValueError if a line end stands in one."""
    text = "".join(lines)
    if "\n" in text or "\r" in text:
        raise ValueError("a line end within a line")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def chunk(data: bytes) -> bytes:
    """One chunk (RFC 9112 section 7.1); nothing for no data, as an empty chunk would be the last."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def last_chunk(trailers: Fields = ()) -> bytes:
    """The end of a chunked body. Raises ValueError if a line end stands in a value."""
    return whole_head(["0", *field_lines(trailers)])
