"""Which header fields go on, and which of our own are added (RFC 9110 section 7.6, RFC 9112).

What describes one connection ends here: framing is written anew from what was parsed, so that the two sides can never
read one message in two ways. A `Connection` header removes what it names but for `KEPT`: fields on which the meaning
of a message rests, and which an attacker would like to have removed behind the back of who sent them.
"""

import re

from gateway.wire.http.messages import Delimiter, End, Fields, Framing, Request, Response, connection_options, elements

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
_FROM_CLIENT = _OF_ONE_CONNECTION | {"host", "proxy-authorization", "proxy-authenticate"}
_FROM_DESTINATION = _OF_ONE_CONNECTION | {"proxy-authenticate", "proxy-authentication-info", "proxy-status"}
_NOT_IN_TRAILERS = (
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

_TOKEN_CHARACTER = re.compile(r"[^!#$%&'*+.^_`|~0-9A-Za-z-]")


def pseudonym(name: str) -> str:
    """`name` as it may stand in Via (RFC 9110 section 7.6.3)."""
    return _TOKEN_CHARACTER.sub("-", name)


def has_come_by(request: Request, name: str) -> bool:
    """Whether Via tells that the request has been here: `name` is our pseudonym."""
    return any(each.partition(" ")[2].strip() == name.lower() for each in elements(request.values("via")))


def wants_websocket(request: Request) -> bool:
    """The one protocol that an exchange may be switched to."""
    return WEBSOCKET in request.upgrade and request.framing.delimiter is Delimiter.NONE


def request_fields(request: Request, host: str, name: str, websocket: bool) -> list[tuple[str, str]]:
    """What the destination is sent. `host` is the one that was judged; `name` is our pseudonym."""
    fields = [("Host", host), *_passing(request.fields, _FROM_CLIENT)]
    fields.append(("Via", f"1.{request.minor} {name}"))
    _add_framing(fields, request.framing)
    if websocket:
        fields += [("Connection", "Upgrade"), ("Upgrade", WEBSOCKET)]
    return fields


def response_fields(response: Response, name: str, member: str) -> list[tuple[str, str]]:
    """What the client is sent, but for framing and Connection. `member` is ours in Proxy-Status."""
    fields = _passing(response.fields, _FROM_DESTINATION)
    for value in response.values("proxy-status"):
        kept = ", ".join(each for each in _members(value) if _member_name(each) != member)
        if kept:
            fields.append(("Proxy-Status", kept))
    fields.append(("Via", f"1.{response.minor} {name}"))
    return fields


def switched_fields(response: Response, name: str, member: str) -> list[tuple[str, str]]:
    """Those of a 101 to a WebSocket."""
    return [*response_fields(response, name, member), ("Connection", "Upgrade"), ("Upgrade", WEBSOCKET)]


def trailers_of(end: End) -> Fields:
    """Those that may follow content: none that frames, routes, or speaks for somebody (RFC 9110 section 6.5.1)."""
    return tuple([each for each in end.trailers if _may_trail(each[0].lower())])


def _may_trail(lower: str) -> bool:
    return lower not in _NOT_IN_TRAILERS and not lower.startswith("x-egress-")


def _passing(fields: Fields, dropped: frozenset[str]) -> list[tuple[str, str]]:
    named = connection_options(fields) - _HARMLESS_OPTIONS - KEPT
    if named:
        dropped = dropped | named
    return [
        field for field in fields if (lower := field[0].lower()) not in dropped and not lower.startswith("x-egress-")
    ]


def _add_framing(fields: list[tuple[str, str]], framing: Framing) -> None:
    if framing.delimiter is Delimiter.LENGTH:
        fields.append(("Content-Length", str(framing.length)))
    elif framing.delimiter is Delimiter.CHUNKED:
        fields.append(("Transfer-Encoding", "chunked"))


def _members(value: str) -> list[str]:
    """The members of a list of RFC 8941: commas within quotes do not separate."""
    return [each.strip() for each in re.findall(r'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+', value)]


def _member_name(member: str) -> str:
    """`name` of `name; error=...` or of `"name"; ...`."""
    quoted = re.match(r'"((?:[^"\\]|\\.)*)"', member)
    return re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else member.partition(";")[0].strip()
