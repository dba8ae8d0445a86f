"""A client of HTTP/2 in a tunnel that the proxy ends: it sends what a case says and keeps what comes."""

import select
import socket
import ssl
import time
from collections import Counter
from contextlib import suppress

import hpack

from tests.abuse.case import Stage, connect, send
from tests.abuse.inspected import frames
from tests.abuse.inspected.origin import HOST
from tests.helpers.http_client import ResponseReader

_PIECE = 16384
_LONGEST_WAIT = 0.2


class NotIntercepted(Exception):
    """The proxy does not end TLS here as the case needs it."""


class Conversation:
    """`ended`: no more comes. `goaway` is its code, `resets` those by stream, `statuses` the final ones by stream,
    `received` the bytes of content of all streams, `done` the streams that came to their end."""

    def __init__(self, stage: Stage, alpn: str = "h2", acknowledges: bool = True) -> None:
        self._until = time.monotonic() + stage.patience
        raw = stage.connect()
        try:
            self.tls = _shaken(stage, raw, alpn)
        except BaseException:
            raw.close()
            raise
        self.alpn = self.tls.selected_alpn_protocol()
        self.ended = False
        self.goaway: int | None = None
        self.resets: dict[int, int] = {}
        self.statuses: dict[int, int] = {}
        self.done: set[int] = set()
        self.received: Counter[int] = Counter()
        self.text = b""
        self._held = bytearray()
        self._acknowledges = b""
        self._may_acknowledge = acknowledges
        self._decoder = hpack.Decoder()
        self.tls.setblocking(False)

    def __enter__(self) -> "Conversation":
        return self

    def __exit__(self, *_: object) -> None:
        self.tls.close()

    @property
    def is_over(self) -> bool:
        """Told the end, or gone."""
        return self.ended or bool(self.goaway)

    def say(self, said: bytes) -> None:
        """All of it, unless the proxy ends the connection meanwhile. Raises `TimeoutError`."""
        at = 0
        while at < len(said) and not self.is_over:
            try:
                at += self.tls.send(said[at : at + _PIECE])
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                self._wait(writes=True)
            except OSError:
                self._read()  # what it said before it went
                self.ended = True
            if at % (_PIECE * 8) == 0:
                self._read()

    def hear(self, *streams: int) -> None:
        """Until all of these streams have come to an end, or the connection has. Raises `TimeoutError`."""
        while not self.is_over and not (streams and all(n in self.done or n in self.resets for n in streams)):
            if not self._read():
                self._wait()

    def _wait(self, writes: bool = False) -> None:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError("in vain")
        waiting = select.poll()  # the suite may have more descriptors than `select.select` takes
        waiting.register(self.tls, select.POLLIN | (select.POLLOUT if writes else 0))
        if any(event & ~select.POLLOUT for _, event in waiting.poll(1000 * min(left, _LONGEST_WAIT))):
            self._read()

    def _read(self) -> bool:
        """Whether anything came."""
        try:
            data = self.tls.recv(65536)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError:
            data = b""
        if not data:
            self.ended = True
            return False
        self._take(data)
        return True

    def _take(self, data: bytes) -> None:
        self.text += data[: max(0, 4096 - len(self.text))]
        if self.alpn != "h2":
            return
        self._held += data
        for kind, flags, stream, content in frames.split(self._held):
            self._heed(kind, flags, stream, content)
        if self._acknowledges and self._may_acknowledge and not self.ended:
            with suppress(OSError):  # full: it is a peer that floods us
                self.tls.send(self._acknowledges)
            self._acknowledges = b""

    def _heed(self, kind: int, flags: int, stream: int, content: bytes) -> None:
        if kind == frames.GOAWAY:
            self.goaway = int.from_bytes(content[4:8], "big")
        elif kind == frames.RST:
            self.resets[stream] = int.from_bytes(content[:4], "big")
        elif kind == frames.SETTINGS and not flags & frames.ACK:
            self._acknowledges += frames.frame(frames.SETTINGS, frames.ACK)
        elif kind == frames.DATA:
            self.received[stream] += len(content)
        elif kind == frames.HEADERS and not flags & frames.PADDED and flags & frames.END_HEADERS:
            self._heed_head(stream, content)
        if kind in (frames.DATA, frames.HEADERS) and flags & frames.END_STREAM:
            self.done.add(stream)

    def _heed_head(self, stream: int, content: bytes) -> None:
        fields = {str(name): str(value) for name, value in self._decoder.decode(content)}
        status = int(fields.get(":status", "0"))
        if status >= 200:
            self.statuses[stream] = status


def _shaken(stage: Stage, raw: socket.socket, alpn: str) -> ssl.SSLSocket:
    """Whoever answers is believed, unless it is the destination itself. Raises `NotIntercepted`."""
    send(raw, connect(f"{HOST}:{stage.world.inspected.port}"))
    answer = ResponseReader(raw).read(bodiless=True)
    if answer is None or answer.status != 200:
        raise NotIntercepted(f"told {answer.status if answer else 'nothing'}, not 200")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([alpn])
    try:
        tls = context.wrap_socket(raw, server_hostname=HOST)
    except (OSError, ValueError) as error:
        raise NotIntercepted(repr(error)) from error
    if tls.getpeercert(binary_form=True) == stage.world.inspected.certificate:
        raise NotIntercepted("the certificate is the destination's own")
    return tls
