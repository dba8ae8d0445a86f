"""Rotates a log file that is too large or whose period is over: it is renamed, compressed, and finally removed.

`access.log` becomes `access.log.20270131T235959.123456Z`, then `....gz`; until that is whole its name begins with a
dot, so that `access.log*` does not name it. All processes that write the file come here holding its lock, so that one
of them renames it; the others notice that the path is another file now.
"""

import gzip
import logging
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

_STAMP = re.compile(r"\.\d{8}T\d{6}\.\d{6}Z(?:\.gz)?")
_PART = re.compile(r"\.\d{8}T\d{6}\.\d{6}Z\.gz\.part")
_ABANDONED_SECONDS = 3600.0  # without a write: the process that was compressing has ended

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RotationPlan:
    """`size` in bytes and `every` in seconds of Unix time (86,400: at midnight UTC); None for never. `keep` is the
    number of rotated files that are kept."""

    size: int | None = None
    every: float | None = None
    keep: int = 7
    compress: bool = True


class Rotation:
    """The rotation of one path. Its methods are called by the one thread that writes it, while it holds the lock."""

    def __init__(self, path: str, plan: RotationPlan, unix_time: Callable[[], float] = time.time) -> None:
        self._path = Path(path)
        self._plan = plan
        self._time = unix_time
        self._compressing: threading.Thread | None = None

    def wants_reopening(self, descriptor: int, coming: int) -> bool:
        """Whether the path is another file now, perhaps because this call rotated it to make room for `coming` bytes.
        Raises OSError."""
        try:
            current = self._path.stat()
        except FileNotFoundError:
            return True
        if self._is_due(current, coming):
            self._set_aside()
            return True
        mine = os.fstat(descriptor)
        return (current.st_dev, current.st_ino) != (mine.st_dev, mine.st_ino)

    def wait(self, timeout: float) -> None:
        """For the compression that is under way, if any."""
        if self._compressing is not None:
            self._compressing.join(timeout)

    def _is_due(self, status: os.stat_result, coming: int) -> bool:
        """An empty file never is. The time of the last write says which period the file belongs to."""
        if not status.st_size:
            return False
        size, every = self._plan.size, self._plan.every
        too_large = size is not None and status.st_size + coming > size
        return too_large or (every is not None and status.st_mtime // every < self._time() // every)

    def _set_aside(self) -> None:
        seconds, microseconds = divmod(int(self._time() * 1e6), 1_000_000)
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(seconds))
        aside = self._path.with_name(f"{self._path.name}.{stamp}.{microseconds:06d}Z")
        self._path.rename(aside)
        self._remove_oldest(aside.name)
        if self._plan.compress:
            self.wait(timeout=60)  # one at a time; the sink's queue takes what comes meanwhile
            self._compressing = threading.Thread(target=_compress, args=(aside,), name="gzip", daemon=True)
            self._compressing.start()

    def _remove_oldest(self, newest: str) -> None:
        """By name, which is by age; names after the newest are from before the clock was set back, and go first. A file
        that cannot be removed is logged and left."""
        siblings = list(self._path.parent.iterdir())
        aside = _named(siblings, self._path.name, _STAMP)
        aside.sort(key=lambda each: (each.name <= newest, each.name))
        parts = _named(siblings, f".{self._path.name}", _PART)
        for old in (*aside[: max(0, len(aside) - self._plan.keep)], *filter(self._is_abandoned, parts)):
            try:
                old.unlink(missing_ok=True)
            except OSError as error:
                _logger.warning("%s cannot be removed: %s", old, error.strerror)

    def _is_abandoned(self, part: Path) -> bool:
        try:
            return part.stat().st_mtime < self._time() - _ABANDONED_SECONDS
        except OSError:  # it is complete now, and was renamed
            return False


def _named(files: Sequence[Path], beginning: str, ending: re.Pattern[str]) -> list[Path]:
    return [
        each
        for each in files
        if each.name.startswith(beginning) and ending.fullmatch(each.name, pos=len(beginning)) is not None
    ]


def _compress(path: Path) -> None:
    """The compressed file appears complete or not at all; then the plain one is removed."""
    part = path.with_name(f".{path.name}.gz.part")
    try:
        mode = path.stat().st_mode & 0o777
        with (
            path.open("rb") as plain,
            open(part, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file,
            gzip.open(file, "wb", compresslevel=6) as packed,
        ):
            part.chmod(mode)
            shutil.copyfileobj(plain, packed, 1 << 20)
        part.rename(path.with_name(f"{path.name}.gz"))
        path.unlink()
    except OSError as error:
        _logger.warning("%s cannot be compressed: %s", path, error.strerror)
        part.unlink(missing_ok=True)
