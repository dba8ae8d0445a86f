"""An allowed origin that lies: what it answers must never become two answers, or an answer to somebody else."""

from gateway.model.reasons import Reason
from tests.abuse.http.case import NAME, Case, head
from tests.helpers.recording_origin import Answer

_6_1, _6_3, _7_1, _2_2 = (f"RFC 9112 section {number}" for number in ("6.1", "6.3", "7.1", "2.2"))
_EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
GOT_X = (("GET /x", b""),)
_GET = head("GET /x")


def _answer(line: str, *fields: str, content: bytes = b"") -> bytes:
    return "\r\n".join([line, *fields, "", ""]).encode("latin-1") + content


def _ok(*fields: str, content: bytes = b"hello") -> bytes:
    return _answer("HTTP/1.1 200 OK", *fields, content=content)


def refused(
    name: str, source: str, data: bytes, after: str = "close", reason: Reason = Reason.MALFORMED_RESPONSE
) -> Case:
    """The client gets our 502 and none of it."""
    return Case(f"answer: {name}", source, (_GET,), (502,), GOT_X, reason, goes_on=True, answers=(Answer(data, after),))


def broken(name: str, source: str, data: bytes, reason: Reason, after: str = "close") -> Case:
    """The head went out before the fault showed: the client must see that the rest is missing."""
    return Case(
        f"answer: {name}", source, (_GET,), (200,), GOT_X, reason, answers=(Answer(data, after),), is_whole=False
    )


def taken(name: str, source: str, data: bytes, after: str = "keep", *, told: int = 200) -> Case:
    """Legal, or harmless once written anew: the client gets one answer, and the next request its own."""
    return Case(f"answer: {name}", source, (_GET,), (told,), GOT_X, goes_on=True, answers=(Answer(data, after),))


HEADS = (
    refused("CL and TE", "HAProxy http_transfer_encoding.vtc",
            _ok("Content-Length: 5", "Transfer-Encoding: chunked", content=b"0\r\n\r\n" + _EVIL)),
    refused("two CLs", _6_3, _ok("Content-Length: 5", "Content-Length: 1")),
    refused("CL as a list of different", _6_3, _ok("Content-Length: 5, 1")),
    refused("CL +5", "http-garden 10", _ok("Content-Length: +5")),
    refused("CL -1", "http-garden 10", _ok("Content-Length: -1")),
    refused("CL empty", "http-garden 10", _ok("Content-Length:")),
    refused("CL beyond 64 bits", "CVE-2020-11724", _ok("Content-Length: 18446744073709551621")),
    refused("TE in HTTP/1.0", _6_1, _answer("HTTP/1.0 200 OK", "Transfer-Encoding: chunked",
            content=b"5\r\nhello\r\n0\r\n\r\n")),
    refused("TE xchunked", _6_1, _ok("Transfer-Encoding: xchunked", content=b"5\r\nhello\r\n0\r\n\r\n")),
    refused("TE chunked twice", _6_1, _ok("Transfer-Encoding: chunked, chunked", content=b"5\r\nhello\r\n0\r\n\r\n")),
    refused("TE on 204", _6_1, _answer("HTTP/1.1 204 No", "Transfer-Encoding: chunked",
            content=b"5\r\nhello\r\n0\r\n\r\n")),
    refused("a bare CR in a value", _2_2, _ok("X: a\rb", "Content-Length: 5")),
    refused("a bare LF", _2_2, _ok("X: a\nSet-Cookie: evil", "Content-Length: 5")),
    refused("a NUL in a value", "RFC 9110 section 5.5", _ok("X: a\0b", "Content-Length: 5")),
    refused("a folded field", "RFC 9112 section 5.2", _ok("X: a\r\n b", "Content-Length: 5")),
    refused("a blank before the colon", "RFC 9112 section 5.1", _ok("Content-Length : 5")),
    refused("a field without colon", "RFC 9112 section 5.1", _ok("X", "Content-Length: 5")),
    refused("LF alone everywhere", _2_2, _ok("Content-Length: 5").replace(b"\r\n", b"\n")),
    refused("HTTP/0.9", "A-145", b"<html>hello</html>"),
    refused("garbage", "A-145", bytes(range(256))),
    refused("a TLS alert", "C-056", bytes((21, 3, 3, 0, 2, 2, 40))),
    refused("HTTP/2.0", "RFC 9112 section 4", _answer("HTTP/2.0 200 OK", "Content-Length: 5", content=b"hello")),
    refused("ICY", "RFC 9112 section 4", _answer("ICY 200 OK", "Content-Length: 5", content=b"hello")),
    refused("status 20", "RFC 9112 section 4", _answer("HTTP/1.1 20 OK", "Content-Length: 5", content=b"hello")),
    refused("status 2000", "RFC 9112 section 4", _answer("HTTP/1.1 2000 OK", "Content-Length: 5", content=b"hello")),
    refused("status 099", "RFC 9110 section 15", _answer("HTTP/1.1 099 No", "Content-Length: 5", content=b"hello")),
    refused("a status line of 70,000 bytes", "A-140", _answer(f"HTTP/1.1 200 {'x' * 70_000}", "Content-Length: 5",
            content=b"hello"),
            reason=Reason.RESPONSE_HEAD_TOO_LARGE),
    refused("a field of 1 MB", "squid reply_header_max_size", _ok("X: " + "a" * 1_000_000, "Content-Length: 5"),
            reason=Reason.RESPONSE_HEAD_TOO_LARGE),
    refused("10,000 fields", "A-140", _ok(*["X: a"] * 10_000, "Content-Length: 5"),
            reason=Reason.RESPONSE_HEAD_TOO_LARGE),
    refused("a flood of 1xx", "own", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10_000 + _ok("Content-Length: 5")),
    refused("a 101 to a plain request", "RFC 9110 section 15.2.2",
            _answer("HTTP/1.1 101 Switching Protocols", "Upgrade: x", "Connection: upgrade", content=_EVIL)),
    refused("half a head", "A-145", b"HTTP/1.1 200 OK\r\nContent-Le", reason=Reason.RESPONSE_INCOMPLETE),
)  # fmt: skip

BODIES = (
    broken("content that ends early", "RFC 9112 section 8", _ok("Content-Length: 500"), Reason.RESPONSE_INCOMPLETE),
    broken("content that is reset", "RFC 9112 section 8", _ok("Content-Length: 500"), Reason.RESPONSE_INCOMPLETE,
           "reset"),
    broken("chunks that end early", "RFC 9112 section 8", _ok("Transfer-Encoding: chunked", content=b"5\r\nhello\r\n"),
           Reason.RESPONSE_INCOMPLETE),
    broken("a chunk size of 0x5", "http-garden, chunk sizes", _ok("Transfer-Encoding: chunked",
           content=b"0x5\r\nhello\r\n0\r\n\r\n"),
           Reason.MALFORMED_RESPONSE),
    broken("a chunk size of 17 digits", "http-garden, chunk sizes",
           _ok("Transfer-Encoding: chunked", content=b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
               Reason.MALFORMED_RESPONSE),
    broken("a chunk ended by LF", "CVE-2025-22871", _ok("Transfer-Encoding: chunked", content=b"5\nhello\n0\n\n"),
           Reason.MALFORMED_RESPONSE),
    broken("a chunk longer than its size", _7_1, _ok("Transfer-Encoding: chunked", content=b"3\r\nhello\r\n0\r\n\r\n"),
           Reason.MALFORMED_RESPONSE),
    broken("a trailer of 70,000 bytes", "own",
           _ok("Transfer-Encoding: chunked", content=b"5\r\nhello\r\n0\r\nX: " + b"a" * 70_000 + b"\r\n\r\n"),
           Reason.MALFORMED_RESPONSE),
)  # fmt: skip

SPLITTING = (
    taken("two answers to one request", "response splitting", _ok("Content-Length: 5") + _EVIL),
    taken("an answer behind the chunks", "response splitting",
          _ok("Transfer-Encoding: chunked", content=b"5\r\nhello\r\n0\r\n\r\n") + _EVIL),
    refused("content on 204", "A-135", _answer("HTTP/1.1 204 No Content", "Content-Length: 4", content=_EVIL)),
    taken("content on 304", "A-135", _answer("HTTP/1.1 304 Not Modified", "Content-Length: 4", content=_EVIL),
          told=304),
    Case("answer: nothing to a POST", "C-058", (head("POST /x", "Content-Length: 5") + b"hello",), (502,),
         (("POST /x", b"hello"),), Reason.CONNECTION_TERMINATED, goes_on=True, answers=(Answer(b"", "close"),)),
    Case("answer: a reset to a POST", "C-058", (head("POST /x", "Content-Length: 5") + b"hello",), (502,),
         (("POST /x", b"hello"),), Reason.CONNECTION_TERMINATED, goes_on=True, answers=(Answer(b"", "reset"),)),
    Case("answer: content for HEAD", "A-135", (head("HEAD /x"),), (200,), (("HEAD /x", b""),), goes_on=True,
         answers=(Answer(_ok("Content-Length: 5") + _EVIL),), bodiless=True),
    Case("answer: an early one, the content unread", "A-104",
         (head("POST /x", "Content-Length: 5") + b"hello",), (413,), (("POST /x", b"hello"),), goes_on=True,
         answers=(Answer(_answer("HTTP/1.1 413 Too Large", "Content-Length: 0"), "early"),)),
)  # fmt: skip

HARMLESS = (
    taken("a redirect to a forbidden host", "A-142",
          _answer("HTTP/1.1 302 Found", "Location: http://forbidden.test/", "Content-Length: 0"), told=302),
    taken("our own fields", "smokescreen TestClearsErrorHeader",
          _ok("X-Egress-Request-Id: forged", f"Proxy-Status: {NAME}; error=destination_unavailable",
              "Content-Length: 5")),
    taken("fields for one hop", "RFC 9110 section 7.6.1",
          _ok("Connection: X-Hop", "X-Hop: 1", "Keep-Alive: timeout=5", "Proxy-Authenticate: Basic",
              "Content-Length: 5")),
    taken("no reason phrase", "RFC 9112 section 4", _answer("HTTP/1.1 200 ", "Content-Length: 5", content=b"hello")),
    taken("HTTP/1.0", "RFC 9112 section 9.3", _answer("HTTP/1.0 200 OK", "Content-Length: 5", content=b"hello"),
          "close"),
    taken("1xx before it", "RFC 9110 section 15.2",
          b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + _ok("Content-Length: 5")),
    taken("content up to the close", "RFC 9112 section 6.3", _ok("Connection: close"), "close"),
    taken("chunk extensions and a trailer", _7_1,
          _ok("Transfer-Encoding: chunked", content=b"5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n")),
    taken("a refusal that asks for credentials", "RFC 9110 section 11.6.1",
          _answer("HTTP/1.1 401 No", "WWW-Authenticate: Basic realm=x", "Content-Length: 0"), told=401),
)  # fmt: skip

RESPONSES: tuple[Case, ...] = (*HEADS, *BODIES, *SPLITTING, *HARMLESS)
