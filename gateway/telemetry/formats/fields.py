"""Shared by the formats: records as flat mappings, instants, and escaping that keeps text from breaking a line."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from gateway.model.addresses import parse_address
from gateway.model.record import ConnectionRecord, ExchangeRecord

HTTP_PORT, HTTPS_PORT = 80, 443
"""Left out of authorities."""

Record = ConnectionRecord | ExchangeRecord
Recorded = dict[str, Any]
"""A record as a reader found it, with the keys that its format holds."""


class NotARecord(ValueError):
    """A line that the format's writer did not write, or not to its end."""


class OtherTraffic(NotARecord):
    """A line of the format that tells of something which no gateway carries; the text says of what."""


def is_summed_up(record: Record | Mapping[str, Any]) -> bool:
    """Whether it is the record of a connection that only sums up its exchanges, each of which has a record of its own.
    A format that cannot tell the two kinds apart leaves it out, and a reader that adds up bytes skips it: they would
    count twice."""
    return "requests" in record and "exchange_id" not in record


def milliseconds_of(time: str) -> int:
    """Since the epoch, of `2027-01-31T23:59:59.123Z`. Raises ValueError."""
    instant = datetime.fromisoformat(time)
    if instant.tzinfo is None:
        raise ValueError("a time without its zone")
    return round(instant.timestamp() * 1000)


def time_of(milliseconds: int) -> str:
    """The reverse, in UTC. Raises ValueError for a time out of range."""
    return _to_the_second(milliseconds // 1000) + _MILLISECONDS[milliseconds % 1000]


_MILLISECONDS = tuple(f".{number:03d}Z" for number in range(1000))


@lru_cache(maxsize=4)
def _to_the_second(seconds: int) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
    except (OverflowError, OSError) as refusal:
        raise ValueError("a time out of range") from refusal


def authority_of(host: str, port: int) -> str:
    """`host:port`, IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_authority(text: str, usual_port: int | None = None) -> tuple[str, int]:
    """The reverse; `usual_port` stands in for a missing port. Raises ValueError if there is neither."""
    host, colon, port = text.rpartition(":")
    if usual_port is not None and not (colon and port.isdecimal()):
        host, port = text, str(usual_port)
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_address(host: str) -> bool:
    """Whether a record's `host` is an address."""
    return parse_address(host) is not None


_UNSAFE = {character: f"%{ord(character):02X}" for character in ' "\\[]'}


def percent_encoded(text: str, also: str = "") -> str:
    """Percent-encodes, in UTF-8, what would end a field (space, quotes, brackets, backslash), the characters in `also`
    and all that is not printable ASCII; a percent sign stays as it is unless it is in `also`."""
    if text.isascii() and text.isalnum():
        return text
    return "".join(_encoded(character, also) for character in text)


def _encoded(character: str, also: str) -> str:
    if character in _UNSAFE:
        return _UNSAFE[character]
    if "!" <= character <= "~" and character not in also:
        return character
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
