"""HTTP/2 where HTTP/1.1 is spoken: on the proxy's own port, as an upgrade, and inside tunnels. What a flood of frames
does inside intercepted TLS needs a proxy that intercepts: those cases are in `tests/exchange` and `tests/flows`."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.model.reasons import Reason
from tests.abuse.case import BrokenOff, Case, Stage, get, refused, send
from tests.abuse.complaint import Complaint, wrong_answer

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST, _SETTINGS, _PING, _WINDOW, _CONTINUATION = 0, 1, 3, 4, 6, 8, 9
_END_STREAM, _END_HEADERS = 1, 4
_BLOCK = b"\x82\x87\x84\x41\x0eforbidden.test"  # GET, https, / and the authority, literally (RFC 7541)
_NO_PROXY = Reason.NOT_A_PROXY_REQUEST


def frame(kind: int, flags: int = 0, stream: int = 0, content: bytes = b"") -> bytes:
    """RFC 9113 section 4.1."""
    return len(content).to_bytes(3, "big") + bytes((kind, flags)) + struct.pack(">I", stream) + content


def _headers(stream: int) -> bytes:
    return frame(_HEADERS, _END_STREAM | _END_HEADERS, stream, _BLOCK)


_STREAMS = range(1, 4001, 2)
FLOODS = {
    "a request": _headers(1),
    "rapid resets": b"".join(_headers(n) + frame(_RST, 0, n, b"\0\0\0\x08") for n in _STREAMS),
    "CONTINUATION without end": frame(_HEADERS, 0, 1, b"\0" * 100) + frame(_CONTINUATION, 0, 1, b"\0" * 1000) * 500,
    "a flood of PING": frame(_PING, 0, 0, bytes(8)) * 10_000,
    "a flood of SETTINGS": frame(_SETTINGS, 0, 0, struct.pack(">HI", 3, 100)) * 10_000,
    "a flood of empty DATA": _headers(1) + frame(_DATA, 0, 1) * 10_000,
    "windows of one byte": frame(_SETTINGS, 0, 0, struct.pack(">HI", 4, 1)) + b"".join(map(_headers, _STREAMS)),
    "windows beyond the end": frame(_WINDOW, 0, 0, b"\x7f\xff\xff\xff") * 100,
    "frames of types that there are not": frame(0xEE, 0xFF, 0, bytes(1000)) * 1000,
}
_SOURCES = {
    "rapid resets": "CVE-2023-44487",
    "CONTINUATION without end": "CVE-2024-27316 and kin",
    "a flood of PING": "CVE-2019-9512",
    "a flood of SETTINGS": "CVE-2019-9515",
    "a flood of empty DATA": "CVE-2019-9518",
    "windows of one byte": "CVE-2019-9511",
}

ON_THE_PORT = tuple(
    refused(
        "http2",
        f"{what} on the port",
        _SOURCES.get(what, "RFC 9113"),
        PREFACE + frame(_SETTINGS) + frames,
        (0, 400, 403, 405, 501, 505),
        _NO_PROXY,
    )
    for what, frames in FLOODS.items()
)


@dataclass(frozen=True)
class _NotUpgraded:
    """The request passes as HTTP/1.1, and the upgrade is not passed on: no HTTP/2 with the destination follows."""

    sent: bytes

    def __call__(self, stage: Stage) -> Sequence[Complaint]:
        before = len(stage.world.web.requests)
        with stage.connect() as client:
            send(client, stage.filled(self.sent))
            client.recv(65536)
        found = stage.world.ordinary(stage.proxy, stage.patience)
        for request in stage.world.web.requests[before:]:
            passed = [name for name, _ in request.fields if name in (b"upgrade", b"http2-settings")]
            found += [wrong_answer(f"passed on: {name!r}") for name in passed]
        return found


_UPGRADES = (
    (
        "an upgrade to h2c",
        "RFC 7540 section 3.2",
        ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"),
    ),
    ("an upgrade to h2c that Connection does not name", "h2c smuggling", ("Upgrade: h2c", "HTTP2-Settings: AAMAAABk")),
    (
        "an upgrade to h2c named in Connection alone",
        "h2c smuggling",
        ("Connection: Upgrade", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"),
    ),
)
UPGRADES = tuple(
    Case(
        "http2",
        what,
        source,
        get("http://allowed.test:<web>/x", *fields),
        "an answer in HTTP/1.1; neither Upgrade nor HTTP2-Settings arrives",
        _NotUpgraded(get("http://allowed.test:<web>/x", *fields, "Connection: close")),
    )
    for what, source, fields in _UPGRADES
)

IN_TUNNELS = (
    Case(
        "http2",
        "the preface in a tunnel for TLS",
        "RFC 9113 section 3.4",
        PREFACE,
        "the tunnel is closed; nothing arrives",
        BrokenOff("allowed.test", PREFACE + frame(_SETTINGS) + _headers(1)),
    ),
    Case(
        "http2",
        "the preface in a tunnel for HTTP/1.1",
        "RFC 9113 section 3.4",
        PREFACE,
        "the tunnel is closed; nothing arrives",
        BrokenOff("allowed.test", PREFACE + frame(_SETTINGS) + _headers(1), "<web>"),
    ),
    Case(
        "http2",
        "rapid resets in a tunnel for HTTP/1.1",
        "CVE-2023-44487",
        PREFACE,
        "the tunnel is closed; nothing arrives",
        BrokenOff("allowed.test", PREFACE + FLOODS["rapid resets"], "<web>"),
    ),
)

CASES: tuple[Case, ...] = (*ON_THE_PORT, *UPGRADES, *IN_TUNNELS)
