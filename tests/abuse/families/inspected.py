"""HTTP/2 inside TLS that the proxy ends: floods, frames and heads that no honest client sends, other hosts, stalls.

A proxy that offers no HTTP/2 there is sent the same, and must not take it for anything.
"""

import struct
from collections.abc import Callable

from gateway.model.reasons import Reason
from tests.abuse.case import Case, Need
from tests.abuse.inspected import frames as f
from tests.abuse.inspected.plays import (
    BAD,
    GOOD,
    Fields,
    Judge,
    Plays,
    answers,
    ends,
    get,
    post,
    refuses,
    refuses_text,
)

_9113 = "RFC 9113"
_FLOOD = Reason.HTTP2_FLOOD
_NEEDS = frozenset({Need.INTERCEPTS})
_ENDS = "the connection is ended; the destination gets neither frames nor requests of it"
_REFUSES = "the stream is reset or refused, or the connection ended; no such request arrives"

Says = Callable[[str], bytes]


def _case(
    what: str, source: str, play: Plays, expected: str, reason: Reason | None = None, waits: bool = False
) -> Case:
    shown = play.begins + play.said("inspected.test:<port>")
    is_control = expected.startswith("answered")
    return Case("inspected", what, source, shown, expected, play, reason, _NEEDS, is_control, waits)


# ------------------------------------------------------------------------------------------------------------- floods


def _opened(authority: str) -> bytes:
    return f.head(1, post(authority, GOOD), ends=False)


def _flood(what: str, source: str, said: Says, reason: Reason | None = _FLOOD) -> Case:
    return _case(what, source, Plays(said, ends), _ENDS, reason)


def _bomb() -> bytes:
    """One entry of 4,000 bytes, named a hundred times."""
    length = b"\x7f" + bytes([(4000 - 127) & 0x7F | 0x80, (4000 - 127) >> 7])
    return f.frame(f.HEADERS, f.END_HEADERS | f.END_STREAM, 1, b"\x40\x01a" + length + b"x" * 4000 + b"\xbe" * 100)


def _many(block: bytes, then: Callable[[int], bytes] = lambda stream: b"", ends: bool = True) -> bytes:
    """Two thousand streams with the same head."""
    flags = f.END_HEADERS | (f.END_STREAM if ends else 0)
    return b"".join(f.frame(f.HEADERS, flags, n, block) + then(n) for n in range(1, 4001, 2))


_CUT = f.frame(f.HEADERS, 0, 1, b"\x82")

FLOODS = (
    _flood(
        "rapid resets",
        "CVE-2023-44487",
        lambda a: _many(f.block(post(a, GOOD)), f.reset, ends=False),
        None,
    ),
    _flood(
        "streams that the proxy has to reset",
        "CVE-2025-8671 (MadeYouReset)",
        lambda a: _many(f.block(post(a, GOOD)), lambda stream: f.window(stream, 0), ends=False),
        None,
    ),
    _flood(
        "malformed requests one after the other",
        "CVE-2025-8671 (MadeYouReset)",
        lambda a: _many(f.block(get(a, GOOD, ("connection", "close")))),
        None,
    ),
    _flood(
        "empty CONTINUATIONs without end",
        "CVE-2024-27316 and kin",
        lambda a: _CUT + f.frame(f.CONTINUATION, 0, 1) * 5000,
    ),
    _flood(
        "a block without end",
        "CVE-2024-27316 and kin",
        lambda a: _CUT + f.frame(f.CONTINUATION, 0, 1, b"\x82" * 16000) * 40,
    ),
    _flood("SETTINGS without end", "CVE-2019-9515", lambda a: f.settings(_3=100) * 10_000),
    _flood("PINGs without end", "CVE-2019-9512", lambda a: f.frame(f.PING, 0, 0, bytes(8)) * 10_000),
    _flood("empty DATA without end", "CVE-2019-9518", lambda a: _opened(a) + f.data(1) * 10_000),
    _flood("padding without end", "CVE-2019-9518", lambda a: _opened(a) + f.frame(f.DATA, f.PADDED, 1, b"\0") * 10_000),
    _flood("PRIORITY without end", "CVE-2019-9513", lambda a: f.frame(f.PRIORITY, 0, 1, bytes(4) + b"\x10") * 10_000),
    _flood("frames of an unknown kind without end", "RFC 9113 section 10.5", lambda a: f.frame(0xBE, 0, 1) * 10_000),
    _flood("tiny windows without end", "RFC 9113 section 10.5", lambda a: _opened(a) + f.window(1, 1) * 40_000),
    _flood("GOAWAYs without end", "RFC 9113 section 10.5", lambda a: f.frame(f.GOAWAY, 0, 0, bytes(8)) * 10_000),
    _flood(
        "hundreds of fields in a head of 1 KB",
        "CVE-2016-1544 and kin",
        lambda a: _many(f.block(get(a, GOOD)) + b"\x90" * 900),
    ),
    _flood("a head that unfolds", "CVE-2016-1544 and kin (HPACK bomb)", lambda a: _bomb()),
    _flood("fields without a name", "CVE-2019-9516", lambda a: _many(f.block(get(a, BAD, *[("", "")] * 90))), None),
)

# -------------------------------------------------------------------------------------------------- a whole connection

_MALFORMED: tuple[tuple[str, str, Says], ...] = (
    ("a frame that is too large", "section 4.2", lambda a: _opened(a) + f.data(1, bytes(16385))),
    ("DATA of no stream", "section 6.1", lambda a: f.data(0, b"x")),
    ("DATA on an idle stream", "section 5.1", lambda a: f.data(5, b"x")),
    ("a reset of an idle stream", "section 6.4", lambda a: f.reset(5)),
    ("a window for an idle stream", "section 5.1", lambda a: f.window(5, 1)),
    ("a stream with an even number", "section 5.1.1", lambda a: f.head(2, get(a))),
    ("a stream with a lower number", "section 5.1.1", lambda a: f.head(5, get(a, GOOD)) + f.head(3, get(a))),
    ("a CONTINUATION of nothing", "section 6.10", lambda a: f.frame(f.CONTINUATION, 4, 1, f.block(get(a)))),
    ("a frame within a block", "section 6.10", lambda a: _CUT + f.frame(f.PING, 0, 0, bytes(8))),
    ("a block that goes on elsewhere", "section 6.10", lambda a: _CUT + f.frame(f.CONTINUATION, 4, 3, f.block(get(a)))),
    ("more padding than content", "section 6.1", lambda a: _opened(a) + f.frame(f.DATA, f.PADDED, 1, b"\x05x")),
    ("a block that cannot be read", "RFC 7541 section 5.1", lambda a: f.frame(f.HEADERS, 5, 1, b"\xff" * 5)),
    ("an index beyond the table", "RFC 7541 section 2.3.3", lambda a: f.frame(f.HEADERS, 5, 1, b"\xfe")),
    ("a table beyond its bound", "RFC 7541 section 6.3", lambda a: f.frame(f.HEADERS, 5, 1, b"\x3f\xff\xff\x7f\x82")),
    ("a PING that is too short", "section 6.7", lambda a: f.frame(f.PING, 0, 0, b"1234")),
    ("a PING of a stream", "section 6.7", lambda a: f.frame(f.PING, 0, 1, bytes(8))),
    ("SETTINGS that are cut", "section 6.5", lambda a: f.frame(f.SETTINGS, 0, 0, b"12345")),
    ("an acknowledgement that says something", "section 6.5", lambda a: f.frame(f.SETTINGS, f.ACK, 0, bytes(6))),
    ("ENABLE_PUSH of two", "section 6.5.2", lambda a: f.settings(_2=2)),
    ("a window of all streams beyond its bound", "section 6.5.2", lambda a: f.settings(_4=1 << 31)),
    ("the connection's window beyond its bound", "section 6.9.1", lambda a: f.window(0, 0x7FFFFFFF)),
    ("a window that grows by nothing", "section 6.9", lambda a: f.window(0, 0)),
    ("a push by a client", "section 8.4", lambda a: _opened(a) + f.frame(f.PUSH, 4, 1, struct.pack(">I", 2) + b"\x82")),
    ("a request in HTTP/1.1 instead of the preface", "section 3.4", lambda a: b""),
)


def _connection(what: str, source: str, said: Says) -> Case:
    source = f"{_9113} {source}" if source.startswith("section") else source
    begins = f.PREFACE + f.settings()
    if what.endswith("the preface"):
        begins = b"GET /bad HTTP/1.1\r\nHost: inspected.test\r\n\r\n"
    return _case(what, source, Plays(said, ends, begins=begins), _ENDS, Reason.MALFORMED_REQUEST)


CONNECTIONS = tuple(_connection(*each) for each in _MALFORMED)

# ------------------------------------------------------------------------------------------------------------ requests


def _at_its_port(authority: str, host: str) -> str:
    """Another host at the port of the tunnel: nothing but its name is wrong with it."""
    return f"{host}:{authority.rpartition(':')[2]}"


_8_2_2, _8_3, _8_3_1 = (f"{_9113} section {number}" for number in ("8.2.2", "8.3", "8.3.1"))
_SMUGGLING = "PortSwigger, HTTP/2: the sequel is always worse"

_REQUESTS: tuple[tuple[str, str, Callable[[str], Fields]], ...] = (
    ("another authority", "own", lambda a: get(a, authority=_at_its_port(a, "forbidden.test"))),
    ("another port", "own", lambda a: get(a, authority="inspected.test:443")),
    ("an internal address as authority", "own", lambda a: get(a, authority=_at_its_port(a, "127.0.0.2"))),
    ("a denied authority", "own", lambda a: get(a, authority=_at_its_port(a, "denied.test"))),
    ("Host that differs", _8_3_1, lambda a: get(a, BAD, ("host", "forbidden.test"))),
    ("no authority but another Host", _8_3_1, lambda a: get(a, BAD, ("host", "forbidden.test"), authority="")),
    ("two Hosts", _8_3_1, lambda a: get(a, BAD, ("host", a), ("host", a))),
    ("neither authority nor Host", _8_3_1, lambda a: get(a, authority="")),
    ("user information", _8_3_1, lambda a: get(a, authority=f"inspected.test@{a}")),
    ("two authorities", _8_3, lambda a: [*get(a), (":authority", "forbidden.test")]),
    ("two paths", _8_3, lambda a: [*get(a), (":path", "/bad")]),
    ("a pseudo-header field behind others", _8_3, lambda a: [*get(a, path=""), ("a", "b"), (":path", BAD)]),
    ("an unknown pseudo-header field", _8_3, lambda a: [(":odd", "1"), *get(a)]),
    ("a status in a request", _8_3, lambda a: [(":status", "200"), *get(a)]),
    ("a path without a slash", _SMUGGLING, lambda a: get(a, "@forbidden.test/bad")),
    ("a path with a line end", _SMUGGLING, lambda a: get(a, "/bad HTTP/1.1\r\nHost: forbidden.test\r\nx: ")),
    ("a path with a blank", _SMUGGLING, lambda a: get(a, "/bad x")),
    ("a method with a line end", _SMUGGLING, lambda a: get(a, method="GET /bad HTTP/1.1\r\nx: ")),
    ("a name with a line end", _SMUGGLING, lambda a: get(a, BAD, ("x: y\r\nhost", "forbidden.test"))),
    ("a name with a colon", _SMUGGLING, lambda a: get(a, BAD, ("host: forbidden.test", "x"))),
    ("a name with capitals", "RFC 9113 section 8.2.1", lambda a: get(a, BAD, ("Accept", "*/*"))),
    ("a value with CR and LF", _SMUGGLING, lambda a: get(a, BAD, ("x", "y\r\nhost: forbidden.test"))),
    ("a value with LF", _SMUGGLING, lambda a: get(a, BAD, ("x", "y\nhost: forbidden.test"))),
    ("a value with NUL", "RFC 9113 section 8.2.1", lambda a: get(a, BAD, ("x", "y\0z"))),
    ("Connection", _8_2_2, lambda a: get(a, BAD, ("connection", "x"))),
    ("Transfer-Encoding", _SMUGGLING, lambda a: post(a, BAD, ("transfer-encoding", "chunked"))),
    ("an upgrade", _8_2_2, lambda a: get(a, BAD, ("upgrade", "h2c"))),
    ("TE other than trailers", _8_2_2, lambda a: get(a, BAD, ("te", "gzip"))),
    ("CONNECT to another host", "RFC 9113 section 8.5", lambda a: [(":method", "CONNECT"), (":authority", "x:443")]),
    ("extended CONNECT for something else", "RFC 8441", lambda a: [*get(a, method="CONNECT"), (":protocol", "x")]),
    ("a length without content", _SMUGGLING, lambda a: post(a, BAD, ("content-length", "5"))),
    ("two lengths", _SMUGGLING, lambda a: post(a, BAD, ("content-length", "0"), ("content-length", "0"))),
)  # fmt: skip


_REASONS = {
    "another authority": Reason.HOST_MISMATCH,
    "another port": Reason.HOST_MISMATCH,
    "an internal address as authority": Reason.HOST_MISMATCH,
    "a denied authority": Reason.HOST_DENIED,
    "no authority but another Host": Reason.HOST_MISMATCH,
    "CONNECT to another host": Reason.NOT_A_PROXY_REQUEST,
}


def _request(what: str, source: str, fields: Callable[[str], Fields]) -> Case:
    play = Plays(
        lambda a: f.head(1, fields(a)),
        refuses,
        bad=lambda seen, authority: True,
        waits_for=(1,),
    )
    return _case(what, source, play, _REFUSES, _REASONS.get(what, Reason.MALFORMED_REQUEST))


REQUESTS = tuple(_request(*each) for each in _REQUESTS)

# -------------------------------------------------------------------------------------------------------------- stalls

_STALLS: tuple[tuple[str, str, Says], ...] = (
    ("only the preface", "Slowloris", lambda a: b""),
    ("a block that never ends", "Slowloris", lambda a: _CUT),
    ("a frame that never comes whole", "Slowloris", lambda a: f.head(1, get(a))[:-3]),
    ("content that never ends", "Slowloris", lambda a: _opened(a) + f.data(1, b"x")),
    ("an answer that is never read", "CVE-2019-9511", lambda a: f.settings(_4=0) + f.head(1, get(a, "/big"))),
    ("an answer that is read by the byte", "CVE-2019-9517", lambda a: f.settings(_4=1) + f.head(1, get(a, "/big"))),
)
STALLS = tuple(
    _case(what, source, Plays(said, ends, stalls=True), "the connection is ended in time", None, waits=True)
    for what, source, said in _STALLS
)

# ------------------------------------------------------------------------------------------------ inside HTTP/1.1 of it

_H2C = b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


def _upgrade(what: str, connection: bytes) -> Case:
    def said(authority: str) -> bytes:
        lines = b"GET /good HTTP/1.1\r\nHost: %s\r\n%s%s\r\n" % (authority.encode(), connection, _H2C)
        return lines + f.PREFACE + f.settings() + f.head(1, get(authority))

    play = Plays(
        said,
        refuses_text,
        bad=lambda seen, authority: seen.path != GOOD or bool(seen.values("upgrade") or seen.values("http2-settings")),
        begins=b"",
        alpn="http/1.1",
    )
    return _case(what, "RFC 7540 section 3.2; h2c smuggling", play, "no upgrade is passed on, nor made")


UPGRADES = (
    _upgrade("an upgrade to h2c in HTTP/1.1", b"Connection: Upgrade, HTTP2-Settings\r\n"),
    _upgrade("an upgrade to h2c that Connection does not name", b""),
    _case(
        "HTTP/2 where HTTP/1.1 was agreed",
        "RFC 9113 section 3.2",
        Plays(lambda a: f.head(1, get(a)), ends, bad=lambda seen, authority: True, alpn="http/1.1"),
        _ENDS,
        Reason.NOT_A_PROXY_REQUEST,
    ),
)

# ------------------------------------------------------------------------------------------------------------ controls


def _control(what: str, count: int, said: Says) -> Case:
    judge: Judge = answers(count)
    streams = tuple(range(1, 2 * count, 2))
    return _case(what, _9113, Plays(said, judge, waits_for=streams), "answered, each stream with 200")


def _in_three(authority: str) -> bytes:
    whole = f.block(get(authority, GOOD))
    first = f.frame(f.HEADERS, f.END_STREAM, 1, whole[:5])
    return first + f.frame(f.CONTINUATION, 0, 1, whole[5:9]) + f.frame(f.CONTINUATION, 4, 1, whole[9:])


CONTROLS = (
    _control("a request", 1, lambda a: f.head(1, get(a, GOOD))),
    _control("fifty at once", 50, lambda a: b"".join(f.head(n, get(a, GOOD)) for n in range(1, 100, 2))),
    _control("content in pieces", 1, lambda a: _opened(a) + f.data(1, b"x") * 20 + f.data(1, b"y", ends=True)),
    _control("padded content", 1, lambda a: _opened(a) + f.frame(f.DATA, 9, 1, b"\x03xy\0\0\0")),
    _control("trailers", 1, lambda a: _opened(a) + f.data(1, b"x") + f.head(1, [("x-sum", "1")])),
    _control("a few PINGs", 1, lambda a: f.frame(f.PING, 0, 0, bytes(8)) * 5 + f.head(1, get(a, GOOD))),
    _control("a head in three frames", 1, _in_three),
    _control("frames of an unknown kind", 1, lambda a: f.frame(0xBE, 0, 0, b"x") * 5 + f.head(1, get(a, GOOD))),
)


CASES: tuple[Case, ...] = (*FLOODS, *CONNECTIONS, *REQUESTS, *STALLS, *UPGRADES, *CONTROLS)
