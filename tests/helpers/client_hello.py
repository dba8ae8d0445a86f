"""A builder of TLS ClientHellos (RFC 8446 section 4.1.2), well formed unless the caller's own extensions are not."""

import random
import struct
from collections.abc import Sequence

TLS13, TLS12 = 0x0304, 0x0303
CIPHERS = (0x1301, 0x1302, 0x1303, 0xC02B, 0xC02F, 0xC02C, 0xC030, 0x009C, 0x009D)
SIGNATURE_ALGORITHMS = (0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601)

SERVER_NAME, GROUPS, SIGNATURES, ALPN, PADDING, VERSIONS, KEY_SHARE, ECH = 0, 10, 13, 16, 21, 43, 51, 0xFE0D

Extension = tuple[int, bytes]


def build_client_hello(
    server_name: str | None = "allowed.test",
    alpn: Sequence[str] = ("h2", "http/1.1"),
    ech: bool = False,
    fragment: int | None = None,
    size: int | None = None,
    versions: Sequence[int] = (TLS13, TLS12),
    ciphers: Sequence[int] = CIPHERS,
    extensions: Sequence[Extension] = (),
    seed: int = 0,
) -> bytes:
    """The records of one hello, byte for byte the same for the same arguments.

    `fragment` is the most bytes of the message in one record (default: as few records as TLS allows); `size` the length
    that the hello has in one record, reached by padding; an empty `alpn` or `versions` leaves it out. `seed`
    changes random, session identifier and key share. `extensions` come last, as they are.
    """
    chance = random.Random(seed)
    present = [
        *([] if server_name is None else [server_name_extension(server_name.encode("ascii"))]),
        *([] if not alpn else [(ALPN, vector(b"".join(vector(each.encode(), 1) for each in alpn), 2))]),
        (GROUPS, vector(numbers((29, 23)), 2)),
        (SIGNATURES, vector(numbers(SIGNATURE_ALGORITHMS), 2)),
        *([] if not versions else [(VERSIONS, vector(numbers(versions), 1))]),
        (KEY_SHARE, vector(numbers((29,)) + vector(chance.randbytes(32), 2), 2)),
        *([(ECH, chance.randbytes(200))] if ech else []),
        *extensions,
    ]
    start = numbers((TLS12,)) + chance.randbytes(32) + vector(chance.randbytes(32), 1)
    start += vector(numbers(ciphers), 2) + vector(b"\0", 1)
    if size is not None:
        padding = size - len(in_records(build_message(start, present))) - 4
        assert padding >= 0, "already larger than that"
        present.append((PADDING, bytes(padding)))
    return in_records(build_message(start, present), fragment)


def server_name_extension(*names: bytes) -> Extension:
    """The extension server_name with these as names of type host_name."""
    return SERVER_NAME, vector(b"".join(b"\0" + vector(each, 2) for each in names), 2)


def build_message(start: bytes, extensions: Sequence[Extension]) -> bytes:
    """A handshake message of type client_hello: `start` is all before the extensions."""
    block = b"".join(numbers((kind,)) + vector(content, 2) for kind, content in extensions)
    return b"\x01" + vector(start + vector(block, 2), 3)


def in_records(message: bytes, fragment: int | None = None, version: int = 0x0301) -> bytes:
    """The message cut into handshake records of at most `fragment` bytes each."""
    step = fragment or 1 << 14
    return b"".join(
        b"\x16" + numbers((version,)) + vector(message[at : at + step], 2) for at in range(0, len(message), step)
    )


def vector(content: bytes, width: int) -> bytes:
    """A vector with its length in `width` bytes before it (RFC 8446 section 3.4)."""
    return len(content).to_bytes(width, "big") + content


def numbers(values: Sequence[int]) -> bytes:
    """16-bit numbers, one behind the other."""
    return struct.pack(f">{len(values)}H", *values)
