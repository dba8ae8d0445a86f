"""Frames of HTTP/2 as bytes, well-formed or not (RFC 9113 section 4)."""

import struct
from collections.abc import Iterable, Iterator

import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED, ACK = 1, 4, 8, 1
HEAD_SIZE = 9

Fields = list[tuple[str, str]]


def frame(kind: int, flags: int = 0, stream: int = 0, content: bytes = b"") -> bytes:
    """Of any kind, also of one that there is not."""
    return len(content).to_bytes(3, "big") + bytes((kind, flags)) + struct.pack(">I", stream) + content


def head(stream: int, fields: Iterable[tuple[str, str]], ends: bool = True) -> bytes:
    """A whole block in one frame. It stands for itself: nothing of it is kept in the table of the connection."""
    flags = END_HEADERS | (END_STREAM if ends else 0)
    return frame(HEADERS, flags, stream, block(fields))


def block(fields: Iterable[tuple[str, str]]) -> bytes:
    """RFC 7541, each field literally and never indexed."""
    return hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(name, value) for name, value in fields])


def data(stream: int, content: bytes = b"", ends: bool = False) -> bytes:
    return frame(DATA, END_STREAM if ends else 0, stream, content)


def reset(stream: int, code: int = 8) -> bytes:
    return frame(RST, 0, stream, struct.pack(">I", code))


def settings(**values: int) -> bytes:
    """By the last digits of their names: `_4=1` is INITIAL_WINDOW_SIZE = 1."""
    pairs = [struct.pack(">HI", int(name.strip("_")), value) for name, value in values.items()]
    return frame(SETTINGS, 0, 0, b"".join(pairs))


def window(stream: int, size: int) -> bytes:
    return frame(WINDOW, 0, stream, struct.pack(">I", size))


def split(held: bytearray) -> Iterator[tuple[int, int, int, bytes]]:
    """The whole frames at the start of `held`, which are taken from it: kind, flags, stream, content."""
    while len(held) >= HEAD_SIZE:
        end = HEAD_SIZE + int.from_bytes(held[:3], "big")
        if len(held) < end:
            return
        stream = int.from_bytes(held[5:9], "big") & 0x7FFFFFFF
        yield held[3], held[4], stream, bytes(held[HEAD_SIZE:end])
        del held[:end]
