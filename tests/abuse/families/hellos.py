"""What is said inside a tunnel for TLS: only a whole ClientHello for the right name lets anything through."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.model.reasons import Reason
from tests.abuse.case import BrokenOff, Case, Stage, connect, read_to_end, send
from tests.abuse.complaint import Complaint, escape, wrong_answer
from tests.helpers.client_hello import ECH, build_client_hello, in_records, server_name_extension, vector
from tests.helpers.http_client import NotAResponse, ResponseReader

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


# --------------------------------------------------------------------------------------------------------- a second one

_EARLY_DATA = 42
_8446_4_1_2 = "RFC 8446 section 4.1.2"
_CHANGE_CIPHER_SPEC = b"\x14\x03\x03\0\1\1"
_DATA = b"\x17\x03\x03\0\x30" + bytes(48)
WITH_EARLY_DATA = build_client_hello("allowed.test", extensions=[(_EARLY_DATA, b"")])


@dataclass(frozen=True)
class _SecondHello:
    """`first` for the allowed name, and `second` once it has been answered (here: echoed), or `at_once`. Nothing of
    the second one may arrive, and the tunnel is closed; or, where it `passes`, it is echoed as well."""

    first: bytes
    second: bytes
    at_once: bool = False
    passes: bool = False

    def __call__(self, stage: Stage) -> Sequence[Complaint]:
        seen = stage.world.mark()
        with stage.connect() as client:
            try:
                found = self._of_client(client, stage)
            except TimeoutError:
                found = [wrong_answer("the tunnel stays open")]
            except ConnectionError:
                found = []
            except NotAResponse as error:
                found = [wrong_answer(repr(error))]
        found += stage.world.ordinary(stage.proxy, stage.patience)
        arrived = stage.world.tls_read_since(seen)
        return [
            *found,
            *([] if self.passes or self.second[5:] not in arrived else [escape("the second hello arrived")]),
        ]

    def _of_client(self, client: socket.socket, stage: Stage) -> list[Complaint]:
        send(client, stage.filled(connect("allowed.test:<tls>")))
        answer = ResponseReader(client).read(bodiless=True)
        if answer is None or answer.status != 200:
            return [wrong_answer(f"told {answer.status if answer else 'nothing'}")]
        send(client, self.first + (self.second if self.at_once else b""))
        awaited = len(self.first)
        if not self.at_once:
            _read_exactly(client, awaited)
            send(client, self.second)
            awaited = len(self.second)
        if self.passes:
            return [] if _read_exactly(client, awaited) == self.second else [wrong_answer("it does not pass")]
        read_to_end(client)
        return []


def _read_exactly(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := client.recv(size - len(data))):
        data += more
    return data


def _second(what: str, second: bytes, reason: Reason | None = _MISMATCH, first: bytes = ALLOWED, **how: bool) -> Case:
    play = _SecondHello(first, second, **how)
    expected = "the second hello does not arrive, and the tunnel is closed"
    shown = b"CONNECT allowed.test:<tls>, then a hello for allowed.test, then " + second[:200]
    if play.passes:
        return Case("tls", what, _8446_4_1_2, shown, "it passes", play, is_control=True)
    return Case("tls", what, _8446_4_1_2, shown, expected, play, reason)


SECOND = (
    _second("a second hello for another name", FORBIDDEN),
    _second("a second hello for another name right behind the first", FORBIDDEN, at_once=True),
    _second("a second hello for another name behind ChangeCipherSpec", _CHANGE_CIPHER_SPEC + FORBIDDEN),
    _second("a second hello for another name behind an alert", b"\x15\3\3\0\2\1\x5a" + FORBIDDEN),
    _second(
        "a second hello for another name over hundreds of records", build_client_hello("forbidden.test", fragment=1)
    ),
    _second(
        "a second hello for another name behind early data", _DATA * 3 + FORBIDDEN, first=WITH_EARLY_DATA, at_once=True
    ),
    _second("a second hello for another name that is allowed too", build_client_hello("a.wild.test")),
    _second("a second hello without a name", build_client_hello(None)),
    _second("a second hello that is malformed", _named(b"allowed.test", b"forbidden.test"), _MALFORMED),
    _second("a second hello for the same name", _CHANGE_CIPHER_SPEC + ALLOWED, passes=True),
)

CASES: tuple[Case, ...] = (
    *SECOND,
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
