"""One HTTP/2 connection without its socket: bytes into events, and what is to be sent into bytes.

    bytes -> frames -> is it allowed now? -> events        head, data, reset, window -> frames -> bytes

A `ConnectionFault` ends it; a fault of one stream alone resets that stream and is reported by an event, and the others
go on. Windows are opened by whoever took the content, so a peer can make us hold no more than `LARGEST_STREAM_WINDOW` a
stream, and `STREAM_WINDOW` of one that was never fast. Time is an argument. What a head means is read in `heads`.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from gateway.wire.http.messages import Fields
from gateway.wire.http2 import codes
from gateway.wire.http2.codes import ConnectionFault, ErrorCode, StreamFault, code_of
from gateway.wire.http2.compression import Decompressor
from gateway.wire.http2.floods import USUAL_FIELDS, Floods, Kind
from gateway.wire.http2.frames import (
    SETTINGS_ACK,
    Frame,
    FrameReader,
    content_of,
    goaway_of,
    ping_ack,
    settings_of,
    word_of,
)
from gateway.wire.http2.sending import Closed, Sender, Stream
from gateway.wire.http2.settings import CONNECTION_WINDOW, HEADER_LIST, STREAMS

_CONTINUATIONS = 8
_SMALL = 4096  # bytes by which a window grows; larger updates are bounded anyway: no window may exceed 2^31-1


class HeadCame(NamedTuple):
    """Fields of a head or of trailers; `is_first`: this opens the stream."""

    stream: int
    fields: Fields
    ended: bool
    is_first: bool = False


class DataCame(NamedTuple):
    """`size` is what it took of the windows, to be given back with `credit`."""

    stream: int
    data: bytes
    size: int
    ended: bool


class StreamEnded(NamedTuple):
    """Early: the peer has reset it, or we have for a fault of the peer's (`detail`)."""

    stream: int
    code: ErrorCode
    detail: str = ""


class WindowGrew(NamedTuple):
    """More can be sent on `stream`; 0 is all of them."""

    stream: int


class SettingsCame(NamedTuple):
    """The peer's settings are in force."""


class WentAway(NamedTuple):
    """The peer takes no further streams; it has not processed those above `last`."""

    last: int
    code: ErrorCode


Event = HeadCame | DataCame | StreamEnded | WindowGrew | SettingsCame | WentAway


class Connection:
    """`is_server`: the peer opens the streams. `sender` is how anything is sent. The peer is told to send no head of
    more than `head` bytes; whoever reads one checks that, as only far larger ones end the connection. `has_settings`:
    the peer's settings have come. `head_since` is the `now` at which a head began whose end has not come yet."""

    def __init__(self, is_server: bool, head: int = HEADER_LIST) -> None:
        self.sender = Sender(is_server)
        self.streams = self.sender.streams
        self.last_stream = 0
        self.has_settings = False
        self.head_since: float | None = None
        self.floods = Floods()
        self._is_server = is_server
        self._reader = FrameReader(awaits_preface=is_server)
        self._head = head
        self._longest_block = max(head, HEADER_LIST)  # compressed
        self._decompressor = Decompressor(2 * self._longest_block)
        self._block: tuple[Frame, list[bytes], int] | None = None
        self._most_streams = STREAMS
        self._window = CONNECTION_WINDOW

    def begin(self, extended_connect: bool = False, streams: int = STREAMS) -> None:
        """Say what comes first: see `server_settings`."""
        self._most_streams = streams
        self.sender.begin(extended_connect, streams, self._head)

    def receive(self, data: bytes, now: float) -> Iterator[Event]:
        """The events of `data`, to be exhausted. Raises `ConnectionFault`, of which the peer is then to be told."""
        for frame in self._reader.feed(data):
            event = self._handle(frame, now)
            if event is not None:
                yield event
        if self.head_since is None and (self._block is not None or self._reader.has_begun_head):
            self.head_since = now

    def credit_connection(self, size: int) -> None:
        """`size` bytes of what came are held no longer, or never were."""
        self._window += self.sender.credit_connection(size)

    def credit(self, stream: int, size: int, at_once: bool = False) -> None:
        """`size` bytes of what came on this stream were taken: `at_once`, or after they had to wait."""
        known = self.streams.get(stream)
        if known is not None and not known.remote_ended:
            known.receive_window += self.sender.credit(known, size, at_once)

    # Frames.

    def _handle(self, frame: Frame, now: float) -> Event | None:
        block = self._block
        if block is not None and (frame.kind != codes.CONTINUATION or frame.stream != block[0].stream):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame within a block of fields")
        if not self.has_settings and (frame.kind != codes.SETTINGS or frame.flags & codes.ACK):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame before SETTINGS")
        handler = _HANDLERS.get(frame.kind)
        if handler is None:
            self.floods.count(Kind.EMPTY, now)  # extensions are ignored (RFC 9113 section 5.5)
            return None
        try:
            return handler(self, frame, now)
        except StreamFault as fault:
            self.floods.count(Kind.RESET, now)
            self.reset(frame.stream, fault.code)
            return StreamEnded(frame.stream, fault.code, fault.detail)

    def reset(self, stream: int, code: ErrorCode) -> None:
        """End the stream from our side. Without effect on one that is over."""
        self.sender.reset(stream, code)

    def _on_data(self, frame: Frame, now: float) -> Event | None:
        _need_stream(frame)
        size = len(frame.payload)
        self._window -= size
        if self._window < 0:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more than the connection's window")
        stream = self._known(frame, now)
        if stream is None:
            self.credit_connection(size)
            return None
        try:
            return self._take_data(frame, stream, size, now)
        except StreamFault:
            self.credit_connection(size)
            raise

    def _take_data(self, frame: Frame, stream: Stream, size: int, now: float) -> Event | None:
        if stream.remote_ended:
            raise StreamFault(ErrorCode.STREAM_CLOSED, "content after its end")
        stream.receive_window -= size
        if stream.receive_window < 0:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "more than the stream's window")
        data = content_of(frame)
        if not data and not frame.ends_stream:
            self.floods.count(Kind.EMPTY, now)
        if frame.ends_stream:
            self._end_remote(stream)
        return DataCame(frame.stream, data, size, frame.ends_stream)

    def _on_headers(self, frame: Frame, now: float) -> Event | None:
        _need_stream(frame)
        if self._is_server and frame.stream % 2 == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a client's stream with an even number")
        return self._add_block(frame, content_of(frame), [], 0, now)

    def _on_continuation(self, frame: Frame, now: float) -> Event | None:
        if self._block is None:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a CONTINUATION without HEADERS")
        first, pieces, size = self._block
        self._block = None
        if len(pieces) > max(_CONTINUATIONS, self._longest_block // codes.MAX_FRAME):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many CONTINUATIONs")
        if frame.ends_headers:
            first = first._replace(flags=first.flags | codes.END_HEADERS)
        return self._add_block(first, frame.payload, pieces, size, now)

    def _add_block(self, first: Frame, piece: bytes, pieces: list[bytes], size: int, now: float) -> Event | None:
        size += len(piece)
        if size > self._longest_block:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"more than {self._longest_block} bytes of a head")
        pieces.append(piece)
        if not first.ends_headers:
            self._block = first, pieces, size
            return None
        self.head_since = None
        fields = self._decompressor.fields(b"".join(pieces))  # whatever the stream: the table is the connection's
        if self._is_server and len(fields) > USUAL_FIELDS:
            self.floods.count(Kind.FIELD, now, len(fields) - USUAL_FIELDS)
        return self._take_head(first, fields, now)

    def _take_head(self, frame: Frame, fields: Fields, now: float) -> Event | None:
        number = frame.stream
        opens = self._is_server and number > self.last_stream
        if opens:
            self.last_stream = number
            if self.sender.is_leaving or len(self.streams) >= self._most_streams:
                raise StreamFault(ErrorCode.REFUSED_STREAM, "more streams than were agreed")
            stream: Stream | None = self.sender.new_stream(number)
        else:
            stream = self._known(frame, now)
        if stream is None:
            return None
        if stream.remote_ended:
            raise StreamFault(ErrorCode.STREAM_CLOSED, "fields after its end")
        if frame.ends_stream:
            self._end_remote(stream)
        return HeadCame(number, fields, frame.ends_stream, opens)

    def _on_reset(self, frame: Frame, now: float) -> Event | None:
        _need_stream(frame)
        code = code_of(word_of(frame))
        stream = self._known(frame, now)
        if stream is None:
            return None
        if self._is_server:
            self.floods.count(Kind.RESET, now)
        self.sender.forget(stream, Closed.BY_PEER)
        return StreamEnded(frame.stream, code)

    def _on_settings(self, frame: Frame, now: float) -> Event | None:
        if frame.stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "SETTINGS on a stream")
        self.floods.count(Kind.SETTINGS, now)
        if frame.flags & codes.ACK:
            if frame.payload:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "an ACK of SETTINGS with a payload")
            return None
        for key, value in settings_of(frame):
            self.sender.apply(key, value, of_server=not self._is_server)
        self.has_settings = True
        self.sender.put(SETTINGS_ACK)
        return SettingsCame()

    def _on_ping(self, frame: Frame, now: float) -> Event | None:
        if frame.stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a PING on a stream")
        if len(frame.payload) != 8:  # RFC 9113 section 6.7
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a PING that is not of eight bytes")
        self._count_answer(Kind.PING, now)
        if not frame.flags & codes.ACK:
            self.sender.put(ping_ack(frame.payload))
        return None

    def _on_goaway(self, frame: Frame, now: float) -> Event | None:
        if frame.stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a GOAWAY on a stream")
        self.floods.count(Kind.SETTINGS, now)
        last, code = goaway_of(frame)
        return WentAway(last, code_of(code))

    def _on_window_update(self, frame: Frame, now: float) -> Event | None:
        size = word_of(frame) & codes.MAX_WINDOW
        if size < _SMALL:
            self._count_answer(Kind.WINDOW, now)
        if not frame.stream:
            self.sender.grow(size)
            return WindowGrew(0)
        stream = self._known(frame, now)
        if stream is None:
            return None
        self.sender.grow_stream(stream, size)
        return WindowGrew(frame.stream)

    def _count_answer(self, kind: Kind, now: float) -> None:
        """Count a frame that peers answer content with: to take more, or to measure how fast it comes."""
        sent = self.sender.take_count()
        if sent:
            self.floods.earn(Kind.WINDOW, 2 * sent)
            self.floods.earn(Kind.PING, sent)
            self.floods.earn(Kind.STRAY, sent)
        self.floods.count(kind, now)

    def _on_push(self, frame: Frame, now: float) -> Event | None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a PUSH_PROMISE, which is never allowed")

    def _on_priority(self, frame: Frame, now: float) -> Event | None:
        """Deprecated, and ignored (RFC 9113 section 5.3)."""
        _need_stream(frame)
        self.floods.count(Kind.PRIORITY, now)
        if len(frame.payload) != 5:  # RFC 9113 section 6.3; an idle stream has nothing that could be reset
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a PRIORITY that is not of five bytes")
        return None

    # Streams.

    def _known(self, frame: Frame, now: float) -> Stream | None:
        """None for a stream that is over; what was still on its way there is ignored, within bounds."""
        number = frame.stream
        stream = self.streams.get(number)
        if stream is not None:
            return stream
        newest = self.last_stream if self._is_server else self.sender.newest
        if number > newest or number % 2 == 0:  # nobody pushes
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame on an idle stream")
        if frame.kind in (codes.WINDOW_UPDATE, codes.RST_STREAM):
            self._count_answer(Kind.STRAY, now)  # mostly in answer to the last content that was sent there
            return None
        how = self.sender.closed.get(number)
        if how is None and frame.kind == codes.HEADERS:  # mostly a number that was skipped
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a stream with a lower number")
        if how is None or how is Closed.BY_PEER:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "a frame on a stream that is over")
        if frame.kind != codes.DATA or not self.sender.closed.was_due(number, len(frame.payload)):
            self.floods.count(Kind.STRAY, now)
        return None

    def _end_remote(self, stream: Stream) -> None:
        stream.remote_ended = True
        self.sender.forget_if_over(stream)


def _need_stream(frame: Frame) -> None:
    if not frame.stream:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame on stream 0 that belongs to a stream")


_HANDLERS: Mapping[int, Callable[[Connection, Frame, float], Event | None]] = {
    codes.DATA: Connection._on_data,
    codes.HEADERS: Connection._on_headers,
    codes.CONTINUATION: Connection._on_continuation,
    codes.RST_STREAM: Connection._on_reset,
    codes.SETTINGS: Connection._on_settings,
    codes.PING: Connection._on_ping,
    codes.GOAWAY: Connection._on_goaway,
    codes.WINDOW_UPDATE: Connection._on_window_update,
    codes.PUSH_PROMISE: Connection._on_push,
    codes.PRIORITY: Connection._on_priority,
}
