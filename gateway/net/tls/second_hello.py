"""Watches the client's side of a tunnel for a second ClientHello: one for another host is held back.

A server of TLS 1.3 may ask for another hello (HelloRetryRequest), in which RFC 8446 section 4.1.2 forbids another name.
A proxy that checks only the first hello leaves that to the server. So the records after the first hello are checked, up
to the first that cannot be followed by a hello: in nearly all connections that is one record, and afterwards the relay
works as if nothing had been checked.
"""

from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from gateway.model.decision import Deny
from gateway.model.intent import ClientHello
from gateway.model.reasons import Reason
from gateway.net.relay import Direction, Joining, Relay
from gateway.net.stream import Stream
from gateway.wire.client_hello import HANDSHAKE, ClientHelloParser, MalformedClientHello

TLS_1_3: Final = 0x0304
RETRY: Final = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
"""The random of a ServerHello that is a HelloRetryRequest (RFC 8446 section 4.1.3)."""

_APPLICATION_DATA: Final = 23
_ENCRYPTED: Final = bytes((_APPLICATION_DATA,))
_CHANGE_CIPHER_SPEC: Final = b"\x14\x03\x03\0\1\1"
_CLIENT_HELLO: Final = 1
_RECORDS: Final = range(20, 24)
_HARMLESS: Final = (20, 21, _APPLICATION_DATA)
_MAJOR_VERSION: Final = 3
_RECORD_HEADER: Final = 5
_MESSAGE_HEADER: Final = 4
_RANDOM: Final = slice(11, 43)  # after both headers and the version, in the first record of an answer
_PIECE: Final = 8192  # bytes passed on at once: pieces this small do not count as bulk, and are not spliced unseen


Denial = Callable[[Reason, str], Deny]
"""Makes the denial of a tunnel, for a reason and with a detail."""


class Watch(Protocol):
    """Receives in place of the direction from the client. `refused`: why it has cut the tunnel."""

    @property
    def refused(self) -> Deny | None: ...

    def before(self, upward: Direction, downward: Direction, cut: Callable[[Reason], None]) -> None:
        """Step between the client and `upward`; `cut` ends the tunnel."""
        ...


def watch_for(hello: ClientHello | None, limit: int, deny: Denial) -> "HelloWatch | None":
    """None where no second hello can follow. `limit` bounds its size in bytes."""
    return HelloWatch(hello, limit, deny) if hello is not None and TLS_1_3 in hello.versions else None


def watched(joining: Joining, watch: Watch | None) -> Joining:
    """The same joining, with the watch between the client and its direction, if there is one."""
    return joining if watch is None else partial(_join_watched, joining, watch)


def _join_watched(
    joining: Joining, watch: Watch, relay: Relay, downstream: Stream, upstream: Stream
) -> tuple[Direction, Direction]:
    upward, downward = joining(relay, downstream, upstream)
    watch.before(upward, downward, relay.cut)
    return upward, downward


class HelloWatch:
    """Fulfils `Watch`."""

    __slots__ = (
        "_answer",
        "_cut",
        "_deny",
        "_direction",
        "_first",
        "_held",
        "_is_usual",
        "_limit",
        "_parser",
        "_size",
        "refused",
    )

    def __init__(self, first: ClientHello, limit: int, deny: Denial) -> None:
        self.refused: Deny | None = None
        self._deny = deny
        self._first = first
        self._limit = limit
        self._held = b""
        self._is_usual = not first.early_data
        self._size = 0  # of the first hello, until it has been passed on
        self._parser: ClientHelloParser | None = None  # of the second one, once it has begun
        self._answer: _Answer | None = None

    def before(self, upward: Direction, downward: Direction, cut: Callable[[Reason], None]) -> None:
        """See `Watch`. The source of `upward` holds the first hello, which was read before."""
        self.begin(upward.source.peek(), upward, downward, cut)

    def begin(self, first: bytes, upward: Direction, downward: Direction, cut: Callable[[Reason], None]) -> None:
        """As `before`; `first` begins with the first hello, and is received next."""
        self._direction, self._cut = upward, cut
        self._size = _size(first)
        upward.source.receiver = self
        if self._first.early_data:
            self._answer = _Answer(downward)

    def received(self, data: bytes) -> None:
        if self._size:
            size, self._size = self._size, 0
            self._pass_on(data[:size])
            data = data[size:]
            if not data:
                return
        start = len(_CHANGE_CIPHER_SPEC) if data.startswith(_CHANGE_CIPHER_SPEC) else 0
        if self._is_usual and data[start : start + 1] == _ENCRYPTED:  # the walk in one step, for nearly all connections
            self._look_away(data)
        else:
            self._is_usual = False
            self._held = self._walk(self._held + data)

    def ended(self) -> None:
        """See `Receiver`. What is held is an incomplete record, and is dropped."""
        self._direction.ended()

    def lost(self) -> None:
        self._direction.lost()

    def _walk(self, data: bytes) -> bytes:
        """Returns the rest of `data`, to be checked again with what follows."""
        end = self._end_of_harmless(data)
        self._pass_on(data[:end])
        data = data[end:]
        if not data or (len(data) <= _RECORD_HEADER and _may_be_record(data)):
            return data
        if not _may_be_record(data):  # not TLS, and no server accepts it
            return self._look_away(data)
        if data[0] == HANDSHAKE:
            return self._read_hello(data, is_empty=data[3:_RECORD_HEADER] == b"\0\0")
        return self._look_away(data) if self._is_encrypted(data, 0) else data

    def _end_of_harmless(self, data: bytes) -> int:
        """Where the whole records at the start of `data` end that may precede a hello. A read may hold many thousands:
        none is cut out by itself."""
        at, size = 0, len(data)
        while size - at > _RECORD_HEADER and data[at] in _HARMLESS and data[at + 1] == _MAJOR_VERSION:
            end = at + _RECORD_HEADER + (data[at + 3] << 8 | data[at + 4])
            if end > size or self._is_encrypted(data, at):
                break
            at = end
        return at

    def _is_encrypted(self, data: bytes, at: int) -> bool:
        """Whether the record there shows that no hello follows."""
        return data[at] == _APPLICATION_DATA and self._is_past()

    def _is_past(self) -> bool:
        """Whether encrypted records mean that no second hello follows. Early data does not mean so, before the server's
        answer: the server may refuse it and ask for another hello."""
        return self._answer is None or self._answer.is_final

    def _read_hello(self, data: bytes, is_empty: bool) -> bytes:
        """Some servers skip an empty record: then what follows its header is the next record's."""
        if data[_RECORD_HEADER] != _CLIENT_HELLO and not is_empty:  # an older version of TLS, without a second hello
            return self._look_away(data)
        self._parser = self._parser or ClientHelloParser(self._limit)
        try:
            hello = self._parser.parse(data)
        except MalformedClientHello as malformed:
            return self._stop(malformed.reason, f"the second ClientHello: {malformed}")
        if hello is None:
            return data
        if hello.server_name != self._first.server_name:
            named = hello.server_name or "no server name"
            return self._stop(Reason.SNI_MISMATCH, f"{named} in the second ClientHello")
        return self._look_away(data)

    def _look_away(self, data: bytes) -> bytes:
        self._direction.source.receiver = self._direction
        if self._answer is not None:
            self._answer.look_away()
        self._direction.received(data)
        return b""

    def _stop(self, reason: Reason, detail: str) -> bytes:
        self.refused = self._deny(reason, detail)
        self._cut(reason)
        return b""

    def _pass_on(self, data: bytes) -> None:
        for at in range(0, len(data), _PIECE):
            self._direction.received(data[at : at + _PIECE])


class _Answer:
    """Receives in place of the direction from the server until it has answered: `is_final` where it is no retry."""

    __slots__ = ("_direction", "_start", "is_final")

    def __init__(self, downward: Direction) -> None:
        self._direction = downward
        self._start = b""
        self.is_final = False
        downward.source.receiver = self

    def received(self, data: bytes) -> None:
        if len(self._start) < _RANDOM.stop:
            self._start += data[: _RANDOM.stop - len(self._start)]
            self.is_final = len(self._start) == _RANDOM.stop and self._start[_RANDOM] != RETRY
        self._direction.received(data)

    def ended(self) -> None:
        self._direction.ended()

    def lost(self) -> None:
        self._direction.lost()

    def look_away(self) -> None:
        """The direction receives from its own source again, unless the relay is over."""
        if self._direction.source.receiver is self:
            self._direction.source.receiver = self._direction


def _may_be_record(data: bytes) -> bool:
    return data[0] in _RECORDS and (len(data) == 1 or data[1] == _MAJOR_VERSION)


def _size(data: bytes) -> int:
    """The size of the records of the hello at the start of `data`."""
    at, message = 0, b""
    if len(data) == _RECORD_HEADER + int.from_bytes(data[3:_RECORD_HEADER], "big"):  # one record, as usual
        return len(data)
    while len(message) < _MESSAGE_HEADER + int.from_bytes(message[1:_MESSAGE_HEADER], "big"):
        end = at + _RECORD_HEADER + int.from_bytes(data[at + 3 : at + _RECORD_HEADER], "big")
        message += data[at + _RECORD_HEADER : end]
        at = end
    return at
