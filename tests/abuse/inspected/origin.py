"""The destination behind a proxy that intercepts: HTTP/2 or HTTP/1.1 in TLS, and it keeps what reached it."""

import contextlib
import socket
import ssl
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from tests.abuse.inspected.frames import PREFACE, split
from tests.helpers.http_origin import Talk
from tests.helpers.origins import Origin, Visit
from tests.helpers.tls_origin import Issuer

HOST = "inspected.test"
_QUIET = 0.04
_KEPT_SECONDS = 20 * 86400.0  # its certificate lasts for longer
BIG = 1 << 20
"""Bytes of the answer to `/big`: more than any window that a client has not opened."""


@dataclass(frozen=True)
class Seen:
    """A request whose head arrived, by whichever version."""

    authority: str
    path: str
    fields: tuple[tuple[str, str], ...]

    def values(self, name: str) -> list[str]:
        return [value for each, value in self.fields if each == name]


class InspectedOrigin(Origin):
    """`requests` in their order; `whole` counts those whose end arrived, `faults` what is no HTTP/2, and `frames` all
    frames by kind. `certificate`, in DER, is its own, by `authority`, which the proxy must trust."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.authority, leaf = certificates_in(folder)
        self.certificate = ssl.PEM_cert_to_DER_cert(_first(leaf.read_text()))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(leaf)
        self._context.set_alpn_protocols(["h2", "http/1.1"])
        self.requests: list[Seen] = []
        self.whole = 0
        self.faults: list[str] = []
        self.frames: Counter[int] = Counter()
        super().__init__(self._serve_tls, port=port)

    def quiet(self) -> None:
        """What was on its way has arrived: for a while nothing more came. It gives up after two seconds."""
        deadline = time.monotonic() + 2.0
        before = -1
        while time.monotonic() < deadline and before != (now := sum(len(visit.received) for visit in self.visits)):
            before = now
            time.sleep(_QUIET)

    def _serve_tls(self, connection: socket.socket, visit: Visit) -> None:
        connection.settimeout(30)
        with (
            contextlib.suppress(ssl.SSLError, OSError),
            self._context.wrap_socket(connection, server_side=True) as secure,
        ):
            if secure.selected_alpn_protocol() == "h2":
                _Http2(secure, visit, self).serve()
            else:
                self._serve_http1(Talk(secure, visit, 0))

    def _serve_http1(self, talk: Talk) -> None:
        while (got := talk.read_head()) is not None:
            authority = (got.values("host") or [""])[0]
            self.requests.append(Seen(authority, got.path, tuple(got.fields)))
            talk.read_body(got)
            self.whole += 1
            talk.reply(b"" if got.method == "HEAD" else _content(got.path))


def certificates_in(folder: Path) -> tuple[Path, Path]:
    """The authority's certificate, and the destination's with its key; made anew where they are not, or are old."""
    authority, leaf = folder / "origins.pem", folder / "inspected.pem"
    if not leaf.exists() or time.time() - leaf.stat().st_mtime > _KEPT_SECONDS:
        made, _ = Issuer(folder, "origins").files(HOST)
        made.rename(leaf)
    return authority, leaf


def _first(pem: str) -> str:
    """Of the certificates in a file that begins with one."""
    end = "-----END CERTIFICATE-----"
    return pem[: pem.index(end) + len(end)] + "\n"


def _content(path: str) -> bytes:
    return bytes(BIG) if path == "/big" else b"ok\n"


class _Http2:
    """One connection. It answers what fits the windows, and the rest never."""

    def __init__(self, secure: ssl.SSLSocket, visit: Visit, origin: InspectedOrigin) -> None:
        self._socket, self._visit, self._origin = secure, visit, origin
        config = h2.config.H2Configuration(client_side=False, header_encoding="latin-1")
        self._connection = h2.connection.H2Connection(config)
        self._held = bytearray()
        self._paths: dict[int, str] = {}

    def serve(self) -> None:
        self._connection.initiate_connection()
        self._socket.sendall(self._connection.data_to_send())
        while data := self._socket.recv(65536):
            self._visit.received += data
            self._count(data)
            try:
                for event in self._connection.receive_data(data):
                    self._heed(event)
            except h2.exceptions.ProtocolError as error:
                self._origin.faults.append(repr(error)[:120])
                return
            finally:
                self._socket.sendall(self._connection.data_to_send())

    def _count(self, data: bytes) -> None:
        self._held += data
        if self._held.startswith(PREFACE):
            del self._held[: len(PREFACE)]
        self._origin.frames.update(kind for kind, *_ in split(self._held))

    def _heed(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            fields = tuple((str(name), str(value)) for name, value in event.headers)
            known = dict(fields)
            authority = known.get(":authority") or known.get("host", "")
            self._origin.requests.append(Seen(authority, known.get(":path", ""), fields))
            self._paths[event.stream_id] = known.get(":path", "")
        elif isinstance(event, h2.events.DataReceived):
            self._connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self._origin.whole += 1
            self._answer(event.stream_id, self._paths.pop(event.stream_id, ""))

    def _answer(self, stream: int, path: str) -> None:
        content = _content(path)
        self._connection.send_headers(stream, [(":status", "200"), ("content-length", str(len(content)))])
        room = min(self._connection.local_flow_control_window(stream), len(content), 16384)
        self._connection.send_data(stream, content[:room], end_stream=room == len(content))
