"""How DNS messages are framed inside TLS: DNS over TLS (RFC 7858) and DNS over HTTPS (RFC 8484, HTTP/2). No I/O.

Questions of both are padded to a multiple of 128 bytes (RFC 7830, RFC 8467 section 4.1), so that their size does not
tell how long a name is. Several are under way at once; answers come in any order and are matched by a number.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import NamedTuple, Protocol

import dns.message
import h2.connection
import h2.events
import h2.exceptions
from h2.config import H2Configuration
from h2.errors import ErrorCodes

from gateway.net.dns.transport import EDNS_PAYLOAD, LARGEST_MESSAGE, Question

MOST_AT_ONCE = 100
"""Questions under way on one connection; more wait for their turn."""
PADDING_BLOCK = 128
MOST_HELD = 128 * 1024
"""Bytes that may arrive without completing a frame: a header block with its continuations is the longest."""
MEDIA_TYPE = "application/dns-message"


class Put(NamedTuple):
    """A question as it goes out: the number that its answer will have, and the bytes to send."""

    number: int
    query: dns.message.Message
    data: bytes


class Framing(Protocol):
    """The state of one connection. Whatever the peer sends that makes no sense raises `ConnectionAbortedError`."""

    @property
    def most_at_once(self) -> int | None:
        """How many questions may be under way; None while the peer has not said."""
        ...

    def greeting(self) -> bytes:
        """What is sent first."""
        ...

    def put(self, question: Question) -> Put:
        """A question with a number of its own. Raises `ConnectionAbortedError` if this connection takes no more."""
        ...

    def take(self, data: bytes) -> Iterator[tuple[int, bytes | OSError]]:
        """Answers that are complete with `data`, or why there is none, by number."""
        ...

    def forget(self, number: int) -> None:
        """Nobody waits for that answer any more."""
        ...

    def pending(self) -> bytes:
        """What has to be sent besides questions."""
        ...


def _query(question: Question, number: int) -> dns.message.Message:
    return dns.message.make_query(
        question.name, question.kind, id=number, use_edns=0, payload=EDNS_PAYLOAD, pad=PADDING_BLOCK
    )


def _as_bytes(headers: Iterable[tuple[bytes | str, bytes | str]]) -> Mapping[bytes, bytes]:
    def octets(text: bytes | str) -> bytes:
        return text.encode() if isinstance(text, str) else text

    return {octets(name): octets(value) for name, value in headers}


class DotFraming:
    """Two bytes of length before each message. The number is the DNS id, given out in turn, so that none is used again
    while a question with it waits."""

    most_at_once = MOST_AT_ONCE

    def __init__(self, first_id: int) -> None:
        self._ids = count(first_id)
        self._received = bytearray()

    def greeting(self) -> bytes:
        """See `Framing`."""
        return b""

    def put(self, question: Question) -> Put:
        """See `Framing`."""
        number = next(self._ids) & 0xFFFF
        query = _query(question, number)
        return Put(number, query, query.to_wire(prepend_length=True))

    def take(self, data: bytes) -> Iterator[tuple[int, bytes | OSError]]:
        """See `Framing`. At most one message and what came with its last byte is held."""
        self._received += data
        while len(self._received) >= 2:
            end = 2 + int.from_bytes(self._received[:2], "big")
            if len(self._received) < end:
                return
            message = bytes(self._received[2:end])
            del self._received[:end]
            yield int.from_bytes(message[:2], "big"), message

    def forget(self, number: int) -> None:
        """See `Framing`."""

    def pending(self) -> bytes:
        """See `Framing`."""
        return b""


class DohFraming:
    """A POST for each question; the number is that of its stream. `authority` and `path` make up the URI."""

    def __init__(self, authority: str, path: str) -> None:
        self.most_at_once: int | None = None
        self._http = h2.connection.H2Connection(H2Configuration(client_side=True))
        self._head = (
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", authority),
            (":path", path),
            ("accept", MEDIA_TYPE),
            ("content-type", MEDIA_TYPE),
        )
        self._bodies: dict[int, bytearray] = {}
        self._refusals: dict[int, OSError] = {}
        self._is_ending = False
        self._held = 0

    def greeting(self) -> bytes:
        """See `Framing`."""
        self._http.initiate_connection()
        return self._http.data_to_send()

    def put(self, question: Question) -> Put:
        """See `Framing`. The DNS id is 0, as RFC 8484 section 4.1 has it."""
        if self._is_ending:
            raise ConnectionAbortedError("the server takes no more questions on this connection")
        query = _query(question, 0)
        body = query.to_wire()
        try:
            number = self._http.get_next_available_stream_id()
            self._http.send_headers(number, [*self._head, ("content-length", str(len(body)))])
            self._http.send_data(number, body, end_stream=True)
        except h2.exceptions.ProtocolError as error:
            raise ConnectionAbortedError(f"HTTP/2: {error}") from error
        self._bodies[number] = bytearray()
        return Put(number, query, self._http.data_to_send())

    def take(self, data: bytes) -> Iterator[tuple[int, bytes | OSError]]:
        """See `Framing`."""
        try:
            events = self._http.receive_data(data)
            self._bound(len(data), bool(events))
            for event in events:
                yield from self._notice(event)
        except h2.exceptions.ProtocolError as error:
            self._is_ending = True
            raise ConnectionAbortedError(f"HTTP/2: {error}") from error

    def _bound(self, size: int, made_sense: bool) -> None:
        """Bound a frame that does not end: h2 holds one until it is whole, and only then finds that it is too long."""
        self._held = 0 if made_sense else self._held + size
        if self._held > MOST_HELD:
            raise h2.exceptions.ProtocolError("a frame without end")

    def _notice(self, event: h2.events.Event) -> Iterator[tuple[int, bytes | OSError]]:
        match event:
            case h2.events.RemoteSettingsChanged():
                self.most_at_once = min(MOST_AT_ONCE, self._http.remote_settings.max_concurrent_streams)
            case h2.events.ConnectionTerminated():
                self._is_ending = True
            case h2.events.ResponseReceived():
                self._read_head(event.stream_id, _as_bytes(event.headers))
            case h2.events.DataReceived():
                self._http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                self._keep(event.stream_id, event.data)
            case h2.events.StreamEnded():
                yield from self._end(event.stream_id, None)
            case h2.events.StreamReset():
                yield from self._end(event.stream_id, ConnectionAbortedError("the server reset the question"))

    def _read_head(self, number: int, head: Mapping[bytes, bytes]) -> None:
        status, media_type = head.get(b":status", b""), head.get(b"content-type", b"").partition(b";")[0]
        if status != b"200":
            self._refusals[number] = ConnectionAbortedError(f"HTTP status {status.decode('ascii', 'replace')}")
        elif media_type.strip().lower() != MEDIA_TYPE.encode():
            self._refusals[number] = ConnectionAbortedError(f"the answer is no {MEDIA_TYPE}")

    def _keep(self, number: int, data: bytes) -> None:
        body = self._bodies.get(number)
        if body is None or number in self._refusals:
            return
        if len(body) + len(data) > LARGEST_MESSAGE:
            self._refusals[number] = ConnectionAbortedError("the answer is longer than a DNS message can be")
        else:
            body += data

    def _end(self, number: int, error: OSError | None) -> Iterator[tuple[int, bytes | OSError]]:
        body = self._bodies.pop(number, None)
        error = self._refusals.pop(number, None) or error
        if body is not None:
            yield number, error or bytes(body)

    def forget(self, number: int) -> None:
        """See `Framing`: the stream is reset, so that its place is free."""
        self._refusals.pop(number, None)
        if self._bodies.pop(number, None) is not None and not self._is_ending:
            self._http.reset_stream(number, ErrorCodes.CANCEL)

    def pending(self) -> bytes:
        """See `Framing`."""
        return self._http.data_to_send()
