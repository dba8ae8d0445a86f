"""Files with certificates and keys. A key that others may read is refused."""

import ssl
import stat
from pathlib import Path

from gateway.settings.problems import BadValue
from gateway.settings.source.files import Reader, unreadable

_MORE_THAN_0640 = stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO


def read_pem(path: Path) -> bytes:
    """The text of a file. Raises `BadValue` that says why not."""
    return Reader().read(path).encode()


def parse_authorities(text: str) -> str:
    """CA certificates in the form that OpenSSL accepts. Raises `BadValue` if there is none in the text."""
    plain = text.encode("ascii", "replace").decode()  # comments may hold any characters
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=plain)
    except (ssl.SSLError, ValueError) as refusal:  # ValueError: it is empty
        raise BadValue("holds no CA certificate in PEM form") from refusal
    return plain


def read_key(path: Path) -> bytes:
    """The text of a private key, which nobody but its owner and its group may read. Raises `BadValue`."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as refusal:
        raise unreadable(refusal) from refusal
    if mode & _MORE_THAN_0640:
        raise BadValue(f"has mode {stat.S_IMODE(mode):04o}: a private key needs 0640 or less (chmod 0640)")
    return read_pem(path)
