"""A client of HTTP/2 that sends whatever frames a test makes, and keeps those that come."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterable

import hpack
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.helpers.tls_client import TlsClient

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SECONDS = 60.0

Fields = list[tuple[str, str]]


class Http2Client:
    """Over a `TlsClient`. `frames` are all that came; PINGs and SETTINGS are answered."""

    def __init__(self, client: TlsClient, settings: dict[int, int] | None = None, begins: bool = True) -> None:
        self.client = client
        self.frames: list[Frame] = []
        self.heads: dict[int, list[Fields]] = defaultdict(list)
        self.bodies: dict[int, bytes] = defaultdict(bytes)
        self.ended: set[int] = set()
        self.is_over = False
        self.encoder = hpack.Encoder()
        self._decoder = hpack.Decoder()
        self._held = b""
        self._block = b""
        if begins:
            self.raw(PREFACE + SettingsFrame(0, settings=settings or {}).serialize())

    def raw(self, data: bytes) -> None:
        """As it is; nothing happens if nobody takes it any more: what was said before that can still be read."""
        with contextlib.suppress(OSError):
            self.client.send(data)

    def send(self, *frames: Frame) -> None:
        """In one segment."""
        self.raw(b"".join(frame.serialize() for frame in frames))

    def head(self, stream: int, fields: Iterable[tuple[str, str]], ends: bool = True) -> HeadersFrame:
        """Not yet sent."""
        frame = HeadersFrame(stream, data=self.encoder.encode(list(fields)))
        frame.flags.add("END_HEADERS")
        if ends:
            frame.flags.add("END_STREAM")
        return frame

    def get(self, stream: int, authority: str, path: str, *fields: tuple[str, str]) -> None:
        """A whole request."""
        self.send(self.head(stream, [*request("GET", authority, path), *fields]))

    def data(self, stream: int, data: bytes, ends: bool = False) -> DataFrame:
        """Not yet sent."""
        frame = DataFrame(stream, data=data)
        if ends:
            frame.flags.add("END_STREAM")
        return frame

    def window(self, stream: int, size: int) -> WindowUpdateFrame:
        """Not yet sent."""
        return WindowUpdateFrame(stream, window_increment=size)

    # What came.

    def until(self, wanted: Callable[["Http2Client"], object]) -> None:
        """Read until this is true, or the connection is over."""
        deadline = time.monotonic() + SECONDS
        while not wanted(self) and not self.is_over:
            assert time.monotonic() < deadline, f"in vain; {self.frames}"
            self._read()

    def answer(self, stream: int) -> tuple[str, bytes]:
        """The status and the content of a whole answer."""
        self.until(lambda _: stream in self.ended or self.reset_code(stream) is not None)
        assert stream in self.ended, self.frames
        final = next(head for head in self.heads[stream] if head[0][1] >= "200")
        return final[0][1], self.bodies[stream]

    def reset_code(self, stream: int) -> int | None:
        """With which a stream was reset."""
        return next(
            (f.error_code for f in self.frames if isinstance(f, RstStreamFrame) and f.stream_id == stream), None
        )

    @property
    def goaway(self) -> GoAwayFrame | None:
        """The last one."""
        return next((frame for frame in reversed(self.frames) if isinstance(frame, GoAwayFrame)), None)

    def _read(self) -> None:
        try:
            data = self.client.socket.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.is_over = True
        self._held += data
        while len(self._held) >= 9:
            frame, length = Frame.parse_frame_header(memoryview(self._held[:9]))
            if len(self._held) < 9 + length:
                break
            frame.parse_body(memoryview(self._held[9 : 9 + length]))
            self._held = self._held[9 + length :]
            self._take(frame)

    def _take(self, frame: Frame) -> None:
        self.frames.append(frame)
        if isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
            self.send(SettingsFrame(0, flags=["ACK"]))
        elif isinstance(frame, PingFrame) and "ACK" not in frame.flags:
            self.send(PingFrame(0, frame.opaque_data, flags=["ACK"]))
        elif isinstance(frame, DataFrame):
            self.bodies[frame.stream_id] += frame.data
        elif isinstance(frame, HeadersFrame | ContinuationFrame):
            self._block += frame.data
            if "END_HEADERS" in frame.flags:
                block, self._block = self._block, b""
                self.heads[frame.stream_id].append([(str(n), str(v)) for n, v in self._decoder.decode(block)])
        if "END_STREAM" in frame.flags:
            self.ended.add(frame.stream_id)


def request(method: str, authority: str, path: str) -> Fields:
    """The pseudo-header fields."""
    return [(":method", method), (":scheme", "https"), (":authority", authority), (":path", path)]
