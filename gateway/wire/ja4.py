"""The JA4 fingerprint of a ClientHello over TCP, after the public specification (FoxIO, "JA4").

`t13d1516h2_8daaf6152771_e5627efa2ab1`: transport, version, whether a name is asked for, how many cipher suites and
extensions, the ends of the first ALPN protocol; a digest of the sorted suites; a digest of the sorted extensions and of
the signature algorithms in their order.
"""

from collections.abc import Collection, Iterable, Sequence
from hashlib import sha256

SERVER_NAME = 0
ALPN = 16
"""The two extension types that JA4 shows in its readable part."""
GREASE = frozenset(range(0x0A0A, 0x10000, 0x1010))
"""Values without meaning, offered to keep servers tolerant (RFC 8701); left out of the fingerprint."""

_VERSIONS = {0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10", 0x0300: "s3", 0x0002: "s2"}
_NOTHING = "000000000000"


def ja4(
    version: int, ciphers: Iterable[int], extensions: Collection[int], first_alpn: bytes, algorithms: Sequence[int]
) -> str:
    """The fingerprint. `version` is the highest offered, `extensions` are types; only `algorithms` have an order.

    `first_alpn` is empty where none is offered. GREASE may be among the numbers.
    """
    suites = [_hex(each) for each in sorted(ciphers) if each not in GREASE]
    kinds = [each for each in sorted(extensions) if each not in GREASE]
    destination = "d" if SERVER_NAME in kinds else "i"
    counts = f"{min(len(suites), 99):02}{min(len(kinds), 99):02}"
    readable = f"t{_VERSIONS.get(version, '00')}{destination}{counts}{_ends(first_alpn)}"
    hashed_kinds = ",".join([_hex(each) for each in kinds if each not in (SERVER_NAME, ALPN)])
    signatures = ",".join([_hex(each) for each in algorithms if each not in GREASE])
    return f"{readable}_{_digest(','.join(suites))}_{_digest(f'{hashed_kinds}_{signatures}'.removesuffix('_'))}"


def _hex(value: int) -> str:
    return f"{value:04x}"


def _digest(text: str) -> str:
    return sha256(text.encode("ascii")).hexdigest()[:12] if text else _NOTHING


def _ends(protocol: bytes) -> str:
    """First and last character of the protocol's name, of its hexadecimal form if either is not alphanumeric."""
    if not protocol:
        return "00"
    if not (protocol[:1] + protocol[-1:]).isalnum():
        return protocol.hex()[0] + protocol.hex()[-1]
    return (protocol[:1] + protocol[-1:]).decode("ascii")
