"""The content of one message, taken out of its framing (RFC 9112 sections 6 and 7).

A content reader is fed what follows the head. It appends body data and finally `End` to the events, and returns what
follows the message; None while the message goes on. It holds at most one line or one trailer section.
"""

import re
from typing import NamedTuple, Protocol

from gateway.model.reasons import Reason
from gateway.wire.grammar import elements, has_bare_line_end, match_trailers, split_fields
from gateway.wire.http.framing import check_trailers
from gateway.wire.http.messages import Delimiter, End, Event, MalformedMessage, Request, Response

_END = End()
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
_EXTENSION = rb";%b(?:=(?:%b|\"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*+\"))?" % (_TOKEN, _TOKEN)
_SIZE = rb"[0-9A-Fa-f]{1,15}"
_SIZE_LINE = re.compile(rb"(%b)((?:%b)*+)" % (_SIZE, _EXTENSION))
_CUT_SIZE_LINE = re.compile(rb"(?:%b(?:;[\t -~\x80-\xff]*+)?\r?)?" % _SIZE)
_LONGEST_SIZE = 15
"""Hexadecimal digits: no chunk has 2**60 bytes, and no recipient's integer overflows."""


class Bounds(NamedTuple):
    """Bytes of one message. The lines of its head and of its trailers are bounded by `MAX_FIELD_LINES` as well."""

    head: int = 65_536
    trailers: int = 8192
    extensions: int = 4096
    """Of all chunks of one message together: they are checked and dropped."""


class ContentReader(Protocol):
    """Reads to the end of one message; `ends_by_close`: that is the end of the connection."""

    @property
    def ends_by_close(self) -> bool: ...

    def read(self, data: bytes, events: list[Event]) -> bytes | None:
        """`data` is not empty. Raises `MalformedMessage`; then `events` has what came before the fault."""


class LengthContent:
    """A known number of bytes, at least one."""

    ends_by_close = False

    def __init__(self, length: int) -> None:
        self._left = length

    def read(self, data: bytes, events: list[Event]) -> bytes | None:
        left = self._left
        if len(data) < left:
            self._left = left - len(data)
            events.append(data)
            return None
        events.append(data[:left])
        events.append(_END)
        return data[left:]


class CloseContent:
    """Everything until the connection ends."""

    ends_by_close = True

    def read(self, data: bytes, events: list[Event]) -> bytes | None:
        events.append(data)
        return None


class ChunkedContent:
    """Chunks (RFC 9112 section 7.1). The data of several chunks that came together is one event.

    Extensions are checked against their grammar, without the blanks that it admits for old senders, and dropped. All of
    a message's have at most `extensions` bytes together, its trailers at most `trailers`.
    """

    ends_by_close = False

    def __init__(self, head: Request | Response, extensions: int, trailers: int, malformed: Reason) -> None:
        self._head = head
        self._extensions = extensions
        self._trailers = trailers
        self._malformed = malformed
        self._left = 0  # bytes of the present chunk and of the line end after it
        self._is_last = False
        self._held = b""  # the beginning of a line, or of the trailers

    def read(self, data: bytes, events: list[Event]) -> bytes | None:
        if self._held:
            data, self._held = self._held + data, b""
        pieces: list[bytes] = []
        try:
            at = self._read_chunks(data, pieces)
        finally:
            if pieces:
                events.append(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        return None if at is None else self._read_trailers(data, at, events)

    def _read_chunks(self, data: bytes, pieces: list[bytes]) -> int | None:
        """Where the trailers begin; None while they are not reached."""
        at: int | None = 0
        while at is not None and not self._is_last:
            at = self._read_data(data, at, pieces) if self._left else self._read_size(data, at)
        return at

    def _read_data(self, data: bytes, at: int, pieces: list[bytes]) -> int | None:
        """Where the next chunk begins; None while this one goes on."""
        if self._left > 2:
            piece = data[at : at + self._left - 2]
            if piece:
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
            if self._left > 2:
                return None
        ending = data[at : at + 2]
        if not b"\r\n".startswith(ending):
            raise self._fault("a chunk longer than its size")
        if len(ending) < 2:
            self._held = data[at:]
            return None
        self._left = 0
        return at + 2

    def _read_size(self, data: bytes, at: int) -> int | None:
        """Where the data of the next chunk begins; None while its size is incomplete."""
        longest = at + _LONGEST_SIZE + self._extensions
        end = data.find(b"\r\n", at, longest + 2)
        if end < 0:
            if len(data) > longest + 1 or not _CUT_SIZE_LINE.fullmatch(data, at):
                raise self._fault("an invalid chunk size, or chunk extensions that are too long")
            self._held = data[at:]
            return None
        match = _SIZE_LINE.fullmatch(data, at, end)
        if match is None or match.end() - match.end(1) > self._extensions:
            raise self._fault("an invalid chunk size, or chunk extensions that are invalid or too long")
        self._extensions -= match.end() - match.end(1)
        size = int(match[1], 16)
        self._is_last = size == 0
        self._left = size + 2 if size else 0
        return end + 2

    def _read_trailers(self, data: bytes, at: int, events: list[Event]) -> bytes | None:
        """What follows the message; None while its trailers are incomplete."""
        if data.startswith(b"\r\n", at):
            events.append(_END)
            return data[at + 2 :]
        end = data.find(b"\r\n\r\n", at) + 4
        if (end if end > 3 else len(data)) - at > self._trailers:
            raise self._fault(f"trailers of more than {self._trailers} bytes")
        if end < 4:
            if has_bare_line_end(data, at):
                raise self._fault("a bare CR or LF in the trailers")
            self._held = data[at:]
            return None
        lines = match_trailers(data[at:end].decode("latin-1"))
        if lines is None:
            raise self._fault("an invalid trailer, or too many of them")
        trailers = split_fields(lines)
        check_trailers(trailers, self._malformed)
        options = elements(self._head.values("connection") + self._head.values("proxy-connection"))
        events.append(End(trailers, tuple(options)))
        return data[end:]

    def _fault(self, detail: str) -> MalformedMessage:
        return MalformedMessage(self._malformed, detail)


def open_content(head: Request | Response, bounds: Bounds, malformed: Reason) -> ContentReader | None:
    """A reader of what follows this head, None if nothing does; `malformed` is the reason of its faults."""
    delimiter, length = head.framing
    if delimiter is Delimiter.NONE:
        return None
    if delimiter is Delimiter.LENGTH:
        return LengthContent(length) if length else None
    if delimiter is Delimiter.CHUNKED:
        return ChunkedContent(head, bounds.extensions, bounds.trailers, malformed)
    return CloseContent()
