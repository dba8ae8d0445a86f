"""What an HTTP/1 connection carries (RFC 9112), as values: heads, body data without its framing, ends."""

from enum import Enum
from typing import NamedTuple

from gateway.model.errors import Malformed
from gateway.model.reasons import Reason
from gateway.wire.grammar import elements, is_persistent

Fields = tuple[tuple[str, str], ...]
"""In the order they came: names as the sender wrote them, values as Latin-1 without the blanks around them."""

MOST_INTERIM = 16
"""Interim responses to one request. They cost their sender little, thousands fit into one read of the loop, and nobody
else has a turn while they are parsed."""


class Delimiter(Enum):
    """What ends the content of a message (RFC 9112 section 6.3)."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"


class Framing(NamedTuple):
    """`length` means something for `Delimiter.LENGTH` alone, where 0 is a length that was given."""

    delimiter: Delimiter
    length: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether the message ends with its head."""
        delimiter = self.delimiter
        return delimiter is Delimiter.NONE or (delimiter is Delimiter.LENGTH and self.length == 0)


NO_CONTENT = Framing(Delimiter.NONE)
CHUNKED = Framing(Delimiter.CHUNKED)
UNTIL_CLOSE = Framing(Delimiter.CLOSE)


class Request(NamedTuple):
    """The head of a request. `minor` is that of HTTP/1.x; one of HTTP/2 reads as of HTTP/1.1, its names in lower case.
    What may hold secrets stays out of the representation."""

    method: str
    target: str
    minor: int
    fields: Fields
    framing: Framing
    is_http2: bool = False

    def __repr__(self) -> str:
        return f"Request({self.method!r}, {len(self.fields)} fields, {self.framing.delimiter.value})"

    def with_fields(self, fields: Fields) -> "Request":
        """The same head with other fields. (`_replace` takes three times as long.)"""
        return Request(self.method, self.target, self.minor, fields, self.framing, self.is_http2)

    def values(self, name: str) -> list[str]:
        """Every value of the field `name` (lower case), one for each line."""
        return values_of(self.fields, name)

    @property
    def is_persistent(self) -> bool:
        """Whether the sender goes on using the connection after this message."""
        options = elements(self.values("connection") + self.values("proxy-connection"))  # old clients send the latter
        return is_persistent(options, self.minor)

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for a 100 before it sends content (RFC 9110 section 10.1.1)."""
        return self.minor == 1 and "100-continue" in elements(self.values("expect"))

    @property
    def upgrade(self) -> tuple[str, ...]:
        """The protocols, in lower case, that the client would switch to after this (RFC 9110 section 7.8)."""
        return _upgrade(self.minor, self.fields)

    @property
    def pauses(self) -> bool:
        """Whether something other than HTTP may follow, which the answer decides."""
        return self.method == "CONNECT" or bool(self.upgrade)


class Response(NamedTuple):
    """The head of a response, also of an interim one. Its `framing` takes the request's method into account. As with
    requests, HTTP/2 reads as HTTP/1.1, without a phrase."""

    status: int
    phrase: str
    minor: int
    fields: Fields
    framing: Framing
    is_http2: bool = False

    def __repr__(self) -> str:
        return f"Response({self.status}, {len(self.fields)} fields, {self.framing.delimiter.value})"

    def with_fields(self, fields: Fields) -> "Response":
        """As for requests."""
        return Response(self.status, self.phrase, self.minor, fields, self.framing, self.is_http2)

    def values(self, name: str) -> list[str]:
        """Every value of the field `name` (lower case), one for each line."""
        return values_of(self.fields, name)

    @property
    def is_interim(self) -> bool:
        """Whether another response to the same request follows: 1xx but 101 (RFC 9110 section 15.2)."""
        return self.status < 200 and self.status != 101

    @property
    def upgrade(self) -> tuple[str, ...]:
        """The protocols, in lower case, that are switched to (101) or offered."""
        return _upgrade(self.minor, self.fields)


class End(NamedTuple):
    """The end of a request or of a final response, with the trailers of a chunked one. If there are any, `options` are
    those of Connection in the head, in lower case."""

    trailers: Fields = ()
    options: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"End({len(self.trailers)} trailers)"


Event = Request | Response | bytes | End
"""`bytes` are body data, never empty, cut wherever it happened to be."""


class MalformedMessage(Malformed):
    """No continuation makes these bytes messages that we take. `events` are those before the fault."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.events: list[Event] = []


def version_of(message: "Request | Response") -> str:
    """As it stands in Via (RFC 9110 section 7.6.3)."""
    return "2" if message.is_http2 else f"1.{message.minor}"


def values_of(fields: Fields, name: str) -> list[str]:
    """Every value of the field `name` (lower case), one for each line."""
    return [value for each, value in fields if each.lower() == name]


def _upgrade(minor: int, fields: Fields) -> tuple[str, ...]:
    """HTTP/1.0 has no upgrade, and neither has a message whose Connection does not name it."""
    offered = elements(values_of(fields, "upgrade")) if minor == 1 else []
    return tuple(offered) if offered and "upgrade" in elements(values_of(fields, "connection")) else ()
