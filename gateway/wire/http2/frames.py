"""Frames (RFC 9113 section 4): bytes into values, and values into bytes."""

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import NamedTuple

from gateway.wire.http2.codes import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    MAX_FRAME,
    PADDED,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    ConnectionFault,
    ErrorCode,
)

_HEADER = Struct(">HBBBL")
_WORD = Struct(">L")
_GOAWAY = Struct(">LL")
_SETTING = Struct(">HL")
_STREAM_BITS = 0x7FFFFFFF
_HEADER_SIZE = 9
_KIND_AT = 3
_PRIORITY_SIZE = 5
_MOST_SETTINGS = 32  # in one frame: each new window changes those of all streams, and ten settings are defined


class Frame(NamedTuple):
    """`stream` is 0 for those about the connection."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def ends_stream(self) -> bool:
        return bool(self.flags & END_STREAM)

    @property
    def ends_headers(self) -> bool:
        return bool(self.flags & END_HEADERS)


class FrameReader:
    """Cuts what arrives into frames. `awaits_preface`: the client's preface comes before its first frame. At most one
    frame and what arrived with it is held. Raises `ConnectionFault`."""

    def __init__(self, awaits_preface: bool) -> None:
        self._held = b""
        self._awaits_preface = awaits_preface

    @property
    def has_begun_head(self) -> bool:
        """Whether the frame that is held is, as far as it says already, one that begins a head."""
        return len(self._held) > _KIND_AT and self._held[_KIND_AT] == HEADERS

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are complete by now. To be exhausted before the next call."""
        held = self._held + data if self._held else data
        position, size = 0, len(held)
        if self._awaits_preface:
            if held[: len(PREFACE)] != PREFACE[:size]:
                self._held = b""
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "no preface of HTTP/2")
            if size < len(PREFACE):
                self._held = held
                return
            self._awaits_preface = False
            position = len(PREFACE)
        while size - position >= _HEADER_SIZE:
            high, low, kind, flags, stream = _HEADER.unpack_from(held, position)
            length = high << 8 | low
            if length > MAX_FRAME:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a frame larger than was agreed")
            end = position + _HEADER_SIZE + length
            if end > size:
                break
            yield Frame(kind, flags, stream & _STREAM_BITS, held[position + _HEADER_SIZE : end])
            position = end
        self._held = held[position:]


def content_of(frame: Frame) -> bytes:
    """The payload of DATA or HEADERS without padding and priority (RFC 9113 sections 6.1 and 6.2)."""
    payload, flags = frame.payload, frame.flags
    if not flags & (PADDED | WITH_PRIORITY):
        return payload
    start, end = 0, len(payload)
    if flags & PADDED:
        if not payload:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "padding without its length")
        start, end = 1, end - payload[0]
    if frame.kind == HEADERS and flags & WITH_PRIORITY:
        if len(payload) < start + _PRIORITY_SIZE:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a priority cut off")
        start += _PRIORITY_SIZE
    if end < start:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "more padding than payload")
    return payload[start:end]


def word_of(frame: Frame) -> int:
    """The four bytes of a RST_STREAM or WINDOW_UPDATE."""
    if len(frame.payload) != _WORD.size:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a frame that is not of four bytes")
    word: int = _WORD.unpack(frame.payload)[0]
    return word


def goaway_of(frame: Frame) -> tuple[int, int]:
    """The last stream that was or may be processed, and the code. The debug data is ignored."""
    if len(frame.payload) < _GOAWAY.size:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a GOAWAY cut off")
    last, code = _GOAWAY.unpack_from(frame.payload)
    return last & _STREAM_BITS, code


def settings_of(frame: Frame) -> list[tuple[int, int]]:
    """The settings in their order, at most `_MOST_SETTINGS`."""
    if len(frame.payload) % _SETTING.size:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "SETTINGS cut off")
    if len(frame.payload) > _MOST_SETTINGS * _SETTING.size:
        raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"more than {_MOST_SETTINGS} settings at once")
    return list(_SETTING.iter_unpack(frame.payload))


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    size = len(payload)
    return _HEADER.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


def data_frame(stream: int, payload: bytes, ends: bool) -> bytes:
    """Content; the caller keeps to the windows."""
    return frame(DATA, END_STREAM if ends else 0, stream, payload)


def header_frames(stream: int, block: bytes, ends: bool) -> bytes:
    """HEADERS, and CONTINUATIONs behind it where the block is long."""
    flags = END_STREAM if ends else 0
    if len(block) <= MAX_FRAME:
        return frame(HEADERS, flags | END_HEADERS, stream, block)
    frames = [frame(HEADERS, flags, stream, block[:MAX_FRAME])]
    for start in range(MAX_FRAME, len(block), MAX_FRAME):
        last = start + MAX_FRAME >= len(block)
        frames.append(frame(CONTINUATION, END_HEADERS if last else 0, stream, block[start : start + MAX_FRAME]))
    return b"".join(frames)


def settings_frame(settings: Iterable[tuple[int, int]]) -> bytes:
    """Settings of ours."""
    return frame(SETTINGS, 0, 0, b"".join([_SETTING.pack(key, value) for key, value in settings]))


SETTINGS_ACK = frame(SETTINGS, ACK, 0)


def ping_ack(payload: bytes) -> bytes:
    """The answer to a PING."""
    return frame(PING, ACK, 0, payload)


def reset_frame(stream: int, code: int) -> bytes:
    """The end of one stream."""
    return frame(RST_STREAM, 0, stream, _WORD.pack(code))


def goaway_frame(last: int, code: int) -> bytes:
    """`last` is the highest stream of the peer's that we process."""
    return frame(GOAWAY, 0, 0, _GOAWAY.pack(last, code))


def window_frame(stream: int, size: int) -> bytes:
    """`size` bytes more may come."""
    return frame(WINDOW_UPDATE, 0, stream, _WORD.pack(size))
