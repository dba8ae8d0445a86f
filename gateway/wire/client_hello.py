"""A TLS ClientHello at the start of a byte stream, however it is cut into records (RFC 8446 sections 4.1.2 and 5.1).

Every length is checked and nothing may be left over: a hello that another parser could read differently is refused.
"""

import struct
from collections.abc import Callable
from functools import lru_cache
from operator import itemgetter
from typing import Final, NamedTuple

from gateway.model.errors import Malformed
from gateway.model.intent import ClientHello
from gateway.model.names import HostName, parse_host_name
from gateway.model.reasons import Reason
from gateway.wire.ja4 import ALPN, GREASE, SERVER_NAME, ja4

HANDSHAKE: Final = 22
"""The content type of the records that a ClientHello comes in; the first byte of a TLS connection."""
MAX_RECORDS: Final = 1024
"""One-byte records are legal. Real clients use one to three."""
MAX_LISTED: Final = 512
"""Cipher suites, extensions, protocols: more than any registry has. 64 KiB of them would take milliseconds to read."""

_CLIENT_HELLO: Final = 1
_MAX_FRAGMENT: Final = 1 << 14
_RECORD_HEADER: Final = 5
_MESSAGE_HEADER: Final = 4
_EXTENSION_HEADER: Final = 4
_RANDOM_AT: Final = _MESSAGE_HEADER + 2  # behind the legacy version
_SESSION_ID_AT: Final = _RANDOM_AT + 32
_MAX_SESSION_ID: Final = 32
_HOST_NAME: Final = b"\0"

_SIGNATURE_ALGORITHMS: Final = 13
_EARLY_DATA: Final = 42
_SUPPORTED_VERSIONS: Final = 43
_ENCRYPTED_CLIENT_HELLO: Final = 0xFE0D
_ENCRYPTED_SERVER_NAME: Final = 0xFFCE  # the draft before it

_MEMOISED_BYTES: Final = 4096
_MEMOISED_EXTENSIONS: Final = 64
_REMEMBERED_BYTES: Final = 2048  # of one hello; there are 64 shapes at most, and as many hellos of each
_SHAPES: Final = 64
_HELLOS_OF_A_SHAPE: Final = 64
_WORTH_SKIPPING: Final = 32  # bytes: comparing fewer is cheaper than cutting them out

_read_record_header = struct.Struct(">BBxH").unpack_from
_read_start = struct.Struct(">BBxHI").unpack_from  # and the message's: its type in one byte, its size in three
_read_extension_header = struct.Struct(">HH").unpack_from


class MalformedClientHello(Malformed):
    """No continuation makes this a ClientHello, or it is larger than the bound."""


class _Offer(NamedTuple):
    """The part of a hello that one program sends alike again and again."""

    alpn: tuple[str, ...]
    versions: tuple[int, ...]
    ja4: str


_READ_EXTENSIONS: Final = frozenset((SERVER_NAME, ALPN, _SUPPORTED_VERSIONS, _SIGNATURE_ALGORITHMS))


class _Shape(NamedTuple):
    """Hellos in which everything stands at the same place. `read` cuts out all bytes that mean something; the others
    (random, session identifier, keys) differ between two hellos of one program to one name. So where `read` gives the
    same bytes the hello means the same: every length that led to `parts` is among them."""

    parts: tuple[slice, ...]
    read: Callable[[bytes], tuple[bytes, ...]]
    hellos: dict[tuple[bytes, ...], ClientHello]


_shapes: dict[tuple[int, bytes], _Shape] = {}


def parse_client_hello(data: bytes, limit: int) -> ClientHello | None:
    """The hello at the start of `data`; None while bytes are missing. Raises `MalformedClientHello`.

    `limit` bounds its size in bytes, record headers included; it is refused as soon as it announces more.
    """
    return ClientHelloParser(limit).parse(data)


class ClientHelloParser:
    """`parse_client_hello` for one hello while it arrives: called again with all bytes so far, it continues where it
    stopped. Otherwise a client that sends a thousand records byte by byte would have all of them parsed for each byte.
    """

    __slots__ = ("_announced", "_fragments", "_limit", "_needed", "_position")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._fragments: list[slice] = []  # of the message, in the records whose headers came
        self._position = 0  # of the next record header
        self._announced = 0
        self._needed = _MESSAGE_HEADER

    def parse(self, data: bytes) -> ClientHello | None:
        """As `parse_client_hello`. `data` begins with what it was before."""
        message = _whole_record(data, self._limit)
        if message is not None:
            return _recall_or_parse(message)
        self._walk(data)
        announced, needed = self._announced, self._needed
        at_least = self._position if announced >= needed else self._position + needed - announced + _RECORD_HEADER
        if at_least > self._limit or len(self._fragments) > MAX_RECORDS:
            raise _too_large(f"more than {self._limit} bytes or {MAX_RECORDS} records")
        if announced > needed > _MESSAGE_HEADER:
            raise _malformed("something behind the ClientHello in its record")
        if announced < needed or self._position > len(data):
            return None
        return _parse_message(b"".join([data[fragment] for fragment in self._fragments]))

    def _walk(self, data: bytes) -> None:
        """Go over the record headers that have come, up to the last one that belongs to the message."""
        if self._fragments:
            self._learn_size(data)
        while self._announced < self._needed and (length := _fragment_length(data, self._position)) is not None:
            start = self._position + _RECORD_HEADER
            self._position = start + length
            self._fragments.append(slice(start, self._position))
            self._announced += length
            self._learn_size(data)

    def _learn_size(self, data: bytes) -> None:
        """From the message's header, which may come later than its record's, and in pieces."""
        if self._needed == _MESSAGE_HEADER:
            self._needed = _message_size(b"".join([data[fragment] for fragment in self._fragments]))


def _whole_record(data: bytes, limit: int) -> bytes | None:
    """The message of a hello that came whole in one record, as most do; None wherever more is to be checked."""
    if len(data) < _RECORD_HEADER + _MESSAGE_HEADER:
        return None
    content_type, major, length, announced = _read_start(data)
    end = _RECORD_HEADER + length
    if content_type != HANDSHAKE or major != 3 or not _SESSION_ID_AT < length <= _MAX_FRAGMENT:
        return None
    if end > len(data) or end > limit or announced != _CLIENT_HELLO << 24 | length - _MESSAGE_HEADER:
        return None
    return data[_RECORD_HEADER:end]


def _fragment_length(data: bytes, position: int) -> int | None:
    """What the record header at `position` announces; None while it is incomplete."""
    if len(data) - position < _RECORD_HEADER:
        if len(data) > position and data[position] != HANDSHAKE:
            raise _malformed("a record that is no handshake")
        return None
    content_type, major, length = _read_record_header(data, position)
    if content_type != HANDSHAKE or major != 3 or not 0 < length <= _MAX_FRAGMENT:
        raise _malformed("a record that is no handshake, of another version, empty or too long")
    return length  # type: ignore[no-any-return]  # struct is not typed by its format


def _message_size(start: bytes) -> int:
    """The size of the whole message by its own header; the header's size while that is incomplete."""
    if start and start[0] != _CLIENT_HELLO:
        raise _malformed("another handshake message")
    if len(start) < _MESSAGE_HEADER:
        return _MESSAGE_HEADER
    size = _MESSAGE_HEADER + int.from_bytes(start[1:_MESSAGE_HEADER], "big")
    if size <= _SESSION_ID_AT:
        raise _malformed("a message too short to be a ClientHello")
    return size


def _recall_or_parse(message: bytes) -> ClientHello:
    """The hello that was parsed before, if all bytes that mean something are the same; else as `_parse_message`."""
    ciphers_at = _SESSION_ID_AT + 1 + message[_SESSION_ID_AT]
    extension_at = ciphers_at + 6 + int.from_bytes(message[ciphers_at : ciphers_at + 2], "big")
    about = len(message), message[extension_at : extension_at + _EXTENSION_HEADER]  # from many programs: of the name
    shape = _shapes.get(about)
    if shape is not None:
        known = shape.hellos.get(shape.read(message))
        if known is not None:
            return known
    hello = _parse_message(message)
    if len(message) <= _REMEMBERED_BYTES:
        _remember(message, hello, about, shape)
    return hello


def _remember(message: bytes, hello: ClientHello, about: tuple[int, bytes], shape: _Shape | None) -> None:
    """The numbers of shapes and of their hellos are bounded, as peers choose what is remembered."""
    parts = _parts_read(message)
    if shape is None or shape.parts != parts:
        if len(_shapes) >= _SHAPES:
            _shapes.clear()
        shape = _shapes[about] = _Shape(parts, itemgetter(*parts), {})
    if len(shape.hellos) >= _HELLOS_OF_A_SHAPE:
        shape.hellos.clear()
    shape.hellos[shape.read(message)] = hello


def _parts_read(message: bytes) -> tuple[slice, ...]:
    """All of a well-formed message but the random, the session identifier and long extensions that are not read."""
    session_id, at = _vector(message, _SESSION_ID_AT, 1)
    parts = [slice(0, _RANDOM_AT), slice(_SESSION_ID_AT, at - len(session_id))]
    begin = at
    at = _vector(message, at, 2)[1]
    at = _vector(message, at, 1)[1]
    at += 2
    while at < len(message):
        kind, length = _read_extension_header(message, at)
        at += _EXTENSION_HEADER
        if length > _WORTH_SKIPPING and kind not in _READ_EXTENSIONS:
            parts.append(slice(begin, at))
            begin = at + length
        at += length
    return (*parts, slice(begin, len(message)))


def _parse_message(message: bytes) -> ClientHello:
    """RFC 8446 section 4.1.2. A hello without any extensions is legal before TLS 1.3."""
    session_id, at = _vector(message, _SESSION_ID_AT, 1)
    ciphers, at = _vector(message, at, 2)
    compression, at = _vector(message, at, 1)
    extensions: dict[int, bytes] = {}
    if at < len(message):
        block, at = _vector(message, at, 2)
        extensions = _split_extensions(block)
    major = message[_MESSAGE_HEADER]
    if major != 3 or len(session_id) > _MAX_SESSION_ID or not compression or at != len(message):
        raise _malformed("version, session identifier, compression methods or end of the message")
    name = extensions.get(SERVER_NAME)
    server_name = None if name is None else _parse_server_name(name)
    alpn, versions, fingerprint = _read_offer(message, ciphers, extensions)
    ech = _ENCRYPTED_CLIENT_HELLO in extensions or _ENCRYPTED_SERVER_NAME in extensions
    return ClientHello(server_name, alpn, versions, ech, fingerprint, _EARLY_DATA in extensions)


def _vector(data: bytes, at: int, width: int) -> tuple[bytes, int]:
    """The vector whose length of `width` bytes stands at `at`, and where it ends (RFC 8446 section 3.4)."""
    start = at + width
    end = start + int.from_bytes(data[at:start], "big")
    if end > len(data):
        raise _malformed("a length that points behind the end")
    return data[start:end], end


def _split_extensions(block: bytes) -> dict[int, bytes]:
    extensions: dict[int, bytes] = {}
    at, end, count = 0, len(block), 0
    try:
        while at < end:
            kind, length = _read_extension_header(block, at)
            start = at + _EXTENSION_HEADER
            at = start + length
            extensions[kind] = block[start:at]
            count += 1
            if count > MAX_LISTED:
                raise _too_large(f"more than {MAX_LISTED} extensions")
    except struct.error:
        at = -1
    if at != end:
        raise _malformed("an extension that points behind the end")
    if len(extensions) != count:
        raise _malformed("an extension twice")
    return extensions


def _parse_server_name(extension: bytes) -> HostName:
    """Exactly one name of type host_name, never an address (RFC 6066 section 3)."""
    entry = _only_vector(extension, 2)
    name = parse_host_name(_only_vector(entry[1:], 2).decode("latin-1")) if entry[:1] == _HOST_NAME else None
    if name is None:
        raise _malformed("a server name that is not exactly one valid host name")
    return name


def _read_offer(message: bytes, ciphers: bytes, extensions: dict[int, bytes]) -> _Offer:
    """Remembered only for hellos of ordinary size, so that a peer's bytes that are remembered are bounded as well."""
    small = len(message) <= _MEMOISED_BYTES and len(extensions) <= _MEMOISED_EXTENSIONS
    parse = _parse_offer if small else _parse_offer.__wrapped__
    return parse(
        message[_MESSAGE_HEADER:_RANDOM_AT],
        ciphers,
        frozenset(extensions),  # clients that shuffle their extensions are the same client
        extensions.get(ALPN),
        extensions.get(_SUPPORTED_VERSIONS),
        extensions.get(_SIGNATURE_ALGORITHMS),
    )


@lru_cache(maxsize=512)
def _parse_offer(
    legacy_version: bytes,
    ciphers: bytes,
    kinds: frozenset[int],
    alpn: bytes | None,
    versions: bytes | None,
    algorithms: bytes | None,
) -> _Offer:
    protocols = [] if alpn is None else _protocols(alpn)
    offered = _numbers(legacy_version) if versions is None else _numbers(_only_vector(versions, 1))
    meant = tuple([each for each in offered if each not in GREASE])
    signatures = () if algorithms is None else _numbers(_only_vector(algorithms, 2))
    fingerprint = ja4(max(meant, default=0), _numbers(ciphers), kinds, protocols[0] if protocols else b"", signatures)
    return _Offer(tuple([each.decode("latin-1") for each in protocols]), meant, fingerprint)


def _protocols(alpn: bytes) -> list[bytes]:
    """RFC 7301 section 3.1: a list that is not empty, of names that are not empty."""
    names = _only_vector(alpn, 2)
    protocols = []
    at = 0
    while at < len(names):
        name, at = _vector(names, at, 1)
        protocols.append(name)
        if len(protocols) > MAX_LISTED:
            raise _too_large(f"more than {MAX_LISTED} protocols")
    if not all(protocols) or not protocols:
        raise _malformed("an empty protocol name or list of them")
    return protocols


def _only_vector(extension: bytes, width: int) -> bytes:
    content, end = _vector(extension, 0, width)
    if end != len(extension):
        raise _malformed("bytes left over in an extension")
    return content


def _numbers(data: bytes) -> tuple[int, ...]:
    """A list of 16-bit values that is not empty."""
    if len(data) > 2 * MAX_LISTED:
        raise _too_large(f"more than {MAX_LISTED} numbers in a list")
    if not data or len(data) % 2:
        raise _malformed("a list of numbers that is empty or cut")
    return struct.unpack(f">{len(data) // 2}H", data)


def _too_large(detail: str) -> MalformedClientHello:
    return MalformedClientHello(Reason.CLIENT_HELLO_TOO_LARGE, detail)


def _malformed(detail: str) -> MalformedClientHello:
    return MalformedClientHello(Reason.MALFORMED_CLIENT_HELLO, detail)
