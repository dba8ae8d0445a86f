"""What is sent on an HTTP/2 connection: within the peer's windows, in frames of a size that every peer takes.

Nothing is held here but what `take` returns next: content without window stays with its writer.
"""

from collections.abc import Sequence
from enum import Enum

from gateway.wire.http2.codes import (
    DEFAULT_WINDOW,
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME,
    MAX_WINDOW,
    PREFACE,
    ConnectionFault,
    ErrorCode,
    StreamFault,
)
from gateway.wire.http2.compression import Compressor
from gateway.wire.http2.frames import (
    data_frame,
    goaway_frame,
    header_frames,
    reset_frame,
    settings_frame,
    window_frame,
)
from gateway.wire.http2.settings import (
    CONNECTION_WINDOW,
    LARGEST_STREAM_WINDOW,
    STREAM_WINDOW,
    PeerSettings,
    client_settings,
    server_settings,
)

_WORTH_TELLING = STREAM_WINDOW // 4
_WORTH_TELLING_FOR_ALL = CONNECTION_WINDOW // 4
_FIRST_OF_CLIENT = 1
_REMEMBERED = 256


class Closed(Enum):
    """How a stream ended. After our reset some of the peer's frames may still be on their way."""

    IN_ORDER = "in order"
    BY_PEER = "reset by the peer"
    BY_US = "reset by us"


class Stream:
    """Windows in bytes. `owed`: taken, and not yet told to the peer; `most`: what it may send before any is taken."""

    __slots__ = ("local_ended", "most", "number", "owed", "receive_window", "remote_ended", "send_window")

    def __init__(self, number: int, send_window: int) -> None:
        self.number = number
        self.send_window = send_window
        self.receive_window = self.most = STREAM_WINDOW
        self.owed = 0
        self.local_ended = False
        self.remote_ended = False


class ClosedStreams:
    """The streams that ended last, and how many bytes may still be on their way to those that we reset."""

    def __init__(self) -> None:
        self._known: dict[int, Closed] = {}
        self._due: dict[int, int] = {}

    def add(self, number: int, how: Closed, due: int = 0) -> None:
        """It is over."""
        self._known[number] = how
        if due > 0:
            self._due[number] = due
        if len(self._known) > _REMEMBERED:
            oldest = next(iter(self._known))
            del self._known[oldest]
            self._due.pop(oldest, None)

    def get(self, number: int) -> Closed | None:
        """None: closed too long ago, or never open."""
        return self._known.get(number)

    def was_due(self, number: int, size: int) -> bool:
        """Whether these bytes may have been on their way when we reset the stream. They are counted once."""
        due = self._due.get(number, 0)
        if not 0 < size <= due:
            return False
        self._due[number] = due - size
        return True


class Sender:
    """`streams` are those that are open, `window` is what may be sent on all of them. `is_leaving`: GOAWAY was sent."""

    def __init__(self, is_server: bool) -> None:
        self.peer = PeerSettings()
        self.streams: dict[int, Stream] = {}
        self.closed = ClosedStreams()
        self.window = DEFAULT_WINDOW
        self.is_leaving = False
        self._is_server = is_server
        self._next = _FIRST_OF_CLIENT
        self._owed = 0
        self._compressor = Compressor()
        self._out: list[bytes] = []
        self._frames = 0

    def take(self) -> bytes:
        """All that waits to be written."""
        if not self._out:
            return b""
        out, self._out = self._out, []
        return out[0] if len(out) == 1 else b"".join(out)

    def take_count(self) -> int:
        """How many frames of content were sent since this was last asked."""
        count, self._frames = self._frames, 0
        return count

    def put(self, frame: bytes) -> None:
        """A frame that needs no window."""
        self._out.append(frame)

    def begin(self, extended_connect: bool, streams: int, head: int) -> None:
        """What comes first: see `server_settings`."""
        if not self._is_server:
            self.put(PREFACE)
        ours = server_settings(extended_connect, streams, head) if self._is_server else client_settings(head)
        self.put(settings_frame(ours))
        self.put(window_frame(0, CONNECTION_WINDOW - DEFAULT_WINDOW))

    # Streams.

    def new_stream(self, number: int) -> Stream:
        """The peer has opened it."""
        stream = self.streams[number] = Stream(number, self.peer.window)
        return stream

    @property
    def has_room(self) -> bool:
        """Whether one more of ours may be open."""
        return len(self.streams) < self.peer.streams and self._next <= MAX_WINDOW and not self.is_leaving

    @property
    def newest(self) -> int:
        """The last one of ours that was opened."""
        return self._next - 2

    def open(self, fields: Sequence[tuple[str, str]], ends: bool) -> int:
        """A stream of ours with its head."""
        number = self._next
        self._next += 2
        self.new_stream(number)
        self.send_head(number, fields, ends)
        return number

    def forget(self, stream: Stream, how: Closed) -> None:
        """The stream is over: let go of what it held."""
        if self.streams.pop(stream.number, None) is not None:
            self.closed.add(stream.number, how, stream.receive_window if how is Closed.BY_US else 0)

    def forget_if_over(self, stream: Stream) -> None:
        """Forget it once both sides have ended."""
        if stream.local_ended and stream.remote_ended:
            self.forget(stream, Closed.IN_ORDER)

    # Heads and content.

    def send_head(self, number: int, fields: Sequence[tuple[str, str]], ends: bool) -> None:
        """A head, or trailers. Dropped if the stream is over."""
        stream = self.streams.get(number)
        if stream is None or stream.local_ended:
            return
        self.put(header_frames(number, self._compressor.block(fields), ends))
        self._sent(stream, ends)

    def room(self, number: int) -> int:
        """Bytes of content that may be sent on it now."""
        stream = self.streams.get(number)
        return 0 if stream is None else max(0, min(stream.send_window, self.window))

    def send_data(self, number: int, data: bytes, ends: bool) -> None:
        """Content, for which there must be `room`; an empty end needs none. Dropped if the stream is over."""
        stream = self.streams.get(number)
        if stream is None or stream.local_ended:
            return
        size = len(data)
        self._frames += 1 + size // MAX_FRAME
        if size <= MAX_FRAME:
            self.put(data_frame(number, data, ends))
        else:
            for start in range(0, size, MAX_FRAME):
                last = ends and start + MAX_FRAME >= size
                self.put(data_frame(number, data[start : start + MAX_FRAME], last))
        stream.send_window -= size
        self.window -= size
        self._sent(stream, ends)

    def _sent(self, stream: Stream, ends: bool) -> None:
        if ends:
            stream.local_ended = True
            self.forget_if_over(stream)

    def reset(self, number: int, code: ErrorCode) -> None:
        """End a stream early, or refuse one that was never taken."""
        stream = self.streams.get(number)
        if stream is not None:
            self.forget(stream, Closed.BY_US)
        elif self.closed.get(number) is not None:
            return
        else:
            self.closed.add(number, Closed.BY_US)
        self.put(reset_frame(number, code))

    def go_away(self, last: int, code: ErrorCode) -> None:
        """Say that no further streams are taken. Sent once in order, and once more after a fault."""
        if not self.is_leaving or code is not ErrorCode.NO_ERROR:
            self.put(goaway_frame(last, code))
        self.is_leaving = True

    # Windows.

    def credit(self, stream: Stream, size: int, at_once: bool) -> int:
        """Give back bytes of one stream's window; returns how many the peer is told of now, as small ones are saved up.
        `at_once`: they were taken as they came, and the window grows; else it shrinks, at most to what it was."""
        stream.owed += size
        if stream.owed < _WORTH_TELLING:
            return 0
        owed, stream.owed = stream.owed, 0
        most = min(stream.most + owed, LARGEST_STREAM_WINDOW) if at_once else max(stream.most - owed, STREAM_WINDOW)
        told, stream.most = owed + most - stream.most, most
        if told:
            self.put(window_frame(stream.number, told))
        return told

    def credit_connection(self, size: int) -> int:
        """The same for the connection's window, whose size stays."""
        self._owed += size
        if self._owed < _WORTH_TELLING_FOR_ALL:
            return 0
        owed, self._owed = self._owed, 0
        self.put(window_frame(0, owed))
        return owed

    def grow(self, size: int) -> None:
        """The peer takes `size` more bytes on the connection. Raises `ConnectionFault`."""
        if not size:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a WINDOW_UPDATE of 0 bytes")
        self.window += size
        if self.window > MAX_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window of more than 2^31-1")

    def grow_stream(self, stream: Stream, size: int) -> None:
        """The same on one stream. Raises `StreamFault`."""
        if not size:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "a WINDOW_UPDATE of 0 bytes")
        stream.send_window += size
        if stream.send_window > MAX_WINDOW:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "a window of more than 2^31-1")

    def apply(self, key: int, value: int, of_server: bool) -> None:
        """Apply one of the peer's settings. Raises `ConnectionFault`."""
        before = self.peer.window
        self.peer.apply(key, value, of_server)
        if key == HEADER_TABLE_SIZE:
            self._compressor.resize(self.peer.table)
        elif key == INITIAL_WINDOW_SIZE:
            for stream in self.streams.values():
                stream.send_window += self.peer.window - before
                if stream.send_window > MAX_WINDOW:
                    raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a window of more than 2^31-1")
