"""Reads files: bounded, UTF-8, and remembered for the watcher of changes."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from gateway.settings.problems import BadValue, Problems

MAX_BYTES = 64 << 20
MOST_REPORTED = 100
"""Invalid entries of one list file that are reported one by one."""

T = TypeVar("T")

Stamp = tuple[int, int, int] | None
"""Inode, modification time (ns) and size of what a path leads to, None for nothing that can be read: changes with the
content, and when a permission is taken or given."""


def stamp(path: Path) -> Stamp:
    """The current one. Symbolic links are followed."""
    try:
        status = path.stat()
        if not os.access(path, os.R_OK, effective_ids=True):
            return None
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def is_there(path: Path) -> bool:
    """Whether a path leads to something. True also where that cannot be seen: reading it then says why."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):
        return True
    return True


def unreadable(refusal: OSError | ValueError) -> BadValue:
    """Why a file cannot be read; a ValueError is a NUL in its path."""
    return BadValue(f"cannot be read: {refusal.strerror if isinstance(refusal, OSError) else refusal}")


class Reader:
    """Reads files for one load."""

    def __init__(self) -> None:
        self._files: dict[Path, Stamp] = {}

    @property
    def files(self) -> Mapping[Path, Stamp]:
        """What was asked for, present or not, in that order, with its stamp from just before it was read."""
        return self._files

    def note(self, path: Path) -> None:
        """Something else whose change matters: a directory that was listed, a file that does not exist."""
        self._files.setdefault(path, stamp(path))

    def read(self, path: Path, shown: Path | None = None) -> str:
        """The text of a file. `shown` is the path by which users know it. Raises `BadValue` that says why not."""
        self.note(shown or path)
        try:
            with path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except (OSError, ValueError) as refusal:
            raise unreadable(refusal) from refusal
        if len(content) > MAX_BYTES:
            raise BadValue(f"is larger than {MAX_BYTES >> 20} MiB")
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as refusal:
            line = content.count(b"\n", 0, refusal.start) + 1
            raise BadValue(f"is not UTF-8 text: see line {line}") from refusal


def list_lines(text: str) -> Iterator[tuple[int, str]]:
    """The entries of a list file with their lines, from 1: one a line, `#` begins a comment. They come one by one: a
    list of all lines of a long file would take more memory than what is made of them."""
    number, at = 1, 0
    while at <= len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        entry = text[at:end].partition("#")[0].strip()
        if entry:
            yield number, entry
        number, at = number + 1, end + 1


def parse_list(
    text: str, file: str, parse: Callable[[str], T], problems: Problems, quotes: bool
) -> Iterator[tuple[int, T]]:
    """The entries of a list file, each with its line; invalid ones go to `problems`, quoted only if `quotes`. Of a file
    that is something else altogether only the first are reported: nobody reads a million lines."""
    invalid = 0
    for number, entry in list_lines(text):
        try:
            value = parse(entry)
        except BadValue as refusal:
            invalid += 1
            if invalid <= MOST_REPORTED:
                problems.add(f"{file}:{number}", str(refusal) if quotes else "is not an entry of such a list")
        else:
            yield number, value
    if invalid > MOST_REPORTED:
        problems.add(file, f"has {invalid - MOST_REPORTED} more invalid entries")
