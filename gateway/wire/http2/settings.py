"""The settings that a peer has sent (RFC 9113 section 6.5.2), and those that we send."""

from dataclasses import dataclass
from typing import Final

from gateway.wire.http2.codes import (
    DEFAULT_WINDOW,
    ENABLE_CONNECT_PROTOCOL,
    ENABLE_PUSH,
    HEADER_TABLE_SIZE,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
    MAX_WINDOW,
    ConnectionFault,
    ErrorCode,
)

STREAMS: Final = 100
"""How many a client may have open at once, unless it is told of fewer."""
STREAM_WINDOW: Final = 128 * 1024
"""Bytes that a peer may send on one stream before the other side has taken any."""
LARGEST_STREAM_WINDOW: Final = 256 * 1024
"""How far that grows while the other side takes all at once. It is what may come within a round trip, and so bounds how
fast content comes from far away. With 1 MiB one stream made the gateway hold 40 MiB at its peak."""
CONNECTION_WINDOW: Final = 1024 * 1024
HEADER_LIST: Final = 64 * 1024
"""Bytes of fields that a head may have, as RFC 9113 section 6.5.2 counts them, unless another bound is given."""

_TABLE = 4096
_LARGEST_FRAME = 2**24 - 1
_SWITCHES = {ENABLE_PUSH: "ENABLE_PUSH", ENABLE_CONNECT_PROTOCOL: "ENABLE_CONNECT_PROTOCOL"}


@dataclass(slots=True)
class PeerSettings:
    """The peer's settings; the defaults until it sends others."""

    table: int = _TABLE
    streams: int = MAX_WINDOW
    window: int = DEFAULT_WINDOW
    extended_connect: bool = False

    def apply(self, key: int, value: int, of_server: bool) -> None:
        """Apply one setting. Unknown ones are ignored. Raises `ConnectionFault`."""
        if key == HEADER_TABLE_SIZE:
            self.table = min(value, _TABLE)
        elif key == MAX_CONCURRENT_STREAMS:
            self.streams = value
        elif key == INITIAL_WINDOW_SIZE:
            if value > MAX_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "an INITIAL_WINDOW_SIZE of more than 2^31-1")
            self.window = value
        elif key == MAX_FRAME_SIZE:
            if not MAX_FRAME <= value <= _LARGEST_FRAME:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a MAX_FRAME_SIZE out of its range")
        elif key in _SWITCHES:
            self._switch(key, value, of_server)

    def _switch(self, key: int, value: int, of_server: bool) -> None:
        withdrawn = key == ENABLE_CONNECT_PROTOCOL and self.extended_connect and not value
        if value > 1 or withdrawn or (key == ENABLE_PUSH and of_server and value):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"{_SWITCHES[key]} = {value}")
        if key == ENABLE_CONNECT_PROTOCOL:
            self.extended_connect = bool(value)


def server_settings(extended_connect: bool, streams: int, head: int) -> list[tuple[int, int]]:
    """Those sent to clients. `extended_connect`: they may ask for WebSockets (RFC 8441)."""
    settings = [
        (MAX_CONCURRENT_STREAMS, streams),
        (INITIAL_WINDOW_SIZE, STREAM_WINDOW),
        (MAX_HEADER_LIST_SIZE, head),
    ]
    return [*settings, (ENABLE_CONNECT_PROTOCOL, 1)] if extended_connect else settings


def client_settings(head: int) -> list[tuple[int, int]]:
    """Those sent to destinations: no server push."""
    return [(ENABLE_PUSH, 0), (INITIAL_WINDOW_SIZE, STREAM_WINDOW), (MAX_HEADER_LIST_SIZE, head)]
