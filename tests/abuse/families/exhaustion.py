"""Clients that cost more than they should: each is cut off in its time, and meanwhile others are served."""

import contextlib
import select
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from gateway.model.reasons import Reason
from tests.abuse.case import Case, Refused, Stage, connect, get, read_to_end, send
from tests.abuse.complaint import Complaint, wrong_answer
from tests.helpers.client_hello import build_client_hello, in_records
from tests.helpers.http_client import NotAResponse, ResponseReader
from tests.helpers.raw_client import RawClient

_SLOWLORIS = "Slowloris; Envoy request_headers_timeout"
_ENDLESS = 4 << 20
"""Bytes after which a proxy that still takes more bounds nothing."""
_HALF = b"CONNECT forbidden.test:443 HT"
_HELLO = build_client_hello("allowed.test")


def _is_over(client: socket.socket, until: float) -> bool:
    """Whether the proxy ended it, by a close, a reset or an answer that is its last."""
    with contextlib.suppress(ConnectionError):
        client.settimeout(max(0.01, until - time.monotonic()))
        while client.recv(65536):
            client.settimeout(max(0.01, until - time.monotonic()))
    return True


@dataclass(frozen=True)
class Waits:
    """Says `start`, then the rest byte by byte with a pause after each, or nothing more. It is cut off in time."""

    start: bytes
    rest: bytes = b""
    pause: float = 0.25
    opens: bool = False

    def __call__(self, stage: Stage) -> Sequence[Complaint]:
        until = time.monotonic() + stage.patience
        with stage.connect() as client:
            try:
                if self.opens:
                    send(client, stage.filled(connect("allowed.test:<tls>")))
                    status = ResponseReader(client).peek_status()
                    if status != 200:
                        return [wrong_answer(f"told {status}, not 200")]
                send(client, stage.filled(self.start))
                self._drip(client, until)
                _is_over(client, until)
            except TimeoutError:
                return [wrong_answer("not cut off in time")]
            except NotAResponse as error:
                return [wrong_answer(repr(error))]
            except ConnectionError:
                return []
        return []

    def _drip(self, client: socket.socket, until: float) -> None:
        for byte in self.rest:
            client.send(bytes((byte,)))
            if select.select([client], [], [], self.pause)[0] or time.monotonic() > until:
                return


@dataclass(frozen=True)
class Floods:
    """Goes on sending the same: it is refused or cut off before it has sent far too much."""

    start: bytes
    filling: bytes

    def __call__(self, stage: Stage) -> Sequence[Complaint]:
        chunk, sent = self.filling * (4096 // len(self.filling)), 0
        with stage.connect() as client:
            try:
                client.sendall(stage.filled(self.start))
                while sent < _ENDLESS and not select.select([client], [], [], 0)[0]:
                    client.sendall(chunk)
                    sent += len(chunk)
            except ConnectionError:
                pass
            except TimeoutError:
                return [wrong_answer(f"neither taken nor refused after {sent:,} bytes")]
            found = [wrong_answer(f"{sent:,} bytes are taken")] if sent >= _ENDLESS else []
        return [*found, *stage.world.ordinary(stage.proxy, stage.patience)]


@dataclass(frozen=True)
class Crowds:
    """Many at once, each of which says this and no more; an ordinary tunnel passes meanwhile, and all are cut off."""

    count: int
    said: bytes

    def __call__(self, stage: Stage) -> Sequence[Complaint]:
        until = time.monotonic() + stage.patience
        with ExitStack() as stack:
            clients = [stack.enter_context(stage.connect()) for _ in range(self.count)]
            for client in clients:
                send(client, stage.filled(self.said))
            found = stage.world.ordinary(stage.proxy, stage.patience)
            left = 0
            for client in clients:
                try:
                    _is_over(client, until)
                except TimeoutError:
                    left += 1
        return [*found, *([wrong_answer(f"{left} of {self.count} not cut off in time")] if left else [])]


def _stays(stage: Stage) -> Sequence[Complaint]:
    """Is refused, reads nothing and stays."""
    until = time.monotonic() + stage.patience
    with stage.connect() as client:
        send(client, stage.filled(connect("forbidden.test:<tls>")))
        while time.monotonic() < until:
            try:
                client.send(b"x")
            except ConnectionError:
                return []
            time.sleep(0.1)
    return [wrong_answer("not cut off in time")]


def _many_denied(stage: Stage) -> Sequence[Complaint]:
    """2,000 refused requests on one connection, no answer of which is waited for."""
    seen = stage.world.mark()
    with stage.connect() as client:
        try:
            send(client, stage.filled(get("http://forbidden.test:<web>/") * 2000))
            client.shutdown(socket.SHUT_WR)
            said = read_to_end(client, 1 << 24)
        except ConnectionError:
            said = b""
        except TimeoutError:
            return [wrong_answer("no end in time")]
    found = [wrong_answer("told 200")] if b" 200 " in said else []
    left = [wrong_answer(text) for text in stage.world.left_since(seen, may_ask=False)]
    return [*found, *left, *stage.world.ordinary(stage.proxy, stage.patience)]


def _resets(stage: Stage) -> Sequence[Complaint]:
    """200 that ask for what they may not have and reset at once, and one that waits for its answer: nothing leaves."""
    seen = stage.world.mark()
    for _ in range(200):
        client = RawClient(stage.proxy[1], stage.proxy[0])
        client.send(stage.filled(connect("forbidden.test:<tls>")))
        client.reset()
    found = Refused(connect("forbidden.test:<tls>"), (400, 403))(stage)
    return [*found, *[wrong_answer(text) for text in stage.world.left_since(seen, may_ask=False)]]


def _large(what: str, source: str, sent: bytes, reason: Reason) -> Case:
    play = Refused(sent, (0, 400, 413, 414, 431))
    return Case("exhaustion", what, source, sent[:60] + b"...", play.expected, play, reason)


def _case(
    what: str,
    source: str,
    sent: bytes,
    expected: str,
    play: Callable[[Stage], Sequence[Complaint]],
    reason: Reason | None = None,
    *,
    waits: bool = True,
) -> Case:
    return Case("exhaustion", what, source, sent, expected, play, reason, waits=waits)


_CUT = "it is cut off when its time is over"
SLOW = tuple(
    _case(what, source, start + rest, _CUT, Waits(start, rest, opens=opens), reason)
    for what, source, start, rest, opens, reason in (
        ("silence", _SLOWLORIS, b"", b"", False, Reason.HEAD_TIMEOUT),
        ("half a head and silence", _SLOWLORIS, _HALF, b"", False, Reason.HEAD_TIMEOUT),
        ("a head byte by byte", _SLOWLORIS, b"", connect("forbidden.test:443") * 4, False, Reason.HEAD_TIMEOUT),
        (
            "header lines without end, slowly",
            _SLOWLORIS,
            b"GET http://allowed.test:<web>/ HTTP/1.1\r\n",
            b"A: b\r\n" * 40,
            False,
            Reason.HEAD_TIMEOUT,
        ),
        ("an empty line and silence", _SLOWLORIS, b"\r\n", b"", False, Reason.HEAD_TIMEOUT),
        ("silence in a tunnel for TLS", "own", b"", b"", True, None),
        ("half a hello", "CVE-2026-22045", _HELLO[:99], b"", True, Reason.CLIENT_HELLO_TIMEOUT),
        ("a hello byte by byte", "CVE-2026-22045", b"", _HELLO, True, Reason.CLIENT_HELLO_TIMEOUT),
        (
            "a hello in records of one byte, slowly",
            "own",
            in_records(_HELLO[5:], 1)[:600],
            in_records(_HELLO[5:], 1)[600:],
            True,
            Reason.CLIENT_HELLO_TIMEOUT,
        ),
    )
)

MANY = (
    _case("300 silent clients", "C-008; Envoy", b"", "all are cut off; others are served", Crowds(300, b"")),
    _case("300 half heads", _SLOWLORIS, _HALF, "all are cut off; others are served", Crowds(300, _HALF)),
    _case(
        "a client that stays after its refusal", "own", connect("forbidden.test:<tls>"), _CUT, _stays, Reason.NO_RULE
    ),
    _case(
        "2,000 refused requests in a row",
        "own",
        get("http://forbidden.test:<web>/"),
        "nothing leaves; others are served",
        _many_denied,
        waits=False,
    ),
    _case(
        "200 that reset at once",
        "own",
        connect("forbidden.test:<tls>"),
        "nothing leaves; others are served",
        _resets,
        waits=False,
    ),
)

_BOUND = "it is refused before 4 MB"
ENDLESS = tuple(
    _case(what, source, start + filling + b"...", _BOUND, Floods(start, filling), reason, waits=False)
    for what, source, start, filling, reason in (
        (
            "a header without end",
            "h11, Envoy: bounded",
            b"CONNECT allowed.test:1 HTTP/1.1\r\nX: ",
            b"x",
            Reason.HEAD_TOO_LARGE,
        ),
        (
            "headers without end",
            "h11, Envoy: bounded",
            b"CONNECT allowed.test:1 HTTP/1.1\r\n",
            b"A: b\r\n",
            Reason.HEAD_TOO_LARGE,
        ),
        ("a target without end", "RFC 9110 section 4.1", b"CONNECT ", b"a", Reason.HEAD_TOO_LARGE),
        ("a method without end", "http-garden 6", b"", b"A", Reason.MALFORMED_REQUEST),
        ("empty lines without end", "RFC 9112 section 2.2", b"", b"\r\n", Reason.MALFORMED_REQUEST),
        ("NULs without end", "own", b"", b"\0", Reason.MALFORMED_REQUEST),
        ("a TLS record without end", "own", b"\x16\x03\x01\x40\0", b"\1", Reason.TLS_ON_PLAIN_PORT),
        (
            "content without end of a refused request",
            "own",
            b"POST http://forbidden.test:<web>/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"1\r\nx\r\n",
            Reason.NO_RULE,
        ),
    )
)

LARGE = (
    _large(
        "a header of 70,000 bytes",
        "C-013",
        get("http://allowed.test:<web>/", "X: " + "a" * 70_000),
        Reason.HEAD_TOO_LARGE,
    ),
    _large("10,000 headers", "C-013", get("http://allowed.test:<web>/", *["X: a"] * 10_000), Reason.HEAD_TOO_LARGE),
    _large(
        "a target of 70,000 bytes",
        "RFC 9110 section 4.1",
        get(f"http://allowed.test:<web>/{'x' * 70_000}"),
        Reason.HEAD_TOO_LARGE,
    ),
    _large(
        "a host of 60,000 bytes", "RFC 1035 section 2.3.4", connect(f"{'a' * 60_000}:443"), Reason.MALFORMED_AUTHORITY
    ),
)

CASES: tuple[Case, ...] = (*SLOW, *MANY, *ENDLESS, *LARGE)
