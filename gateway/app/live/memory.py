"""Whether memory is short: of this process's limit if one is set, else of the container's.

A container's use is counted as the kubelet counts it: without the page cache that the kernel would give up first.
"""

import os
from pathlib import Path

FULL = 0.9
"""The share of the limit above which no new connection is admitted."""

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Memory:
    """`limit` is in bytes for this process, None for the container's. `cgroup` is the folder of its cgroup (v2)."""

    def __init__(self, limit: int | None, cgroup: Path | None = None) -> None:
        self._limit = limit
        self._cgroup = cgroup or _own_cgroup()

    def is_short(self) -> bool:
        """Whether less than a tenth is left. Reads two small files of the kernel; False if nothing is limited."""
        if self._limit is not None:
            return _resident() > FULL * self._limit
        limit = _number(self._cgroup / "memory.max")
        if limit is None:
            return False
        return _working_set(self._cgroup) > FULL * limit


def _resident() -> int:
    """0 where no descriptor is left to read it with."""
    numbers = _text(Path("/proc/self/statm")).split()
    return int(numbers[1]) * _PAGE if numbers else 0


def _working_set(cgroup: Path) -> int:
    used = _number(cgroup / "memory.current") or 0
    statistics = _text(cgroup / "memory.stat").split()
    cached = dict(zip(statistics[::2], statistics[1::2], strict=False)).get("inactive_file", "0")
    return used - int(cached)


def _number(file: Path) -> int | None:
    """None for `max`, and if there is no such file."""
    text = _text(file).strip()
    return int(text) if text.isdecimal() else None


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


def _own_cgroup() -> Path:
    """cgroup v2: the path in the line `0::/path`."""
    lines = _text(Path("/proc/self/cgroup")).splitlines()
    path = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "/")
    return Path("/sys/fs/cgroup") / path.lstrip("/")
