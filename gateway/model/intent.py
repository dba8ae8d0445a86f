"""What a client wants: how it asks, whom it names, and later what its first bytes show."""

from enum import StrEnum
from typing import NamedTuple

from gateway.model.addresses import Address
from gateway.model.authority import Authority
from gateway.model.names import HostName


class Door(StrEnum):
    """How a connection or request arrives."""

    CONNECT = "connect"
    ABSOLUTE_FORM = "absolute_form"
    TRANSPARENT = "transparent"
    SOCKS5 = "socks5"


class Protocol(StrEnum):
    """What a rule demands of the client's first bytes, and what those bytes turned out to be (never `auto`)."""

    TLS = "tls"
    HTTP = "http"
    AUTO = "auto"
    TCP = "tcp"


class Intent(NamedTuple):
    """One attempt. `protocol` is what the door itself already shows (absolute form is HTTP), None for a CONNECT.

    `original` is the address that a transparent client chose, None elsewhere.
    """

    door: Door
    authority: Authority
    protocol: Protocol | None = None
    original: Address | None = None


class ClientHello(NamedTuple):
    """What a TLS ClientHello contains (RFC 8446 section 4.1.2). `versions` are the offered ones as numbers (0x0304 is
    TLS 1.3) without GREASE; `ech`: the extension 0xfe0d is present, real or GREASE; `ja4` is the fingerprint of that
    name; `early_data`: encrypted data may follow before the server answers."""

    server_name: HostName | None
    alpn: tuple[str, ...]
    versions: tuple[int, ...]
    ech: bool
    ja4: str
    early_data: bool = False


class Opening(NamedTuple):
    """What the client's first bytes in a tunnel are: TLS with its hello, HTTP, or anything else (`tcp`)."""

    protocol: Protocol
    hello: ClientHello | None = None
