"""Where does the content end? Requests on which two servers could disagree, and legal ones on which none may."""

from gateway.model.reasons import Reason
from tests.abuse.http.case import (
    EMPTY_POST,
    INNER,
    POSTED,
    SMUGGLED,
    Case,
    chunked,
    head,
    malformed,
    passes,
    post,
    spoilt,
)

TE = "Transfer-Encoding: chunked"
HELLO = b"5\r\nhello\r\n0\r\n\r\n"
_6_1, _6_3, _7_1 = "RFC 9112 section 6.1", "RFC 9112 section 6.3", "RFC 9112 section 7.1"
_CODING, _MALFORMED = Reason.UNSUPPORTED_TRANSFER_CODING, Reason.MALFORMED_REQUEST
_GARDEN = "http-garden, chunk sizes"


def _length(value: str, content: bytes = b"hello" + SMUGGLED) -> bytes:
    return post(f"Content-Length: {value}", content=content)


def _coding(value: str) -> bytes:
    return post(f"Transfer-Encoding: {value}", "Content-Length: 5", content=HELLO + SMUGGLED)


def _only_coding(value: str) -> bytes:
    return post(f"Transfer-Encoding: {value}", content=HELLO + SMUGGLED)


LENGTH_AND_CODING = (
    malformed("CL and TE", f"{_6_1}; tinyproxy#609", post("Content-Length: 6", TE, content=b"0\r\n\r\nG")),
    malformed("TE and CL", _6_1, post(TE, "Content-Length: 4", content=b"5c\r\nG\r\n0\r\n\r\n")),
    malformed("CL and TE, a request inside", _6_3, post("Content-Length: 5", TE, content=b"0\r\n\r\n" + SMUGGLED)),
    malformed("CL 0 and TE", _6_3, post("Content-Length: 0", TE, content=HELLO)),
    malformed("CL and identity", _6_1, _coding("identity")),
    malformed("CL and xchunked", "Http11Probe", _coding("xchunked")),
    malformed("CL and chunked, identity", "Http11Probe", _coding("chunked, identity")),
    malformed("TE after a vertical tab", "Http11Probe", _coding("\x0bchunked")),
    malformed("TE folded", "RFC 9112 section 5.2", _coding("\r\n chunked")),
    malformed("TE with a blank before the colon", "RFC 9112 section 5.1", post("Transfer-Encoding : chunked",
              content=HELLO)),
    malformed("TE behind a bare LF", "RFC 9112 section 2.2", post("X: y\nTransfer-Encoding: chunked", content=HELLO)),
    malformed("TE behind a bare CR", "RFC 9112 section 2.2", post("X: y\rTransfer-Encoding: chunked", content=HELLO)),
    malformed("TE behind a NUL", "RFC 9110 section 5.5", post("X: y\0", TE, content=HELLO)),
    malformed("TE in HTTP/1.0", _6_1, head("POST /post HTTP/1.0", TE) + HELLO),
)  # fmt: skip

LENGTHS = (
    malformed("CL twice, different", "CVE-2020-10108", post("Content-Length: 5", "Content-Length: 0",
              content=b"hello")),
    malformed("CL twice, equal", _6_3, post("Content-Length: 5", "Content-Length: 5", content=b"hello")),
    malformed("CL as a list", _6_3, _length("5, 5")),
    malformed("CL as a list of different", _6_3, _length("5,0")),
    malformed("CL +5", "http-garden 10", _length("+5")),
    malformed("CL -5", "http-garden 10", _length("-5")),
    malformed("CL 0x5", "http-garden 10", _length("0x5")),
    malformed("CL 5_0", "http-garden 10", _length("5_0", b"h" * 50)),
    malformed("CL empty", "http-garden 10", _length("", b"")),
    malformed("CL 5 5", "http-garden 10", _length("5 5")),
    malformed("CL 5;0", "http-garden 10", _length("5;0")),
    malformed("CL beyond 64 bits", "CVE-2020-11724", _length("18446744073709551621")),
    malformed("CL with a superscript digit", "own: str.isdigit", _length("\xb2")),
    malformed("CL with a NUL", "RFC 9110 section 5.5", _length("5\0")),
    malformed("CL with a blank before the colon", "RFC 9112 section 5.1", post("Content-Length : 5", content=b"hello")),
    passes("CL with blanks around", "RFC 9110 section 5.6.3", post("Content-Length: \t5\t ", content=b"hello")),
    passes("CL under a name of other case", "RFC 9110 section 5.1", post("cOnTeNt-LeNgTh: 5", content=b"hello")),
    passes("CL under another name", "CL.0 research", post("Content-Length: 5", "Content_Length: 500",
           content=b"hello")),
)  # fmt: skip

CODINGS = (
    *(
        malformed(f"TE {name}", _6_1, _only_coding(value), told=told, reason=_CODING if told == 501 else _MALFORMED)
        for name, value, told in (
            ("identity", "identity", 501),
            ("gzip", "gzip", 501),
            ("gzip, chunked", "gzip, chunked", 501),
            ("xchunked", "xchunked", 501),
            ("chunked, identity", "chunked, identity", 400),
            ("chunked, chunked", "chunked, chunked", 400),
            ("quoted", '"chunked"', 501),
            ("with a parameter", "chunked;q=1", 501),
            ("with an empty member", ",chunked", 400),
            ("empty", "", 400),
        )
    ),
    malformed("TE twice", _6_1, post(TE, TE, content=HELLO)),
    malformed("TE twice, identity last", _6_1, post(TE, "Transfer-Encoding: identity", content=HELLO)),
    passes("TE CHUNKED", "RFC 9112 section 7", post("Transfer-Encoding: CHUNKED", content=HELLO)),
)  # fmt: skip

CHUNKS = (
    *(
        spoilt(f"chunk size {name}", source, chunked(content))
        for name, source, content in (
            ("0x5", _GARDEN, b"0x5\r\nhello\r\n0\r\n\r\n"),
            ("+5", _GARDEN, b"+5\r\nhello\r\n0\r\n\r\n"),
            ("-5", _GARDEN, b"-5\r\nhello\r\n0\r\n\r\n"),
            ("5_0", "CVE-2023-47627", b"5_0\r\n" + b"h" * 80 + b"\r\n0\r\n\r\n"),
            ("after a blank", _GARDEN, b" 5\r\nhello\r\n0\r\n\r\n"),
            ("before a blank", _GARDEN, b"5 \r\nhello\r\n0\r\n\r\n"),
            ("before a tab", _GARDEN, b"5\t\r\nhello\r\n0\r\n\r\n"),
            ("missing", _GARDEN, b"\r\nhello\r\n0\r\n\r\n"),
            ("missing before an extension", _GARDEN, b";a=b\r\nhello\r\n0\r\n\r\n"),
            ("of 17 digits", "tinyproxy bb7edc4", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
            ("of 17 digits, zeros first", _GARDEN, b"00000000000000005\r\nhello\r\n0\r\n\r\n"),
            ("of letters", _GARDEN, b"five\r\nhello\r\n0\r\n\r\n"),
            ("ended by LF", "CVE-2025-22871", b"5\nhello\r\n0\r\n\r\n"),
            ("ended by CR", _7_1, b"5\rhello\r\n0\r\n\r\n"),
            ("ended by NUL", _7_1, b"5\0\r\nhello\r\n0\r\n\r\n"),
        )
    ),
    *(
        spoilt(f"chunk {name}", source, chunked(content))
        for name, source, content in (
            ("without its CRLF", _7_1, b"5\r\nhello0\r\n\r\n"),
            ("ended by LF", "CVE-2025-22871", b"5\r\nhello\n0\r\n\r\n"),
            ("ended by two other bytes", "chunk spill", b"5\r\nhelloXX0\r\n\r\n" + SMUGGLED),
            ("longer than its size", _7_1, b"3\r\nhello\r\n0\r\n\r\n"),
            ("extension with a bare LF", "TERM.EXT", b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
            ("extension ended by LF", "TERM.EXT", b"5;\nhello\r\n0\r\n\r\n"),
            ("extension with a bare CR", "TERM.EXT", b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
            ("extension of 70,000 bytes", "CVE-2023-39326", b"5;" + b"a" * 70_000 + b"\r\nhello\r\n0\r\n\r\n"),
            ("extensions of 16 KiB, a thousand", "CVE-2023-39326", (b"1;" + b"a" * 16_384 + b"\r\nh\r\n") * 1000),
            ("trailer folded", "RFC 9112 section 5.2", b"5\r\nhello\r\n0\r\nX: a\r\n b\r\n\r\n"),
            ("trailer ended by LF", _7_1, b"5\r\nhello\r\n0\r\nX: a\n\r\n"),
            ("trailer without colon", _7_1, b"5\r\nhello\r\n0\r\nGET /smuggled HTTP/1.1\r\n\r\n"),
            ("trailers, ten thousand", "own", b"5\r\nhello\r\n0\r\n" + b"X: a\r\n" * 10_000 + b"\r\n"),
            ("trailer of 70,000 bytes", "own", b"5\r\nhello\r\n0\r\nX: " + b"a" * 70_000 + b"\r\n\r\n"),
            ("end by LF", _7_1, b"5\r\nhello\r\n0\r\n\n" + SMUGGLED),
        )
    ),
    passes("chunk extension", "RFC 9112 section 7.1.1", chunked(b"5;a=b\r\nhello\r\n0\r\n\r\n")),
    passes("chunk extension quoted", "RFC 9112 section 7.1.1", chunked(b'5;a="b;c"\r\nhello\r\n0\r\n\r\n')),
    passes("chunk size with zeros first", _7_1, chunked(b"0005\r\nhello\r\n000\r\n\r\n")),
    passes("chunk size in capitals", _7_1, chunked(b"A\r\nhellohello\r\n0\r\n\r\n"), reached=(("POST /post",
           b"hello" * 2),)),
    passes("no chunk but the last", _7_1, chunked(b"0\r\n\r\n"), reached=(EMPTY_POST,)),
    passes("trailer", "RFC 9112 section 7.1.2", chunked(b"5\r\nhello\r\n0\r\nX-Checksum: 1\r\n\r\n")),
    spoilt("trailer that frames", "RFC 9110 section 6.5.1",
           chunked(b"5\r\nhello\r\n0\r\nContent-Length: 500\r\nHost: forbidden.test\r\n\r\n")),
    passes("chunks of one byte", "own", chunked(b"".join(b"1\r\n%c\r\n" % byte for byte in b"hello") + b"0\r\n\r\n")),
)  # fmt: skip

CONTENT = (
    passes("GET with content", "CVE-2026-29057", head("GET /get", "Content-Length: 5") + b"hello",
           reached=(("GET /get", b"hello"),)),
    passes("DELETE with chunks", "CVE-2026-29057", head("DELETE /x", TE) + HELLO, reached=(("DELETE /x", b"hello"),)),
    passes("OPTIONS with chunks", "CVE-2026-29057", head("OPTIONS /x", TE) + HELLO, reached=(("OPTIONS /x",
           b"hello"),)),
    passes("POST without content", _6_3, post("Content-Length: 0"), reached=(EMPTY_POST,)),
    passes("POST without framing", _6_3, post() + head("GET /next"), reached=(EMPTY_POST, ("GET /next", b""))),
    passes("content that looks like a request", "CL.0 research",
           post(f"Content-Length: {len(INNER)}", content=INNER), reached=(("POST /post", INNER),)),
    passes("a request behind the content", _6_3, post("Content-Length: 5", content=b"hello" + head("GET /next")),
           reached=(POSTED, ("GET /next", b""))),
    passes("a request behind the chunks", _6_3, chunked(HELLO + head("GET /next")), reached=(POSTED, ("GET /next",
           b""))),
)  # fmt: skip

FRAMING: tuple[Case, ...] = (*LENGTH_AND_CODING, *LENGTHS, *CODINGS, *CHUNKS, *CONTENT)
