"""What comes after what: pipelines, fields for one hop, tunnels to port 80, upgrades, waiting for a 100."""

from base64 import b64encode

from gateway.model.reasons import Reason
from tests.abuse.http.case import INNER, NAME, POSTED, SMUGGLED, Case, head, malformed, passes, post
from tests.helpers.recording_origin import Answer

HOST = "allowed.test:<port>"
GOT_X = (("GET /x", b""),)
_7_6_1, _9_3_8, _9_6 = "RFC 9110 section 7.6.1", "RFC 9110 section 9.3.8", "RFC 9112 section 9.6"
_FORBIDDEN = "http://forbidden.test:<port>/"
_CONNECT = head(f"CONNECT {HOST}")


def _credentials(password: str) -> str:
    return "Proxy-Authorization: Basic " + b64encode(f"ci:{password}".encode()).decode()


def _inner(line: str, *fields: str, host: str | None = HOST) -> bytes:
    """In origin form, as a client writes inside a tunnel."""
    method, _, target = line.partition(" ")
    lines = [f"{method} {target} HTTP/1.1", *([f"Host: {host}"] if host is not None else []), *fields, "", ""]
    return "\r\n".join(lines).encode()


PIPELINES = (
    passes("three at once", _9_6, head("GET /1") + head("GET /2") + head("GET /3"),
           reached=(("GET /1", b""), ("GET /2", b""), ("GET /3", b""))),
    passes("requests for two hosts", "precedence 27", head("GET /1") + head("GET http://other.test:<port>/2",
           host="other.test:<port>"),
           reached=(("GET /1", b""), ("GET /2", b""))),
    Case("a denied one behind an allowed one", "A-083; smokescreen a7fdfcb",
         (head("GET /1") + head(f"GET {_FORBIDDEN}"),),
         (200, 403), (("GET /1", b""),), Reason.NO_RULE, goes_on=True),
    Case("an allowed one behind a denied one", "A-083", (head(f"GET {_FORBIDDEN}") + head("GET /1"),),
         (403, 200), (("GET /1", b""),), Reason.NO_RULE, goes_on=True),
    Case("a request as content of a denied one", "A-085",
         (head(f"POST {_FORBIDDEN}", f"Content-Length: {len(INNER)}") + INNER,), (403,), (), Reason.NO_RULE,
          goes_on=True),
    Case("a request as chunks of a denied one", "A-085",
         (head(f"POST {_FORBIDDEN}", "Transfer-Encoding: chunked") + b"ff\r\n" + SMUGGLED,), (403,), (),
          Reason.NO_RULE),
    Case("a request behind a denied CONNECT", "Traefik 04d36f2", (head("CONNECT forbidden.test:<port>") + SMUGGLED,),
         (403,), (), Reason.NO_RULE),
    Case("a request behind a malformed one", "own", (head("GET /x", "X : y") + SMUGGLED,), (400,), (),
         Reason.MALFORMED_REQUEST),
    Case("a request behind Connection: close", _9_6, (head("GET /x", "Connection: close") + SMUGGLED,), (200,), GOT_X),
    Case("a request behind HTTP/1.0", _9_6, (head("GET /x HTTP/1.0") + SMUGGLED,), (200,), GOT_X),
    Case("a request as content behind a 407", "own",
         (head("POST http://users.test:<port>/", f"Content-Length: {len(INNER)}", _credentials("wrong")) + INNER,),
         (407,), (), Reason.CREDENTIALS_INVALID, goes_on=True),
    Case("a request without the credentials of the one before", "B-011",
         (head("GET http://users.test:<port>/x",
          _credentials("correct-horse")) + head("GET http://users.test:<port>/y"),),
         (200, 407), GOT_X, Reason.CREDENTIALS_MISSING, goes_on=True),
)  # fmt: skip

ONE_HOP = (
    *(
        passes(f"Connection: {options}", source, head("GET /x", f"Connection: {options}", *fields), reached=GOT_X)
        for source, options, fields in (
            ("hop-by-hop abuse", "Host", ()),
            ("hop-by-hop abuse", "keep-alive, host, x-forwarded-for", ()),
            ("hop-by-hop abuse", "authorization", ("Authorization: x",)),
            (_7_6_1, "TE, Trailer, Keep-Alive", ("TE: trailers", "Trailer: X", "Keep-Alive: timeout=5")),
            (_7_6_1, "Upgrade, HTTP2-Settings", ("Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA")),
        )
    ),
    passes("Connection: content-length", "hop-by-hop abuse",
           post("Connection: content-length", "Content-Length: 5", content=b"hello")),
    passes("Connection: transfer-encoding", "hop-by-hop abuse",
           post("Connection: transfer-encoding", "Transfer-Encoding: chunked", content=b"5\r\nhello\r\n0\r\n\r\n")),
    Case("Connection: close, content-length", "hop-by-hop abuse",
         (post("Connection: close, content-length", "Content-Length: 5", content=b"hello" + SMUGGLED),), (200,),
          (POSTED,)),
    passes("Proxy-Connection and Proxy-Authorization", _7_6_1,
           head("GET /x", "Proxy-Connection: keep-alive", _credentials("correct-horse")), reached=GOT_X),
    passes("Keep-Alive in HTTP/1.0", "RFC 9112 appendix C.2.2", head("GET /x HTTP/1.0", "Connection: keep-alive"),
           reached=GOT_X),
    Case("Via with our own name", "A-105", (head("GET /x", f"Via: 1.1 {NAME}"),), (502,), (), Reason.PROXY_LOOP,
         goes_on=True),
    Case("Via with our own name among others", "A-105", (head("GET /x", "Via: 1.0 a",
         f"Via: 1.1 b, 1.1 {NAME} (c)"),), (502,), (),
         Reason.PROXY_LOOP, goes_on=True),
    passes("Via with another name", "RFC 9110 section 7.6.3", head("GET /x", "Via: 1.1 elsewhere"), reached=GOT_X),
    passes("X-Upstream-Https-Proxy", "smokescreen TestCONNECTProxyACLs",
           head("GET /x", "X-Upstream-Https-Proxy: http://forbidden.test"), reached=GOT_X),
)  # fmt: skip

TUNNELS = (
    malformed("CONNECT with content", "RFC 9110 section 9.3.6", head(f"CONNECT {HOST}",
              "Content-Length: 5") + b"hello"),
    malformed("CONNECT with chunks", "RFC 9110 section 9.3.6", head(f"CONNECT {HOST}",
              "Transfer-Encoding: chunked") + b"0\r\n\r\n"),
    Case("a request in a tunnel", "precedence 26", (_CONNECT, _inner("GET /x")), (200, 200), GOT_X, goes_on=True),
    Case("a request in the segment of its CONNECT", "A-130p", (_CONNECT + _inner("GET /x"),), (200, 200), GOT_X,
         goes_on=True),
    Case("another Host in a tunnel", "precedence 26; A-088", (_CONNECT, _inner("GET /", host="forbidden.test:<port>")),
         (200, 421), (), Reason.HOST_MISMATCH, goes_on=True),
    Case("another allowed Host in a tunnel", "precedence 26", (_CONNECT, _inner("GET /", host="other.test:<port>")),
         (200, 421), (), Reason.HOST_MISMATCH, goes_on=True),
    Case("another port in a tunnel", "POLICY: the port always equal", (_CONNECT, _inner("GET /",
         host="allowed.test:81")),
         (200, 421), (), Reason.HOST_MISMATCH, goes_on=True),
    Case("absolute form for another host in a tunnel", "RFC 9112 section 3.2.2",
         (_CONNECT, _inner("GET http://forbidden.test:<port>/")), (200, 421), (), Reason.HOST_MISMATCH, goes_on=True),
    Case("a second request with another Host in a tunnel", "A-072",
         (_CONNECT, _inner("GET /x") + _inner("GET /", host="forbidden.test:<port>")), (200, 200, 421), GOT_X,
         Reason.HOST_MISMATCH, goes_on=True),
    Case("no Host in a tunnel", "RFC 9112 section 3.2", (_CONNECT, _inner("GET /", host=None)), (200, 400), (),
         Reason.MALFORMED_REQUEST),
    Case("CL and TE in a tunnel", "RFC 9112 section 6.3",
         (_CONNECT, _inner("POST /", "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n" + SMUGGLED),
          (200, 400), (),
         Reason.MALFORMED_REQUEST),
    Case("CONNECT in a tunnel", "A-096", (_CONNECT, head(f"CONNECT {HOST}")), (200, 400), (),
         Reason.NOT_A_PROXY_REQUEST),
    Case("CONNECT to a path in a tunnel", "RFC 9112 section 3.2.3: llhttp takes a slash before an at sign", (_CONNECT,
         _inner("CONNECT /@x")), (200, 400), (), Reason.MALFORMED_REQUEST),
    Case("CONNECT to a URL with an at sign behind a request", "RFC 9112 section 3.2.3", (head("GET /x")
         + head(f"CONNECT http://{HOST}/@x"),), (200, 400), GOT_X, Reason.MALFORMED_REQUEST),
    Case("a tunnel through a denied Host", "A-088", (_CONNECT, _inner("GET /", host="denied.test:<port>")), (200,
         421), (),
         Reason.HOST_DENIED, goes_on=True),
)  # fmt: skip

METHODS = (
    passes("TRACE", _9_3_8, head("TRACE /x", _credentials("correct-horse")), reached=(("TRACE /x", b""),)),
    malformed("TRACK", "A-100", head("TRACK /x")),
    passes("Max-Forwards on GET", "RFC 9110 section 7.6.2", head("GET /x", "Max-Forwards: 0"), reached=GOT_X),
)  # fmt: skip

_SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
_WEBSOCKET = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA==")
_REFUSED = Answer(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n")

WAITING = (
    Case("an upgrade answered with 200", "0ang3el/websocket-smuggle",
         (head("GET /x", *_WEBSOCKET) + head(f"GET {_FORBIDDEN}"),), (200, 403), GOT_X, Reason.NO_RULE, goes_on=True,
         upgrades=True),
    Case("an upgrade answered with 426", "0ang3el/websocket-smuggle",
         (head("GET /x", *_WEBSOCKET) + head(f"GET {_FORBIDDEN}"),), (426, 403), GOT_X, Reason.NO_RULE, goes_on=True,
         answers=(_REFUSED,), upgrades=True),
    Case("answer: a 101 that nobody asked for", "RFC 9110 section 15.2.2", (head("GET /x"),), (502,), GOT_X,
         Reason.MALFORMED_RESPONSE, goes_on=True, answers=(Answer(_SWITCHED),)),
    Case("Expect: 100-continue of a denied one", "RFC 9110 section 10.1.1",
         (head(f"POST {_FORBIDDEN}", "Expect: 100-continue", "Content-Length: 5"),), (403,), (), Reason.NO_RULE),
    passes("Expect: 100-continue", "RFC 9110 section 10.1.1",
           post("Expect: 100-continue", "Content-Length: 5", content=b"hello")),
    Case("content that ends early", "RFC 9112 section 8", (post("Content-Length: 500", content=b"hello"),), (408,), (),
         Reason.BODY_TIMEOUT, cut=True),
    Case("chunks that end early", "RFC 9112 section 8", (post("Transfer-Encoding: chunked", content=b"5\r\nhel"),),
         (408,), (),
         Reason.BODY_TIMEOUT, cut=True),
)  # fmt: skip

CONNECTIONS: tuple[Case, ...] = (*PIPELINES, *ONE_HOP, *TUNNELS, *METHODS, *WAITING)
