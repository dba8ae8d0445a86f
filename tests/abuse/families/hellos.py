"""What is said inside a tunnel for TLS: only a whole ClientHello for the right name lets anything through."""

from gateway.model.reasons import Reason
from tests.abuse.case import BrokenOff, Case
from tests.helpers.client_hello import ECH, build_client_hello, in_records, server_name_extension, vector

_MISMATCH, _DENIED, _MISSING = Reason.SNI_MISMATCH, Reason.SNI_DENIED, Reason.SNI_MISSING
_MALFORMED, _OTHER = Reason.MALFORMED_CLIENT_HELLO, Reason.PROTOCOL_MISMATCH
_BLIND = "TLS inspection's blind spot; gh-aw discussion 60747"
_6066 = "RFC 6066 section 3"

ALLOWED, FORBIDDEN = build_client_hello("allowed.test"), build_client_hello("forbidden.test")


def _named(*names: bytes) -> bytes:
    return build_client_hello(None, extensions=[server_name_extension(*names)])


_TOO_LONG = build_client_hello("allowed.test", extensions=[(0xFFFF, b"abc")])[:-5] + b"\0\xffabc"


def _broken_off(what: str, source: str, said: bytes, reason: Reason | None, host: str = "allowed.test") -> Case:
    expected = "the tunnel is closed, with an alert at most; the destination reads nothing"
    shown = b"CONNECT %s:<tls>, then " % host.encode() + (said if len(said) < 400 else said[:200] + b"...")
    return Case("tls", what, source, shown, expected, BrokenOff(host, said), reason)


CASES: tuple[Case, ...] = (
    _broken_off("a forbidden SNI", _BLIND, FORBIDDEN, _MISMATCH),
    _broken_off("another allowed SNI", _BLIND, build_client_hello("a.wild.test"), _MISMATCH),
    _broken_off(
        "a denied SNI on a rule for many names", _BLIND, build_client_hello("deny.wild.test"), _DENIED, "a.wild.test"
    ),
    _broken_off(
        "a denied SNI in capitals", "CVE-2022-24825", build_client_hello("DENY.Wild.TEST"), _DENIED, "a.wild.test"
    ),
    _broken_off("a forbidden SNI on a rule for many names", _BLIND, FORBIDDEN, None, "a.wild.test"),
    _broken_off(
        "a forbidden SNI over hundreds of records",
        "mitmproxy get_client_hello",
        build_client_hello("forbidden.test", fragment=1),
        _MISMATCH,
    ),
    _broken_off(
        "a forbidden SNI in the second record",
        "Envoy MultipleReads",
        build_client_hello("forbidden.test", fragment=90),
        _MISMATCH,
    ),
    _broken_off(
        "a forbidden SNI behind 14 KiB of padding",
        "RFC 7685",
        build_client_hello("forbidden.test", size=14_000),
        _MISMATCH,
    ),
    _broken_off(
        "a forbidden SNI with an encrypted ClientHello",
        "RFC 9849",
        build_client_hello("forbidden.test", ech=True),
        _MISMATCH,
    ),
    _broken_off("no SNI", _6066, build_client_hello(None), _MISSING),
    _broken_off("no SNI but an encrypted ClientHello", "RFC 9849", build_client_hello(None, ech=True), _MISSING),
    _broken_off("two names in one SNI", _6066, _named(b"allowed.test", b"forbidden.test"), _MALFORMED),
    _broken_off(
        "the extension twice",
        "RFC 8446 section 4.2",
        build_client_hello("allowed.test", extensions=[server_name_extension(b"forbidden.test")]),
        _MALFORMED,
    ),
    _broken_off("an address as SNI", _6066, _named(b"127.0.0.2"), _MALFORMED),
    _broken_off("a NUL in SNI", "CVE-2009-2408 and kin", _named(b"allowed.test\0.evil"), _MALFORMED),
    _broken_off("an empty SNI", _6066, _named(b""), _MALFORMED),
    _broken_off("a SNI with a port", _6066, _named(b"allowed.test:443"), _MALFORMED),
    _broken_off("a SNI with a wildcard", _6066, _named(b"*.test"), _MALFORMED),
    _broken_off("a SNI in UTF-8", _6066, _named("bücher.test".encode()), _MALFORMED),
    _broken_off("a SNI of 300 octets", _6066, _named(b"a." * 148 + b"test"), _MALFORMED),
    _broken_off("a SNI with two dots at its end", _6066, _named(b"allowed.test.."), _MALFORMED),
    _broken_off(
        "a name of an unknown type",
        _6066,
        build_client_hello(None, extensions=[(0, vector(b"\1" + vector(b"allowed.test", 2), 2))]),
        _MALFORMED,
    ),
    _broken_off("an extension longer than its block", "RFC 8446 section 4.2", _TOO_LONG, _MALFORMED),
    _broken_off(
        "a second hello in the record", "RFC 8446 section 5.1", in_records(ALLOWED[5:] + FORBIDDEN[5:]), _MALFORMED
    ),
    _broken_off(
        "a hello of 16 MB",
        "RFC 8446 section 4",
        b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(16_380),
        Reason.CLIENT_HELLO_TOO_LARGE,
    ),
    _broken_off("an alert instead of a hello", "RFC 8446 section 6", b"\x15\x03\x01\0\2\1\0", None),
    _broken_off("application data instead of a hello", "RFC 8446 section 5.1", b"\x17\x03\x03\0\5hello", None),
    _broken_off(
        "a ServerHello instead of a ClientHello", "RFC 8446 section 4", b"\x16\x03\x03\0\x05\x02\0\0\1\0", _MALFORMED
    ),
    _broken_off("empty records without end", "CVE-2004-0079 and kin", b"\x16\x03\x01\0\0" * 5000, None),
    _broken_off("SSL 2", "RFC 6176", b"\x80\x2e\x01\x03\x01" + bytes(40), _OTHER),
    _broken_off("SSH", "own", b"SSH-2.0-x\r\n", _OTHER),
    _broken_off("an HTTP request", "own", b"GET / HTTP/1.1\r\nHost: forbidden.test\r\n\r\n", None),
    _broken_off(
        "a CONNECT inside the tunnel", "nested proxies", b"CONNECT forbidden.test:443 HTTP/1.1\r\nHost: x\r\n\r\n", None
    ),
    _broken_off("the HTTP/2 preface", "RFC 9113 section 3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9), None),
    _broken_off("SMTP", "own", b"EHLO x\r\n", None),
    _broken_off("random bytes", "own", bytes(range(128, 256)) * 4, _OTHER),
    _broken_off(
        "a legal hello with an ESNI of the draft for a forbidden name",
        "draft-ietf-tls-esni-02",
        build_client_hello("forbidden.test", extensions=[(0xFFCE, bytes(300))]),
        _MISMATCH,
    ),
    _broken_off(
        "two encrypted ClientHellos",
        "RFC 8446 section 4.2",
        build_client_hello("allowed.test", ech=True, extensions=[(ECH, bytes(100))]),
        _MALFORMED,
    ),
)
