"""A network of one's own: a namespace in which this machine has whatever address a test needs.

Report mode lets unknown destinations pass at global unicast addresses only, and no test may use somebody's.
"""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.helpers.requirements import require, require_root

_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


@contextmanager
def own_network(*addresses: str) -> Iterator[None]:
    """The calling thread, and what it starts inside, are on a network that is loopback with these addresses too."""
    require_root()
    ip = require("ip")
    former = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _call(_LIBC.unshare(_CLONE_NEWNET))
        try:
            subprocess.run([ip, "link", "set", "lo", "up"], check=True)
            for address in addresses:
                subprocess.run([ip, "address", "add", address, "dev", "lo"], check=True)
            yield
        finally:
            _call(_LIBC.setns(former, _CLONE_NEWNET))
    finally:
        os.close(former)


def _call(status: int) -> None:
    if status:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
