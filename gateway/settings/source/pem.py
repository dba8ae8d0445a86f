"""Files with certificates and keys. A key that others may read is refused."""

import stat
from pathlib import Path

from gateway.settings.problems import BadValue
from gateway.settings.source.files import Reader, unreadable

_MORE_THAN_0640 = stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO


def read_pem(path: Path) -> bytes:
    """The text of a file. Raises `BadValue` that says why not."""
    return Reader().read(path).encode()


def read_key(path: Path) -> bytes:
    """The text of a private key, which nobody but its owner and its group may read. Raises `BadValue`."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as refusal:
        raise unreadable(refusal) from refusal
    if mode & _MORE_THAN_0640:
        raise BadValue(f"has mode {stat.S_IMODE(mode):04o}: a private key needs 0640 or less (chmod 0640)")
    return read_pem(path)
