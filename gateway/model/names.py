"""Host names as they are sent: ASCII only, nothing is mapped but case and one trailing dot.

RFC 1123 section 2.1 plus the underscore that real names carry. A name whose last label is a number is not a name but a
spelling of an IPv4 address (WHATWG URL, "ends in a number"), and is malformed here.
"""

import re
from functools import lru_cache
from typing import NewType

HostName = NewType("HostName", str)
"""A valid name in lower case without trailing dot, 1 to 253 characters."""

_LONGEST = 253 + len(".")
_NAME = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_-]{1,63}\.)*(?!(?:[0-9]+|0x[0-9a-f]*)\Z)[a-z0-9_-]{1,63}", re.ASCII)


def parse_host_name(text: str) -> HostName | None:
    """The canonical name, or None where `text` is no valid one."""
    return _parse_host_name(text) if len(text) <= _LONGEST else None


# The same names are asked for again and again. Clients choose what is remembered, so its length is bounded too.
@lru_cache(maxsize=4096)
def _parse_host_name(text: str) -> HostName | None:
    name = text.lower().removesuffix(".")
    return HostName(name) if text.isascii() and _NAME.fullmatch(name) else None
