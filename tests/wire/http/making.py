"""Messages for the fuzz tests: valid ones by their grammar, and what damage turns them into."""

import os

from hypothesis import settings
from hypothesis import strategies as st

LONG = "FUZZ_EXAMPLES" in os.environ
FUZZ = settings(max_examples=int(os.environ.get("FUZZ_EXAMPLES", "100")), derandomize=not LONG)
"""For each property the same few hundred examples; `FUZZ_EXAMPLES=100000` takes so many new ones."""

METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "QUERY", "PROPFIND", "M-SEARCH", "PURGE"]
TARGETS = [
    "http://a.test/",
    "http://a.test",
    'HTTP://A.test:8080?q=%20&x=[]{}|^`\\"<>',
    "http://user:p%40ss@a.test/",
    "http://[2001:db8::1]:80/x;y=z,!$&'()*+",
    "ftp://a_b.test/",
    "/",
    "/path?query",
    "*",
]
FIELDS = st.lists(
    st.sampled_from(
        """\
Accept: */*
x:
X-A:b
!#$%&'*+.^_`|~-0Az: \t caf\xe9 \t
Cookie:\ta=b; c="d"
A: b: c, :d
Connection: close
Connection: keep-alive
connection:x, Close
Connection: TE, Upgrade
Upgrade: h2c, websocket
Expect: 100-continue
Set-Cookie: a
Set-Cookie: b""".splitlines()
    ),
    max_size=4,
)
BLANKS = st.sampled_from([" ", "", "\t", "  "])


@st.composite
def chunked_bodies(draw: st.DrawFn) -> bytes:
    body = b""
    for data in draw(st.lists(st.binary(min_size=1, max_size=20), max_size=3)):
        size = draw(st.sampled_from(["%x", "%X", "%04x", "%015x"])) % len(data)
        body += size.encode() + draw(extensions()) + b"\r\n" + data + b"\r\n"
    trailers = draw(st.lists(st.sampled_from(["X-Sum: 1", "x:", "Y:\t a \t"]), max_size=2))
    return body + b"0" + draw(extensions()) + b"\r\n" + "".join([f"{line}\r\n" for line in trailers]).encode() + b"\r\n"


def extensions() -> st.SearchStrategy[bytes]:
    return st.lists(st.sampled_from([b";a", b";a=b", b';a="b;=c"', b';a="\\""']), max_size=2).map(b"".join)


@st.composite
def framed(draw: st.DrawFn, minor: int) -> tuple[list[str], bytes]:
    """Framing fields, and the content that they frame."""
    kind = draw(st.sampled_from(["none", "length", "chunked"] if minor else ["none", "length"]))
    if kind == "none":
        return [], b""
    if kind == "length":
        content = draw(st.binary(max_size=30))
        return [f"{draw(st.sampled_from(['Content-Length', 'content-length']))}: {len(content)}"], content
    return [f"Transfer-Encoding:{draw(BLANKS)}{draw(st.sampled_from(['chunked', 'Chunked']))}"], draw(chunked_bodies())


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One valid request."""
    minor = draw(st.sampled_from([1, 1, 0]))
    framing, content = draw(framed(minor))
    hosts = ["Host: a.test"] if minor or draw(st.booleans()) else []
    fields = _shuffled(draw, [*draw(FIELDS), *framing, *hosts])
    connect = draw(st.sampled_from([False] * 7 + [True])) and not content and not framing
    first = "CONNECT a.test:443" if connect else f"{draw(st.sampled_from(METHODS))} {draw(st.sampled_from(TARGETS))}"
    empty_line = draw(st.sampled_from([b"", b"", b"\r\n"]))
    return empty_line + _head(f"{first} HTTP/1.{minor}", fields) + content


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """Interim responses and one final response to a GET, all valid; its content may last until close."""
    minor = draw(st.sampled_from([1, 1, 0]))
    framing, content = draw(framed(minor))
    status = draw(st.sampled_from([200, 206, 301, 404, 503, 204, 304, 599]))
    if status in (204, 304):
        framing, content = [], b""
    elif not framing:
        content = draw(st.binary(max_size=20))
    phrase = draw(st.sampled_from(["", " ", " OK", " Not \xe9 Found\t", " HTTP/1.1 200"]))
    fields = _shuffled(draw, [*draw(FIELDS), *framing])
    interim = draw(
        st.sampled_from([b"", b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103\r\nLink: x\r\n\r\n" * 2])
    )
    return interim + _head(f"HTTP/1.{minor} {status}{phrase}", fields) + content


def _shuffled(draw: st.DrawFn, lines: list[str]) -> list[str]:
    at = draw(st.integers(0, len(lines)))
    return lines[at:] + lines[:at]


def _head(first_line: str, fields: list[str]) -> bytes:
    return "\r\n".join([first_line, *fields, "", ""]).encode("latin-1")


TROUBLE = st.sampled_from(
    b"|\r|\n|\r\n|\n\n|\r\n |\0|\t|\x0b|\x7f|\xe9|\xff| |:|x|0|5|+|-|_|;|=|,|/|#|@| :|0x|HTTP/1.1| HTTP/1.1".split(b"|")
)
LINES = st.sampled_from(
    b"""\
Content-Length: 5
Content-Length: 0
Content-Length: +5
Content-Length: 5, 5
Content-Length: 05
Content-Length: 0x5
Content-Length: 5 5
Content-Length: 99999999999999999999
Content-Length:
Transfer-Encoding: chunked
Transfer-Encoding: identity
Transfer-Encoding: gzip, chunked
Transfer-Encoding: chunked, chunked
Transfer-Encoding: chunked, gzip
Transfer-Encoding: chunked;q=1
Transfer-Encoding: \x0bchunked
Transfer-Encoding: xchunked
Transfer-Encoding: ,
Transfer-Encoding:
Transfer-Encoding : chunked
Host: b.test
Connection: upgrade
Connection: close
Connection: keep-alive, Host
Upgrade: h2c
 folded
\tfolded
X\0: y
X
: y""".split(b"\n")
)


@st.composite
def damaged(draw: st.DrawFn, messages: st.SearchStrategy[bytes]) -> bytes:
    """A message with up to three faults: bytes put in, taken out or repeated, lines that frame otherwise."""
    data = draw(messages)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["byte", "line", "line", "cut", "again"])):
            case "byte":
                data = data[:at] + draw(TROUBLE) + data[at + draw(st.integers(0, 1)) :]
            case "line":
                ends = [i + 2 for i in range(len(data)) if data.startswith(b"\r\n", i)]
                at = draw(st.sampled_from(ends or [0]))
                data = data[:at] + draw(LINES) + draw(st.sampled_from([b"\r\n", b"\r\n", b"\n"])) + data[at:]
            case "cut":
                data = data[:at] + data[at + draw(st.integers(1, 6)) :]
            case "again":
                data = data[:at] + data[max(0, at - draw(st.integers(1, 30))) :]
    return data


@st.composite
def cuts(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """The same bytes in a few segments."""
    at = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    return [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)]
