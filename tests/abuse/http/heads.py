"""What is asked, and of whom? Lines, targets, hosts and fields that two readers could take for different things."""

from gateway.model.reasons import Reason
from tests.abuse.http.case import SMUGGLED, Case, head, malformed, passes

_2_2, _3, _5_1, _5_2 = (f"RFC 9112 section {number}" for number in ("2.2", "3", "5.1", "5.2"))
_AUTHORITY = Reason.MALFORMED_AUTHORITY
_NOT_PROXY = Reason.NOT_A_PROXY_REQUEST
_TARGET = "http://allowed.test:<port>/x"
_HOST = "\r\nHost: allowed.test:<port>\r\n\r\n"
GOT_X = (("GET /x", b""),)


def _raw(text: str) -> bytes:
    return text.encode("latin-1")


def _denied(name: str, source: str, sent: bytes, reason: Reason = Reason.NO_RULE) -> Case:
    return Case(name, source, (sent,), (403,), reason=reason, goes_on=True)


LINES = (
    *(
        malformed(f"request line with {name}", source, _raw(text + _HOST))
        for name, source, text in (
            ("two blanks", _3, f"GET  {_TARGET} HTTP/1.1"),
            ("two blanks before the version", _3, f"GET {_TARGET}  HTTP/1.1"),
            ("tabs", _3, f"GET\t{_TARGET}\tHTTP/1.1"),
            ("a blank at its end", _3, f"GET {_TARGET} HTTP/1.1 "),
            ("a blank in front", _3, f" GET {_TARGET} HTTP/1.1"),
            ("a blank in the target", _3, f"GET {_TARGET} y HTTP/1.1"),
            ("a form feed", _3, f"GET\x0c{_TARGET} HTTP/1.1"),
            ("a NUL", "RFC 9110 section 5.5", f"GET {_TARGET}\0 HTTP/1.1"),
            ("UTF-8 in the target", "RFC 3986 section 2", f"GET {_TARGET}\xc3\xbc HTTP/1.1"),
            ("a bare CR", _2_2, f"GET {_TARGET}\r HTTP/1.1"),
            ("HTTP/1.2", _3, f"GET {_TARGET} HTTP/1.2"),
            ("HTTP/1.10", _3, f"GET {_TARGET} HTTP/1.10"),
            ("HTTP/2.0", _3, f"GET {_TARGET} HTTP/2.0"),
            ("http/1.1", _3, f"GET {_TARGET} http/1.1"),
            ("HTTP/01.1", _3, f"GET {_TARGET} HTTP/01.1"),
            ("another protocol", _3, f"GET {_TARGET} ICY/1.1"),
            ("no version", "HTTP/0.9", f"GET {_TARGET}"),
            ("a method that is no token", "http-garden 6", f'G=":<> {_TARGET} HTTP/1.1'),
            ("a method of 1,000 letters", "http-garden 6", f"{'G' * 1000} {_TARGET} HTTP/1.1"),
        )
    ),
    malformed("a method of lower case", "http-garden 6", head("get /x")),
    malformed("HTTP/0.9", "HTTP/0.9", _raw(f"GET {_TARGET}\r\n")),
    malformed("the HTTP/2 preface", "Http11Probe h2-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", reason=_NOT_PROXY),
    malformed("two empty lines in front", _2_2, b"\r\n\r\n" + head("GET /x")),
    malformed("LF alone everywhere", _2_2, head("GET /x").replace(b"\r\n", b"\n")),
    malformed("LF alone at the end", _2_2, head("GET /x")[:-2] + b"\n" + SMUGGLED),
    malformed("a target of 70,000 bytes", "RFC 9110 section 4.1", head(f"GET /{'x' * 70_000}"),
              reason=Reason.HEAD_TOO_LARGE, told=431),
    passes("an empty line in front", _2_2, b"\r\n" + head("GET /x"), reached=GOT_X),
    passes("a target of 8,000 bytes", "RFC 9110 section 4.1", head(f"GET /{'x' * 8000}"),
           reached=((f"GET /{'x' * 8000}", b""),)),
)  # fmt: skip

FIELDS = (
    *(
        malformed(f"field {name}", source, head("GET /x", field))
        for name, source, field in (
            ("folded", _5_2, "X: a\r\n b"),
            ("folded with a tab", _5_2, "X: a\r\n\tb"),
            ("with a blank before the colon", _5_1, "X : a"),
            ("with a tab before the colon", _5_1, "X\t: a"),
            ("without a colon", _5_1, "X"),
            ("without a name", _5_1, ": a"),
            ("with a NUL in its value", "RFC 9110 section 5.5", "X: a\0b"),
            ("with a bare CR in its value", "RFC 9110 section 5.5", "X: a\rb"),
            ("ended by LF", _2_2, "X: a\nY: b"),
            ("with a NUL in its name", _5_1, "X\0: a"),
            ("with UTF-8 in its name", _5_1, "X\xc3\xbc: a"),
            ("with a blank in its name", _5_1, "X Y: a"),
            ("with DEL in its value", "RFC 9110 section 5.5", "X: a\x7f"),
        )
    ),
    malformed("a blank before the first field", "RFC 9112 section 2.2",
              _raw(f"GET {_TARGET} HTTP/1.1\r\n Host: x{_HOST}")),
    malformed("10,000 fields", "own", head("GET /x", *["X: a"] * 10_000), reason=Reason.HEAD_TOO_LARGE, told=431),
    malformed("a field of 70,000 bytes", "C-013", head("GET /x", "X: " + "a" * 70_000), reason=Reason.HEAD_TOO_LARGE,
              told=431),
    passes("a field with no value", "RFC 9110 section 5.5", head("GET /x", "X:"), reached=GOT_X),
    passes("a field with bytes above 127", "RFC 9110 section 5.5", head("GET /x", "X: \xfc"), reached=GOT_X),
)  # fmt: skip

TARGETS = (
    passes("the target beats Host", "CVE-2016-4553", head("GET /x", host="forbidden.test"), reached=GOT_X),
    passes("the target's port beats Host's", "RFC 9112 section 3.2.2", head("GET /x", host="allowed.test:81"),
           reached=GOT_X),
    passes("scheme and host in capitals", "RFC 3986 section 6.2.2.1", head("GET HTTP://ALLOWED.Test:<port>/x"),
           reached=GOT_X),
    passes("a target without path", "RFC 9112 section 3.2.1", head("GET http://allowed.test:<port>?q"),
           reached=(("GET /?q", b""),)),
    passes("OPTIONS without path", "RFC 9112 section 3.2.4", head("OPTIONS http://allowed.test:<port>"),
           reached=(("OPTIONS *", b""),)),
    passes("a path of a host's form", "own", head("GET http://allowed.test:<port>//forbidden.test/"),
           reached=(("GET //forbidden.test/", b""),)),
    _denied("Host does not allow", "CVE-2016-4553", head("GET http://forbidden.test:<port>/",
            host="allowed.test:<port>")),
    _denied("a denied host", "own", head("GET http://denied.test:<port>/"), Reason.DENIED_BY_RULE),
    _denied("a host in capitals", "CVE-2022-24825", head("GET http://FORBIDDEN.Test:<port>/")),
    _denied("a host with a dot", "CVE-2022-24825", head("GET http://denied.test.:<port>/"), Reason.DENIED_BY_RULE),
    _denied("a query that looks like userinfo", "WHATWG URL", head("GET http://forbidden.test:<port>?@allowed.test/")),
    _denied("an address", "gh-aw-firewall#137", head("GET http://127.0.0.1:<port>/")),
    _denied("a metadata address", "ECS, EKS, Azure", head("GET http://169.254.169.254/")),
    *(
        malformed(f"target with {name}", source, head(f"GET {target}"), reason=_AUTHORITY)
        for name, source, target in (
            ("userinfo", "RFC 9110 section 4.2.4", "http://user:pw@allowed.test:<port>/"),
            ("a host as userinfo", "RFC 9110 section 4.2.4", "http://allowed.test:80@forbidden.test:<port>/"),
            ("empty userinfo", "RFC 9110 section 4.2.4", "http://@forbidden.test:<port>/"),
            ("a percent-encoded host", "RFC 3986 section 3.2.2", "http://forbidden%2etest:<port>/"),
            ("only a port", "RFC 9110 section 4.2.1", "http://:<port>/"),
            ("a name in brackets", "CVE-2022-29188", "http://[allowed.test]:<port>/"),
            ("two dots", "CVE-2022-24825", "http://allowed.test..:<port>/"),
            ("port 0", "own", "http://allowed.test:0/"),
            ("port 65979", "own", "http://allowed.test:65979/"),
            ("a signed port", "own", "http://allowed.test:+80/"),
            ("two ports", "own", "http://allowed.test:80:<port>/"),
            ("a number as host", "own", "http://2130706433:<port>/"),
            ("a short address", "own", "http://127.1:<port>/"),
            ("a hexadecimal address", "own", "http://0x7f.1:<port>/"),
        )
    ),
    malformed("target with a backslash", "WHATWG URL", head("GET http://forbidden.test:<port>\\@allowed.test:<port>/")),
    malformed("target with an empty host", "RFC 9110 section 4.2.1", head("GET http:///x")),
    malformed("a fragment", "RFC 9112 section 3.2", head("GET http://allowed.test:<port>/x#y")),
    malformed("a fragment that hides userinfo", "WHATWG URL", head("GET http://forbidden.test:<port>#@allowed.test/")),
    *(
        malformed(f"target {target.partition('/')[0]}", source, head(f"GET {target}"), reason=_NOT_PROXY)
        for source, target in (
            ("CVE-2026-40280", "ftp://allowed.test:<port>/"),
            ("CVE-2026-40280", "file:///etc/passwd"),
            ("CVE-2026-40280", "gopher://allowed.test:<port>/"),
            ("mitmproxy#8174", "ws://allowed.test:<port>/"),
            ("RFC 3986 section 3.1", "http:allowed.test:<port>/"),
        )
    ),
    malformed("target https:", "POLICY: use CONNECT", head("GET https://allowed.test:<port>/"),
              reason=Reason.HTTPS_WITHOUT_CONNECT),
    malformed("origin form", "RFC 9112 section 3.2.1", _raw("GET /x HTTP/1.1" + _HOST), reason=_NOT_PROXY),
    malformed("origin form with two slashes", "own", _raw("GET //allowed.test:<port>/ HTTP/1.1" + _HOST),
              reason=_NOT_PROXY),
    malformed("asterisk form", "RFC 9112 section 3.2.4", _raw("OPTIONS * HTTP/1.1" + _HOST), reason=_NOT_PROXY),
    malformed("authority form", "RFC 9112 section 3.2.3", _raw("GET allowed.test:<port> HTTP/1.1" + _HOST),
              reason=_NOT_PROXY),
    malformed("two Hosts", "RFC 9112 section 3.2", head("GET /x", "Host: forbidden.test")),
    malformed("two equal Hosts", "RFC 9112 section 3.2", head("GET /x", "Host: allowed.test:<port>")),
    malformed("no Host", "RFC 9112 section 3.2", head("GET /x", host=None)),
)  # fmt: skip

HEADS: tuple[Case, ...] = (*LINES, *FIELDS, *TARGETS)
