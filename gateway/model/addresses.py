"""IP addresses and networks in one canonical form: IPv4 inside IPv6 (`::ffff:a.b.c.d`) is that IPv4.

Plain integers instead of `ipaddress`, because every connection parses and judges addresses. Values that every
connection makes are named tuples throughout: made, compared and hashed three times as fast as frozen dataclasses.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Literal, NamedTuple

_MAPPED = 0xFFFF  # the upper 96 bits of an IPv4 address inside IPv6
_CANONICAL_LENGTH = re.compile(r"0|[1-9][0-9]{0,2}", re.ASCII)

Version = Literal[4, 6]
WIDTH: dict[Version, int] = {4: 32, 6: 128}


class Address(NamedTuple):
    """One IP address. `value` is the address as an unsigned integer of 32 or 128 bits."""

    version: Version
    value: int

    @lru_cache(maxsize=4096)  # noqa: B019  # the same few addresses are in every record, and hold nothing
    def __str__(self) -> str:
        family, size = (AF_INET, 4) if self.version == 4 else (AF_INET6, 16)
        return inet_ntop(family, self.value.to_bytes(size, "big"))

    @property
    def uri_host(self) -> str:
        """As it stands in an authority: IPv6 in brackets (RFC 3986 section 3.2.2)."""
        return str(self) if self.version == 4 else f"[{self}]"

    @property
    def is_loopback(self) -> bool:
        """127.0.0.0/8 or ::1: only this machine reaches it."""
        return self.value >> 24 == 127 if self.version == 4 else self.value == 1


@dataclass(frozen=True, slots=True, order=True)
class Network:
    """A prefix. `value` has no bits set to the right of `length`."""

    version: Version
    value: int
    length: int

    def __contains__(self, address: Address) -> bool:
        shift = WIDTH[self.version] - self.length
        return address.version == self.version and address.value >> shift == self.value >> shift

    def __str__(self) -> str:
        return f"{Address(self.version, self.value)}/{self.length}"


@lru_cache(maxsize=4096)
def parse_address(text: str) -> Address | None:
    """Dotted-decimal IPv4 without leading zeros, or IPv6 without zone; None for everything else."""
    try:
        return unpack_address(inet_pton(AF_INET6 if ":" in text else AF_INET, text))
    except (OSError, ValueError):  # ValueError: a NUL or a lone surrogate inside
        return None


def unpack_address(packed: bytes) -> Address:
    """The address of these 4 or 16 bytes."""
    value = int.from_bytes(packed, "big")
    if len(packed) == 4:
        return Address(4, value)
    return Address(4, value & 0xFFFFFFFF) if value >> 32 == _MAPPED else Address(6, value)


def parse_network(text: str) -> Network | None:
    """`address` or `address/length`; None if malformed or if bits are set to the right of the prefix."""
    network, is_exact = parse_loosely(text) or (None, False)
    return network if is_exact else None


def parse_loosely(text: str) -> tuple[Network, bool] | None:
    """The same without bits to the right of the prefix, and whether there were none; None if malformed."""
    head, slash, tail = text.partition("/")
    address = parse_address(head)
    if address is None or (slash and not _CANONICAL_LENGTH.fullmatch(tail)):
        return None
    width = WIDTH[address.version]
    length = int(tail) if slash else width
    if slash and address.version == 4 and ":" in head:  # ::ffff:10.0.0.0/104 is 10.0.0.0/8
        length -= 96
    if not 0 <= length <= width:
        return None
    value = address.value >> (width - length) << (width - length)
    return Network(address.version, value, length), value == address.value


def network_of(address: Address) -> Network:
    """The network that holds this one address."""
    return Network(address.version, address.value, WIDTH[address.version])
