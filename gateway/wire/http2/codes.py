"""The numbers of HTTP/2 (RFC 9113 sections 6 and 7), and the two ways in which a peer can be wrong."""

from enum import IntEnum
from typing import Final

from gateway.model.errors import Malformed
from gateway.model.reasons import Reason

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_FRAME: Final = 16_384
"""Bytes of payload that we take in one frame, and the least that every peer takes."""
DEFAULT_WINDOW: Final = 65_535
MAX_WINDOW: Final = 2**31 - 1

# Types of frames.
DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9

# Flags.
ACK: Final = 0x1
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
WITH_PRIORITY: Final = 0x20

# Settings.
HEADER_TABLE_SIZE: Final = 0x1
ENABLE_PUSH: Final = 0x2
MAX_CONCURRENT_STREAMS: Final = 0x3
INITIAL_WINDOW_SIZE: Final = 0x4
MAX_FRAME_SIZE: Final = 0x5
MAX_HEADER_LIST_SIZE: Final = 0x6
ENABLE_CONNECT_PROTOCOL: Final = 0x8  # RFC 8441 section 3


class ErrorCode(IntEnum):
    """RFC 9113 section 7."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class ConnectionFault(Malformed):
    """Nothing more of this peer can be understood or is tolerated (RFC 9113 section 5.4.1)."""

    def __init__(self, code: ErrorCode, detail: str, reason: Reason | None = None) -> None:
        usual = Reason.HTTP2_FLOOD if code is ErrorCode.ENHANCE_YOUR_CALM else Reason.MALFORMED_REQUEST
        super().__init__(reason or usual, detail)
        self.code = code


class StreamFault(Malformed):
    """One stream is over; the others go on (RFC 9113 section 5.4.2)."""

    def __init__(self, code: ErrorCode, detail: str) -> None:
        super().__init__(Reason.MALFORMED_REQUEST, detail)
        self.code = code


def code_of(number: int) -> ErrorCode:
    """The code of this number; an unknown one means no more than INTERNAL_ERROR (RFC 9113 section 7)."""
    try:
        return ErrorCode(number)
    except ValueError:
        return ErrorCode.INTERNAL_ERROR
