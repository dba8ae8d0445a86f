"""TLS on a stream that may hold bytes already: what was peeked is fed to OpenSSL first, nothing is lost or read twice.

A `TlsTransport` stands between a socket's transport and its `Stream`: to the former it is the protocol, to the latter
the transport. The loop's own TLS will not do: it drops what was read before (MagicStack/uvloop#707), has no half-close
and sends no alert when it refuses a certificate. What that costs: docs/decisions/0004-tls-in-memory.md.

Half-close is TLS 1.3's (RFC 8446 section 6.1): after `close_notify` in one direction the other one goes on. A peer that
ends its TCP connection without `close_notify` has ended as well: many clients never send one.
"""

import asyncio
import contextlib
import re
import ssl
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from gateway.net.stream import Stream, received_before_reset

_READ = 16 * 1024  # the size of a record: to read less would leave a part of it inside OpenSSL
_UNTAKEN_AT_MOST = 4 * 1024 * 1024  # bytes queued for a peer that makes us answer (KeyUpdate) and does not read
_MESSAGE = re.compile(r"(?:\[\w+\] )?(.+?)(?: \(_ssl\.c:\d+\))?")
# In the names of the alerts of RFC 6066 (110 to 114) OpenSSL leaves out "alert".
_RECEIVED = re.compile(
    r"\S+ alert (.+)"
    "|tlsv1 (unsupported extension|certificate unobtainable|unrecognized name|bad certificate (?:status .+|hash .+))"
)


class Resumption(NamedTuple):
    """The session that a client resumes, None for none. `keep` is called once, when the first answer arrives: only then
    is there a session to resume next time, as a server of TLS 1.3 sends its tickets after the handshake."""

    session: ssl.SSLSession | None
    keep: Callable[[ssl.SSLObject], None]


class TlsFailed(Exception):
    """The handshake failed. `detail` is OpenSSL's reason and quotes nothing of the peer's.

    `certificate`: the peer's was missing (`missing`) or not accepted; `verdict` is then OpenSSL's X509_V_ERR_ code, 0
    for none. `alert` is the alert that the peer sent, None for none; `gone`: it closed the connection without one.
    """

    def __init__(
        self,
        detail: str,
        *,
        certificate: bool = False,
        missing: bool = False,
        verdict: int = 0,
        alert: str | None = None,
        gone: bool = False,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.certificate = certificate
        self.missing = missing
        self.verdict = verdict
        self.alert = alert
        self.gone = gone


async def start_tls(
    stream: Stream,
    context: ssl.SSLContext,
    server_side: bool,
    server_hostname: str | None = None,
    resumption: Resumption | None = None,
) -> ssl.SSLObject:
    """Shake hands; afterwards what is read from and written to `stream` is plain text. `resumption` is for a client.

    Raises `TlsFailed`; by then the alert is queued, and the stream is to be closed, as it is when this is cancelled.
    """
    transport = TlsTransport(stream, context, server_side, server_hostname, resumption)
    return await transport.shake_hands()


class TlsTransport(asyncio.Transport):
    """Owned by its stream. `raw` is the socket's transport."""

    def __init__(
        self,
        stream: Stream,
        context: ssl.SSLContext,
        server_side: bool,
        server_hostname: str | None,
        resumption: Resumption | None,
    ) -> None:
        super().__init__()
        self._stream = stream
        self._above: asyncio.Protocol = stream
        self._raw = stream.transport
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        session = resumption.session if resumption is not None else None
        name = None if server_hostname is None else server_hostname.encode("ascii")  # as text it would be read as IDNA
        self._ssl = context.wrap_bio(self._incoming, self._outgoing, server_side, name, session)
        self._keep_session = resumption.keep if resumption is not None else None
        self._shaken: asyncio.Future[None] | None = None
        self._peer_ended = False
        self._sent_close_notify = False
        self._fault: Exception | None = None
        self._clear_bytes = 0
        self._sealed_bytes = 0

    async def shake_hands(self) -> ssl.SSLObject:
        """As `start_tls`."""
        stream, raw = self._stream, self._raw
        if stream.is_lost or stream.has_ended:
            raise _gone()
        shaken = self._shaken = asyncio.get_running_loop().create_future()
        raw.set_protocol(cast("asyncio.BaseProtocol", self))
        stream.transport = self
        stream.is_clear = False
        held = stream.peek()
        stream.consume(len(held))
        if held or not self._ssl.server_side:
            self.data_received(held)
        raw.resume_reading()
        try:
            await shaken
        except BaseException:
            self._step_aside()
            raise
        finally:
            del shaken  # it holds the failure, whose traceback holds this frame
        return self._ssl

    def _step_aside(self) -> None:
        """Give the stream its socket's transport back: to close or reset it needs no TLS."""
        if not self._stream.is_lost:
            self._raw.set_protocol(self._stream)
        self._stream.transport = self._raw

    # Called by the socket's transport.

    def data_received(self, data: bytes) -> None:
        self._incoming.write(data)
        is_shaking = self._shaken is not None
        try:
            if is_shaking:
                self._ssl.do_handshake()
                self._settle(None)
            clear = self._open_records()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as error:
            self._flush()  # the alert
            self._fail(error)
            return
        if self._outgoing.pending and not (is_shaking and self._answer_takes_it(clear)):
            self._flush()  # our end of the handshake, tickets, an answer to a key update
            if self._raw.get_write_buffer_size() > _UNTAKEN_AT_MOST:
                self._raw.abort()
        if clear:
            if self._keep_session is not None:
                self._keep_session(self._ssl)
                self._keep_session = None
            self._above.data_received(clear)
        if self._peer_ended:
            self._tell_end()

    def _answer_takes_it(self, clear: bytes) -> bool:
        """Whether what a handshake leaves to send goes out with the answer to what came with its end. These
        are a server's tickets, for which no client of TLS 1.3 waits."""
        return bool(clear) and self._ssl.server_side and self._ssl.version() == "TLSv1.3"

    def _open_records(self) -> bytes:
        """All that can be read now. Does not ask OpenSSL for more than there is: it would raise, which costs more than
        a record does."""
        chunks: list[bytes] = []
        while self._incoming.pending and not self._peer_ended:
            try:
                chunk = self._ssl.read(_READ)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:  # `close_notify` from both sides
                chunk = b""
            except ssl.SSLError:
                if chunks:  # what came before the fault is valid
                    self._above.data_received(b"".join(chunks))
                raise
            self._peer_ended = not chunk
            chunks.append(chunk)
        return b"".join(chunks)

    def _tell_end(self) -> None:
        if not self._stream.has_ended:
            self._above.eof_received()

    def _fail(self, error: ssl.SSLError) -> None:
        """In the handshake an alert has told the peer why; after it the connection counts as reset."""
        if self._shaken is not None:
            self._stream.mark_written()
            self._settle(_failure(error))
        elif self._fault is None:
            self._fault = error.with_traceback(None)  # a traceback holds this transport
            self._stream.alert = _failure(error).alert
            self._raw.abort()
            self._lose(error)  # at once: nothing may be called on a closed transport

    def _settle(self, failure: TlsFailed | None) -> None:
        shaken, self._shaken = self._shaken, None
        if shaken is None or shaken.done():
            return
        if failure is None:
            shaken.set_result(None)
        else:
            shaken.set_exception(failure)

    def _settle_gone(self) -> None:
        if self._shaken is not None:
            self._settle(_gone())

    def eof_received(self) -> bool:
        self._stream.is_cut = not self._peer_ended
        self._peer_ended = True
        self._tell_end()
        self._settle_gone()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and self._fault is None and not self._ssl.server_side:
            self.data_received(received_before_reset(self._raw))  # a server of TLS 1.3 may say why it closes
        if self._fault is None:
            self._lose(exc)

    def _lose(self, exc: Exception | None) -> None:
        self._above.connection_lost(exc)
        self._stream.transport = self._raw  # the two would be a reference cycle
        self._settle_gone()

    def pause_writing(self) -> None:
        self._above.pause_writing()

    def resume_writing(self) -> None:
        self._above.resume_writing()

    # Called by the stream.

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """For TLS inside this TLS: the inner one stands between this transport and the stream."""
        self._above = cast("asyncio.Protocol", protocol)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._sent_close_notify or self._fault is not None or not data:
            return
        size = len(data)
        sent = self._ssl.write(data)
        if sent < size:  # OpenSSL takes a record's worth at a time
            view = memoryview(data)
            while sent < size:
                sent += self._ssl.write(view[sent:])
        sealed = self._outgoing.read()
        self._clear_bytes += size
        self._sealed_bytes += len(sealed)
        self._raw.write(sealed)

    def write_eof(self) -> None:
        self._send_close_notify()
        self._raw.write_eof()

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self._send_close_notify()
        self._raw.close()

    def abort(self) -> None:
        self._raw.abort()

    def is_closing(self) -> bool:
        return self._raw.is_closing()

    def pause_reading(self) -> None:
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        self._raw.resume_reading()

    def is_reading(self) -> bool:
        return self._raw.is_reading()

    def get_write_buffer_size(self) -> int:
        """In bytes of plain text, approximately: what waits is encrypted already."""
        queued = self._raw.get_write_buffer_size()
        return -(-queued * self._clear_bytes // self._sealed_bytes) if queued and self._sealed_bytes else queued

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._raw.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """`ssl_object`, and what the socket's transport knows."""
        return self._ssl if name == "ssl_object" else self._raw.get_extra_info(name, default)

    def _send_close_notify(self) -> None:
        """Once. The peer's own `close_notify` is not waited for."""
        if self._sent_close_notify or self._fault is not None or self._raw.is_closing():
            return
        self._sent_close_notify = True
        with contextlib.suppress(ssl.SSLError):  # which it raises to wait for the peer's
            self._ssl.unwrap()
        self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending and not self._stream.is_lost:
            self._raw.write(self._outgoing.read())


def _gone() -> TlsFailed:
    return TlsFailed("the peer went away before the handshake was over", gone=True)


def _failure(error: ssl.SSLError) -> TlsFailed:
    if isinstance(error, ssl.SSLCertVerificationError):
        return TlsFailed(error.verify_message, certificate=True, verdict=error.verify_code)
    if isinstance(error, ssl.SSLZeroReturnError):
        return _gone()
    missing = error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
    said = (error.reason or _text_of(error)).lower().replace("_", " ")
    received = _RECEIVED.fullmatch(said)
    return TlsFailed(said, certificate=missing, missing=missing, alert=received and (received[1] or received[2]))


def _text_of(error: ssl.SSLError) -> str:
    """OpenSSL's words, for the reasons that Python has no name for."""
    found = _MESSAGE.fullmatch(str(error.args[-1])) if error.args else None
    return found[1] if found else type(error).__name__
