"""The PROXY protocol, versions 1 and 2 (the HAProxy project's proxy-protocol.txt): the client that a forwarder names.

Strict where the specification leaves a choice: TCP over IPv4 or IPv6, or no address at all (LOCAL, UNSPEC, UNKNOWN: the
forwarder speaks for itself). The size is checked before the end has arrived.
"""

import re
import struct
from typing import Final, NamedTuple

from gateway.model.addresses import Address, parse_address, unpack_address
from gateway.model.decision import ProxyVersion
from gateway.model.errors import Malformed
from gateway.model.reasons import Reason

MAX_V1: Final = 107
"""Bytes of a line, its CRLF included (section 2.1)."""
MAX_V2: Final = 4096
"""Bytes of a binary header that we take: addresses and the extensions of every known sender, and to spare."""

_V1_START: Final = b"PROXY "
_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_V2_HEADER: Final = len(_SIGNATURE) + 4
_PORT = re.compile(r"0|[1-9][0-9]{0,4}", re.ASCII)
_HOST = r"([0-9a-fA-F:.]{2,45})"
_LINE = re.compile(rf"PROXY (TCP4|TCP6) {_HOST} {_HOST} ([0-9]+) ([0-9]+)", re.ASCII)

_LOCAL, _PROXY = 0x20, 0x21  # version and command
_UNSPEC, _TCP4, _TCP6 = 0x00, 0x11, 0x21  # family and transport
_ADDRESS_BYTES: Final = {_TCP4: 4, _TCP6: 16}
_CRC32C: Final = 0x03
_MAPPED_PREFIX: Final = 0xFFFF << 32

Endpoint = tuple[Address, int]


class ProxyHeader(NamedTuple):
    """One header. `source` is the client that the forwarder names, None where it speaks for itself; `size` is the bytes
    that the header took."""

    source: Endpoint | None
    size: int


class MalformedProxyHeader(Malformed):
    """No continuation makes this a PROXY header that we take; `reason` tells whether it began like one."""


def begins_header(data: bytes) -> bool | None:
    """Whether `data` begins a header of either version; None while that is open."""
    if data.startswith((_V1_START, _SIGNATURE)):
        return True
    return None if _V1_START.startswith(data) or _SIGNATURE.startswith(data) else False


def parse_proxy_header(data: bytes) -> ProxyHeader | None:
    """The header at the start of `data`; None while bytes are missing. Raises `MalformedProxyHeader`."""
    begins = begins_header(data)
    if begins is False:
        raise MalformedProxyHeader(Reason.PROXY_HEADER_MISSING, "the first bytes are no PROXY header")
    if begins is None:
        return None
    return _parse_v1(data) if data.startswith(_V1_START) else _parse_v2(data)


def _parse_v1(data: bytes) -> ProxyHeader | None:
    """Section 2.1: one line of ASCII."""
    end = data.find(b"\n", 0, MAX_V1)
    if end < 0:
        if len(data) >= MAX_V1:
            raise _malformed(f"a line of more than {MAX_V1} bytes")
        return None
    line = data[: end - 1].decode("latin-1")
    if data[end - 1 : end] != b"\r":
        raise _malformed("a line that does not end in CRLF")
    if line == "PROXY UNKNOWN" or line.startswith("PROXY UNKNOWN "):
        return ProxyHeader(None, end + 1)
    return ProxyHeader(_source_of_line(line), end + 1)


def _source_of_line(line: str) -> Endpoint:
    found = _LINE.fullmatch(line)
    if found is None:
        raise _malformed("a line that is not `PROXY TCP4|TCP6 source destination port port`")
    family, source, destination, *ports = found.groups()
    client = parse_address(source)
    if client is None or parse_address(destination) is None:
        raise _malformed("an invalid address")
    if any((":" in text) != (family == "TCP6") for text in (source, destination)):
        raise _malformed(f"an address that is not of {family}")
    if not all(_PORT.fullmatch(port) and int(port) <= 0xFFFF for port in ports):
        raise _malformed("an invalid port")
    return client, int(ports[0])


def _parse_v2(data: bytes) -> ProxyHeader | None:
    """Section 2.2. The length is judged before what it announces has arrived."""
    if len(data) > len(_SIGNATURE) and data[len(_SIGNATURE)] not in (_LOCAL, _PROXY):
        raise _malformed("an unknown version or command")
    if len(data) < _V2_HEADER:
        return None
    command, family, length = struct.unpack_from(">BBH", data, len(_SIGNATURE))
    size = _V2_HEADER + length
    if size > MAX_V2:
        raise _malformed(f"a header of {size} bytes, more than {MAX_V2}")
    width = _ADDRESS_BYTES.get(family)
    if command == _PROXY and family != _UNSPEC and width is None:
        raise _malformed("a family or transport that is not TCP over IPv4 or IPv6")
    if len(data) < size:
        return None
    content = data[_V2_HEADER:size]
    if command == _LOCAL or width is None:
        return ProxyHeader(None, size)
    source, extensions = _source_of_block(content, width)
    _check_extensions(data[:size], extensions)
    return ProxyHeader(source, size)


def _source_of_block(content: bytes, width: int) -> tuple[Endpoint, int]:
    """The client, and where in `content` the extensions begin."""
    end = 2 * width + 4
    if len(content) < end:
        raise _malformed("an address block that is too short for its family")
    port = int.from_bytes(content[2 * width : 2 * width + 2], "big")
    return (unpack_address(content[:width]), port), end


def _check_extensions(header: bytes, start: int) -> None:
    """Their lengths must fill the header exactly (section 2.2.5); a checksum that is there must be right (2.2.4)."""
    at = _V2_HEADER + start
    while at < len(header):
        if at + 3 > len(header):
            raise _malformed("an extension that is cut off")
        kind, length = struct.unpack_from(">BH", header, at)
        value_at, at = at + 3, at + 3 + length
        if at > len(header):
            raise _malformed("an extension that points behind the end")
        if kind == _CRC32C:
            _check_sum(header, value_at, length)


def _check_sum(header: bytes, at: int, length: int) -> None:
    if length != 4:
        raise _malformed("a checksum that is not of four bytes")
    zeroed = header[:at] + bytes(4) + header[at + 4 :]
    if crc32c(zeroed) != int.from_bytes(header[at : at + 4], "big"):
        raise _malformed("a checksum that is wrong")


def build_proxy_header(version: ProxyVersion, source: Endpoint, destination: Endpoint) -> bytes:
    """The header that tells a destination who the client is. If the families differ both are written as IPv6."""
    both_v4 = source[0].version == destination[0].version == 4
    if version is ProxyVersion.V1:
        hosts = " ".join(_text(address, both_v4) for address, _ in (source, destination))
        return f"PROXY {'TCP4' if both_v4 else 'TCP6'} {hosts} {source[1]} {destination[1]}\r\n".encode("ascii")
    family = _TCP4 if both_v4 else _TCP6
    width = _ADDRESS_BYTES[family]
    block = b"".join(_value(address, both_v4).to_bytes(width, "big") for address, _ in (source, destination))
    block += struct.pack(">HH", source[1], destination[1])
    return _SIGNATURE + struct.pack(">BBH", _PROXY, family, len(block)) + block


def _value(address: Address, as_v4: bool) -> int:
    return address.value if as_v4 or address.version == 6 else _MAPPED_PREFIX | address.value


def _text(address: Address, as_v4: bool) -> str:
    return f"::ffff:{address}" if address.version == 4 and not as_v4 else str(address)


def crc32c(data: bytes) -> int:
    """Castagnoli's CRC (RFC 9260 appendix A), for a few hundred bytes once a connection."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _crc_entry(value: int) -> int:
    for _ in range(8):
        value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value


_CRC_TABLE: Final = tuple(_crc_entry(value) for value in range(256))


def _malformed(detail: str) -> MalformedProxyHeader:
    return MalformedProxyHeader(Reason.PROXY_HEADER_MALFORMED, detail)
