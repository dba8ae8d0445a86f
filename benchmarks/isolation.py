"""Runs everything in its own network and mount namespaces: the only network is a new loopback, a file is mounted over
`/etc/hosts`, logs go to a file system in memory, and all of it disappears with the last process. So the ports are free,
nothing but loopback can be reached, no disk is measured, and nothing on the machine changes.
"""

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_OUTSIDE = "BENCHMARKS_OUTSIDE"
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1
_TIME_WAIT_BUCKETS = 2_000_000


class Unusable(Exception):
    """This machine or this user cannot run the benchmark; the text says what to do."""


def _namespaces() -> str:
    return f"{Path('/proc/self/ns/net').readlink()} {Path('/proc/self/ns/mnt').readlink()}"


def is_isolated() -> bool:
    """Whether neither namespace is the one in which `enter` was called."""
    outside = os.environ.get(_OUTSIDE)
    return outside is not None and not set(outside.split()) & set(_namespaces().split())


def enter(arguments: list[str]) -> None:
    """Start this program again inside the namespaces, in the place of this process. Raises `Unusable`, or never
    returns."""
    unshare = shutil.which("unshare")
    if os.geteuid() != 0:
        raise Unusable("run it as root: the proxies run in a network and a mount namespace of their own")
    if unshare is None:
        raise Unusable("unshare is missing: apt-get install util-linux")
    os.environ[_OUTSIDE] = _namespaces()
    command = [unshare, "--net", "--mount", sys.executable, "-m", "benchmarks", *arguments]
    os.execv(unshare, command)


@contextmanager
def prepared(hosts: str) -> Iterator[Path]:
    """Bring loopback up, make room for TIME_WAIT sockets, and show every process here `hosts` as `/etc/hosts`. Yields a
    directory in memory that every user may enter."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
    Path("/proc/sys/net/ipv4/tcp_max_tw_buckets").write_text(str(_TIME_WAIT_BUCKETS))
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "benchmarks", name], check=True)
        try:
            path = directory / "hosts"
            path.write_text(hosts)
            path.chmod(0o644)
            subprocess.run(["mount", "--bind", str(path), "/etc/hosts"], check=True)
            yield directory
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)
