"""Header blocks (RFC 7541) by `hpack`, which is right but takes its time: what was said once in indices alone, and
with the table unchanged since, is not worked out again.
"""

from collections.abc import Sequence
from typing import TypeVar

from hpack import Decoder, Encoder, HPACKError, OversizedHeaderListError

from gateway.wire.http.messages import Fields
from gateway.wire.http2.codes import ConnectionFault, ErrorCode
from gateway.wire.http2.settings import HEADER_LIST

K = TypeVar("K")
V = TypeVar("V")

_INDICES = bytes(range(0x80, 0xFF))  # one byte each; 0xff begins a longer index
_REMEMBERED = 32
_LONGEST = 256  # bytes of a block that is remembered
_SHORT_COOKIE = 20
_HARD_BOUND = 2 * HEADER_LIST
"""Where decoding stops in its midst, and with it the connection. Between the two bounds only the stream does."""


class Decompressor:
    """Of what one peer sends."""

    def __init__(self) -> None:
        self._decoder = Decoder(_HARD_BOUND)
        self._known: dict[bytes, Fields] = {}

    def fields(self, block: bytes) -> Fields:
        """Names and values as Latin-1, not yet judged. Raises `ConnectionFault`."""
        known = self._known.get(block)
        if known is not None:
            return known
        try:
            pairs = self._decoder.decode(block, raw=True)
        except OversizedHeaderListError as error:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"more than {_HARD_BOUND} bytes of fields") from error
        except HPACKError as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, "a block of fields that cannot be read") from error
        fields = tuple([(bytes(name).decode("latin-1"), bytes(value).decode("latin-1")) for name, value in pairs])
        _remember(self._known, block, fields, is_index=_is_index(block))
        return fields


class Compressor:
    """Of what one peer is sent."""

    def __init__(self) -> None:
        self._encoder = Encoder()
        self._known: dict[Fields, bytes] = {}

    def resize(self, size: int) -> None:
        """The peer keeps a table of so many bytes."""
        if size != self._encoder.header_table_size:
            self._known.clear()
            self._encoder.header_table_size = size

    def block(self, fields: Sequence[tuple[str, str]]) -> bytes:
        """In this order. What could be guessed bit by bit is in no table (RFC 7541 section 7.1)."""
        key = tuple(fields)
        known = self._known.get(key)
        if known is not None:
            return known
        block = self._encoder.encode(
            [(name.encode("latin-1"), value.encode("latin-1"), _is_sensitive(name, value)) for name, value in key]
        )
        _remember(self._known, key, block, is_index=_is_index(block))
        return block


def _remember(known: dict[K, V], key: K, value: V, is_index: bool) -> None:
    """Whatever is no index alone may have changed what indices mean."""
    if not is_index or len(known) >= _REMEMBERED:
        known.clear()
    if is_index:
        known[key] = value


def _is_index(block: bytes) -> bool:
    return len(block) <= _LONGEST and not block.translate(None, _INDICES)


def _is_sensitive(name: str, value: str) -> bool:
    return name in ("authorization", "proxy-authorization") or (name == "cookie" and len(value) < _SHORT_COOKIE)
