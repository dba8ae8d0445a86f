"""The destination that a client asks for: a host and a port (RFC 9110 section 4.3, the CONNECT target of section
9.3.6)."""

import re
from functools import lru_cache
from typing import NamedTuple

from gateway.model.addresses import Address, parse_address
from gateway.model.names import HostName, parse_host_name

_PORT = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
LONGEST_AUTHORITY = 253 + len(".:65535")  # a name of full length, its dot and a port

Host = HostName | Address


class Authority(NamedTuple):
    """A valid destination as the client named it. Nothing was resolved."""

    host: Host
    port: int

    @property
    def uri_host(self) -> str:
        """Without the port (RFC 3986 section 3.2.2)."""
        return self.host.uri_host if isinstance(self.host, Address) else self.host

    def __str__(self) -> str:
        return f"{self.uri_host}:{self.port}"


def parse_host(text: str) -> Host | None:
    """A name, a dotted-decimal IPv4 or a bracketed IPv6 literal; None for every other spelling."""
    if text.startswith("["):
        inner = text[1:-1]
        return parse_address(inner) if text.endswith("]") and ":" in inner else None
    if ":" in text:
        return None
    # Only what ends in a digit can be dotted-decimal: without this check every name would cost an exception.
    return (parse_address(text) if text[-1:].isdigit() else None) or parse_host_name(text)


def parse_authority(text: str, default_port: int | None = None) -> Authority | None:
    """`host:port`, the port optional only where a default is given; None if malformed (userinfo included)."""
    return _parse_authority(text, default_port) if len(text) <= LONGEST_AUTHORITY else None


# The same destinations are asked for again and again. Clients choose what is remembered, so its length is bounded too.
@lru_cache(maxsize=4096)
def _parse_authority(text: str, default_port: int | None) -> Authority | None:
    host_text, colon, port_text = text.rpartition(":")
    if default_port is not None and (not colon or text.endswith("]")):
        host_text, port_text = text, str(default_port)
    host = parse_host(host_text)
    if host is None or not _PORT.fullmatch(port_text) or int(port_text) > 65535:
        return None
    return Authority(host, int(port_text))
