"""Data with the line of everything in it. Containers know the line of each key or item, so every path into the data has
a place, `FILE:LINE: path`."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

KeyPath = tuple[str | int, ...]
"""Keys and indices from the root of a file, e.g. `("rules", 2, "hosts", 0)`."""

Finding = tuple[KeyPath, str]
"""What is wrong or doubtful, and where: a path inside what was checked."""

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


class MarkedMapping(dict[str, Any]):
    """A mapping with its own line and the line of each key, from 1."""

    __slots__ = ("line", "lines")

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.lines: dict[str, int] = {}

    def line_of(self, key: str | int) -> int | None:
        """The line on which `key` stands."""
        return self.lines.get(key) if isinstance(key, str) else None


class MarkedList(list[Any]):
    """A list with its own line and the line of each item, from 1."""

    __slots__ = ("line", "lines")

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.lines: list[int] = []

    def line_of(self, index: str | int) -> int | None:
        """The line on which the item at `index` stands."""
        return self.lines[index] if isinstance(index, int) and index < len(self.lines) else None


@dataclass(slots=True)
class Document:
    """The data of one file. `origins` names, by path, values that come from an environment variable or an option."""

    file: str
    data: MarkedMapping
    origins: dict[KeyPath, str] = field(default_factory=dict)

    def line(self, path: Sequence[str | int]) -> int:
        """The line of `path`, or of the innermost existing container around it."""
        node: object = self.data
        line = self.data.line
        for key in path:
            if not isinstance(node, MarkedMapping | MarkedList):
                break
            found = node.line_of(key)
            if found is None:
                break
            line, node = found, node[key]  # type: ignore[index]  # line_of answered: the key fits the container
        return line

    def place(self, path: Sequence[str | int]) -> str:
        """`FILE:LINE: path`, or `VARIABLE: path` and `--option` for what did not come from the file."""
        shown = show_path(path)
        for length in range(len(path), 0, -1):
            origin = self.origins.get(tuple(path[:length]))
            if origin is not None:
                return origin if origin.startswith("--") else f"{origin}: {shown}"
        start = f"{self.file}:{self.line(path)}"
        return f"{start}: {shown}" if shown else start


def inside(findings: Iterable[Finding], *outer: str | int) -> Iterator[Finding]:
    """The same, with paths that begin further out."""
    return (((*outer, *path), message) for path, message in findings)


def show_path(path: Sequence[str | int]) -> str:
    """`rules[2].hosts[0]`; a key that would be ambiguous is quoted: `clients["a.b"]`."""
    shown = ""
    for key in path:
        if isinstance(key, int):
            shown += f"[{key}]"
        elif _PLAIN_KEY.fullmatch(key):
            shown += f".{key}" if shown else key
        else:
            shown += f"[{json.dumps(key, ensure_ascii=False)}]"
    return shown
