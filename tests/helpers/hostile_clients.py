"""Clients that break the protocol, each in its own way, and assert that they were told so or cut off in time.

An act gets a fresh connection to the proxy, a generator of chance, and the authorities of some destinations. It returns
when the connection is over.
"""

import select
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import pytest

from gateway.model.reasons import Reason
from tests.helpers.client_hello import build_client_hello
from tests.helpers.raw_client import RawClient, status_of

ACCESS_DENIED = bytes((21, 3, 3, 0, 2, 2, 49))
DECODE_ERROR = bytes((21, 3, 3, 0, 2, 2, 50))
ENDLESS = 32 << 20


@dataclass(frozen=True, slots=True)
class Targets:
    """Authorities: one that no rule allows, one for users only, one on a `tls` rule, one on a `tcp` rule."""

    denied: str
    users: str
    tls: str
    tcp: str


Act = Callable[[RawClient, Random, Targets], None]


@dataclass(frozen=True, slots=True)
class Hostile:
    """One kind. `reason` is what its record says."""

    name: str
    reason: Reason
    act: Act


def _sends(make: Callable[[Random, Targets], bytes], status: int) -> Act:
    """All at once; the answer is one response with that status, and the end."""

    def act(client: RawClient, chance: Random, targets: Targets) -> None:
        client.send(make(chance, targets))
        _is_answered(client, status)

    return act


def _is_answered(client: RawClient, status: int) -> None:
    answer = client.read_to_end()
    assert status_of(answer) == status, answer
    assert answer.count(b"HTTP/1.") == 1, answer


def _never_ends(start: bytes, filling: bytes, status: int) -> Act:
    """Goes on sending until the answer is there, and then still goes on until it is cut off."""

    def act(client: RawClient, chance: Random, targets: Targets) -> None:
        client.send(start)
        chunk = filling * (4096 // len(filling))
        for _ in range(ENDLESS // len(chunk)):
            client.send(chunk)
            if select.select([client.socket], [], [], 0)[0]:
                break
        assert status_of(client.read_head()) == status
        with pytest.raises(ConnectionError):
            _goes_on(client)

    return act


def _goes_on(client: RawClient) -> None:
    """Until it is cut off, which raises, or for far too long."""
    for _ in range(100):
        client.send(b"x")
        time.sleep(0.1)


def _drips(data: bytes, pause: float, status: int) -> Act:
    """A byte now and then, until there is an answer."""

    def act(client: RawClient, chance: Random, targets: Targets) -> None:
        _drip(client, data, pause)
        _is_answered(client, status)

    return act


def _drip(client: RawClient, data: bytes, pause: float) -> None:
    for byte in data:
        client.send(bytes((byte,)))
        if select.select([client.socket], [], [], pause)[0]:
            return


def _in_the_tunnel(make: Callable[[Random], bytes], alert: bytes | None, pause: float = 0.0) -> Act:
    """Opens a tunnel on the `tls` rule, says that, and gets that alert, or a reset."""

    def act(client: RawClient, chance: Random, targets: Targets) -> None:
        assert status_of(client.connect(targets.tls)) == 200
        if pause:
            _drip(client, make(chance), pause)
        else:
            client.send(make(chance))
        if alert is None:
            with pytest.raises(ConnectionResetError):
                client.read_to_end()
        else:
            assert client.read_to_end() == alert

    return act


def _leaves(data: bytes) -> Act:
    """Ends in the middle of a head and hears nothing more."""

    def act(client: RawClient, chance: Random, targets: Targets) -> None:
        client.send(data)
        client.finish()
        assert client.read_to_end() == b""

    return act


def _resets(client: RawClient, chance: Random, targets: Targets) -> None:
    """After a 407: before any answer the reset might overtake the accept, and then nobody knows who it was."""
    assert status_of(client.connect(targets.users)) == 407
    client.send(b"CONNECT half.test:44")
    client.reset()


def _resets_a_tunnel(client: RawClient, chance: Random, targets: Targets) -> None:
    assert status_of(client.connect(targets.tcp)) == 200
    client.send(chance.randbytes(500))
    assert len(client.read(500)) == 500
    client.reset()


def _does_not_listen(client: RawClient, chance: Random, targets: Targets) -> None:
    """Asks, reads nothing and stays, until it is cut off."""
    client.send(_connect(targets.denied))
    with pytest.raises(ConnectionError):
        _goes_on(client)


def _connect(authority: str, *headers: str) -> bytes:
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}", *headers, "", ""]
    return "\r\n".join(lines).encode()


def _hello(chance: Random) -> bytes:
    return build_client_hello(server_name="tls.test", seed=chance.getrandbits(16))


def _noise(chance: Random) -> bytes:
    """No first byte of it begins a method, TLS or an empty line."""
    return bytes((chance.randrange(0x80, 0x100),)) + chance.randbytes(chance.randrange(64, 5000))


HOSTILE = (
    Hostile("random bytes", Reason.MALFORMED_REQUEST, _sends(lambda chance, _: _noise(chance), 400)),
    Hostile("NULs", Reason.MALFORMED_REQUEST, _sends(lambda *_: bytes(5000), 400)),
    Hostile("TLS on the plain port", Reason.TLS_ON_PLAIN_PORT, _sends(lambda chance, _: _hello(chance), 400)),
    Hostile("HTTP/2 preface", Reason.NOT_A_PROXY_REQUEST, _sends(lambda *_: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400)),
    Hostile("SOCKS4 request", Reason.NOT_A_PROXY_REQUEST, _sends(lambda *_: b"\x04\x01\x01\xbb\x7f\0\0\x01\0", 400)),
    Hostile("SOCKS5 greeting", Reason.NOT_A_PROXY_REQUEST, _sends(lambda *_: b"\x05\x01\x00", 400)),
    Hostile("bare LF", Reason.MALFORMED_REQUEST, _sends(lambda *_: b"CONNECT a.test:443 HTTP/1.1\nHost: a\n\n", 400)),
    Hostile("GET for a file", Reason.NOT_A_PROXY_REQUEST, _sends(lambda *_: b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 400)),
    Hostile(
        "https in absolute form",
        Reason.HTTPS_WITHOUT_CONNECT,
        _sends(lambda *_: b"GET https://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
    ),
    Hostile(
        "no authority", Reason.MALFORMED_AUTHORITY, _sends(lambda *_: b"CONNECT / HTTP/1.1\r\nHost: x\r\n\r\n", 400)
    ),
    Hostile(
        "content in a CONNECT",
        Reason.MALFORMED_REQUEST,
        _sends(lambda _, targets: _connect(targets.tcp, "Content-Length: 5") + b"12345", 400),
    ),
    Hostile(
        "10,000 headers",
        Reason.HEAD_TOO_LARGE,
        _sends(lambda _, targets: _connect(targets.tcp, *["A: b"] * 10_000), 431),
    ),
    Hostile(
        "pipelined after a denied CONNECT",
        Reason.NO_RULE,
        _sends(lambda _, targets: _connect(targets.denied) + _connect(targets.tcp) + b"x" * 5000, 403),
    ),
    Hostile("an endless header", Reason.HEAD_TOO_LARGE, _never_ends(b"CONNECT a.test:1 HTTP/1.1\r\nX: ", b"x", 431)),
    Hostile("endless headers", Reason.HEAD_TOO_LARGE, _never_ends(b"CONNECT a.test:1 HTTP/1.1\r\n", b"A: b\r\n", 431)),
    Hostile("an endless target", Reason.HEAD_TOO_LARGE, _never_ends(b"CONNECT ", b"a", 431)),
    Hostile("endless empty lines", Reason.MALFORMED_REQUEST, _never_ends(b"", b"\r\n", 400)),
    Hostile("half a head, then silence", Reason.HEAD_TIMEOUT, _sends(lambda *_: b"CONNECT a.test:443 HT", 408)),
    Hostile("silence", Reason.HEAD_TIMEOUT, _sends(lambda *_: b"", 408)),
    Hostile("a head byte by byte", Reason.HEAD_TIMEOUT, _drips(_connect("a.test:443"), 0.2, 408)),
    Hostile("leaves at once", Reason.CLIENT_CLOSED, _leaves(b"")),
    Hostile("leaves in the middle of a head", Reason.CLIENT_CLOSED, _leaves(b"CONNECT a.test:443 HTTP/1.1\r\nHo")),
    Hostile("resets in the middle of a head", Reason.CLIENT_CLOSED, _resets),
    Hostile("resets a tunnel", Reason.DOWNSTREAM_RESET, _resets_a_tunnel),
    Hostile("does not listen", Reason.NO_RULE, _does_not_listen),
    Hostile("silence in the tunnel", Reason.CLIENT_SILENT, _in_the_tunnel(lambda _: b"", None)),
    Hostile("noise in the tunnel", Reason.PROTOCOL_MISMATCH, _in_the_tunnel(_noise, None)),
    Hostile("a hello, a byte a second", Reason.CLIENT_HELLO_TIMEOUT, _in_the_tunnel(_hello, ACCESS_DENIED, pause=1.0)),
    Hostile(
        "half a hello, then silence",
        Reason.CLIENT_HELLO_TIMEOUT,
        _in_the_tunnel(lambda chance: _hello(chance)[:99], ACCESS_DENIED),
    ),
    Hostile(
        "a hello for another name",
        Reason.SNI_MISMATCH,
        _in_the_tunnel(lambda _: build_client_hello(server_name="other.test"), ACCESS_DENIED),
    ),
    Hostile(
        "a hello of 16 MB",
        Reason.CLIENT_HELLO_TOO_LARGE,
        _in_the_tunnel(lambda _: b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(16_380), DECODE_ERROR),
    ),
)
