"""Which header fields are forwarded, and which of our own are added (RFC 9110 section 7.6, RFC 9112).

Hop-by-hop fields end here: framing is written anew from what was parsed, so that the two sides can never read one
message in two ways. A `Connection` header removes the fields that it names, except those in `KEPT`: the meaning of a
message depends on these, and an attacker could have them removed without their sender's knowledge.
"""

import re
from typing import NamedTuple

from gateway.wire.grammar import elements, is_persistent
from gateway.wire.http.messages import Delimiter, End, Fields, Request, Response, version_of

WEBSOCKET = "websocket"

_OF_ONE_CONNECTION = frozenset(
    (
        "connection",
        "proxy-connection",
        "keep-alive",
        "te",
        "upgrade",
        "transfer-encoding",
        "content-length",
        "http2-settings",
    )
)
_TRACE_CONTEXT = frozenset(("traceparent", "tracestate", "baggage"))  # the client's own: they describe its internals
_FROM_CLIENT = _OF_ONE_CONNECTION | _TRACE_CONTEXT | {"host", "proxy-authorization", "proxy-authenticate"}
_FROM_DESTINATION = _OF_ONE_CONNECTION | {"proxy-authenticate", "proxy-authentication-info", "proxy-status"}
_OURS = "x-egress-"


def _as_cgi_reads(names: frozenset[str]) -> frozenset[str]:
    """The names, and the spellings that CGI, WSGI and the like take for them (`Content_Length`), which no honest client
    uses here."""
    return names | {name.replace("-", "_") for name in names}


_NOT_FROM_CLIENT = _as_cgi_reads(_FROM_CLIENT)
_NOT_IN_TRAILERS = _as_cgi_reads(
    _FROM_CLIENT | _FROM_DESTINATION | {"authorization", "cookie", "set-cookie", "content-type", "trailer"}
)

KEPT = frozenset(
    (
        "host",
        "content-length",
        "transfer-encoding",
        "content-type",
        "content-encoding",
        "content-range",
        "authorization",
        "cookie",
        "set-cookie",
        "cache-control",
        "date",
        "expect",
        "location",
        "max-forwards",
        "origin",
        "range",
        "via",
        "www-authenticate",
    )
)
_HARMLESS_OPTIONS = frozenset(("close", "keep-alive", "upgrade", "te"))

MOST_KEPT = 16 * 1024
"""Bytes of fields that are kept for as long as a connection is idle, which may have a few kilobytes."""
_OF_EACH = 100

_NOT_IN_TOKEN = re.compile(r"[^!#$%&'*+.^_`|~0-9A-Za-z-]")


class Sorted(NamedTuple):
    """The fields of a head. `passing` are forwarded, `places` say which of all these are; `held` are, by lower-case
    name, the values of the others and of Via. `options` are those of Connection, and of the Proxy-Connection that old
    clients send to proxies."""

    passing: list[tuple[str, str]]
    places: list[int]
    held: dict[str, list[str]]
    options: frozenset[str]

    def is_persistent(self, minor: int) -> bool:
        """Whether the sender goes on using the connection after this message."""
        return is_persistent(self.options, minor)


_NO_OPTIONS: frozenset[str] = frozenset()


def sort_request(request: Request) -> Sorted:
    """The fields of a client's request."""
    return _sort(request.fields, _NOT_FROM_CLIENT)


def sort_response(response: Response) -> Sorted:
    """The fields of a destination's response."""
    return _sort(response.fields, _FROM_DESTINATION)


def _sort(fields: Fields, ending_here: frozenset[str]) -> Sorted:
    places: list[int] = []
    held: dict[str, list[str]] = {}
    for place, (name, value) in enumerate(fields):
        lower = name.lower()
        if lower in ending_here:
            held.setdefault(lower, []).append(value)
        elif not lower.startswith(_OURS):
            places.append(place)
            if lower == "via":
                held.setdefault(lower, []).append(value)
    options = _NO_OPTIONS
    if "connection" in held or "proxy-connection" in held:
        options = frozenset(elements(held.get("connection", []) + held.get("proxy-connection", [])))
        named = _named_by(options)
        if named:
            places = [place for place in places if fields[place][0].lower() not in named]
    return Sorted([fields[place] for place in places], places, held, options)


def _named_by(options: frozenset[str]) -> frozenset[str]:
    """The fields that Connection declares to be for this connection only, but for those that are kept nevertheless."""
    return options - _HARMLESS_OPTIONS - KEPT


def size_of(fields: Fields) -> int:
    """What they take, about: a field takes some hundred bytes beside its text, and what is planned with it as much
    again."""
    return sum([_OF_EACH + len(name) + len(value) for name, value in fields])


def pseudonym(name: str) -> str:
    """`name` in the form that Via allows (RFC 9110 section 7.6.3)."""
    return _NOT_IN_TOKEN.sub("-", name)


def has_come_by(fields: Sorted, name: str) -> bool:
    """Whether Via shows that the request has passed here before: `name` is our pseudonym. A member may end in a
    comment."""
    via = fields.held.get("via")
    return via is not None and any(each.split()[1:2] == [name.lower()] for each in elements(via))


def wants_websocket(request: Request, fields: Sorted) -> bool:
    """The one protocol that an exchange may be switched to."""
    if "upgrade" not in fields.held or request.minor == 0 or "upgrade" not in fields.options:
        return False
    return WEBSOCKET in elements(fields.held["upgrade"]) and request.framing.is_empty


def request_fields(
    request: Request, passing: list[tuple[str, str]], name: str, websocket: bool
) -> list[tuple[str, str]]:
    """The fields sent to the destination after Host: `passing`, Via, and those about framing and the connection. `name`
    is our pseudonym."""
    sent = [*passing, ("Via", f"{version_of(request)} {name}")]
    if request.framing.delimiter is Delimiter.LENGTH:
        sent.append(("Content-Length", str(request.framing.length)))
    elif request.framing.delimiter is Delimiter.CHUNKED:
        sent.append(("Transfer-Encoding", "chunked"))
    if websocket:
        sent += [("Connection", "Upgrade"), ("Upgrade", WEBSOCKET)]
    return sent


def response_fields(response: Response, fields: Sorted, name: str, member: str) -> list[tuple[str, str]]:
    """The fields sent to the client, without framing and Connection. `member` is ours in Proxy-Status."""
    sent = [*fields.passing]
    for value in fields.held.get("proxy-status", ()):
        kept = ", ".join(each for each in _members(value) if _member_name(each) != member)
        if kept:
            sent.append(("Proxy-Status", kept))
    sent.append(("Via", f"{version_of(response)} {name}"))
    return sent


def trailers_of(end: End) -> Fields:
    """The trailers that are forwarded: none that frames, routes or authenticates (RFC 9110 section 6.5.1), and none
    that Connection names (section 7.6.1)."""
    named = _named_by(frozenset(end.options))
    return tuple([each for each in end.trailers if _may_trail(each[0].lower()) and each[0].lower() not in named])


def _may_trail(lower: str) -> bool:
    return lower not in _NOT_IN_TRAILERS and not lower.startswith(_OURS)


def _members(value: str) -> list[str]:
    """The members of a list of RFC 8941: commas within quotes do not separate."""
    return [each.strip() for each in re.findall(r'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+', value)]


def _member_name(member: str) -> str:
    """`name` of `name; error=...` or of `"name"; ...`."""
    quoted = re.match(r'"((?:[^"\\]|\\.)*)"', member)
    return re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else member.partition(";")[0].strip()
