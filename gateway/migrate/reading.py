"""YAML of other programs as nodes that know their line: bounded, no tags, no constructors, aliases counted.

Less strict than for our own files: other programs accept anchors, several documents and duplicate keys. A duplicate key
is refused here, since which of the two counts depends on the program.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from gateway.migrate.findings import Unreadable

MAX_CHARACTERS = 16 << 20
MAX_DEPTH = 32
MAX_NODES = 500_000
"""Of one file, every use of an alias counted anew."""

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLAIN: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}

_INTEGER = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)

Value = str | int | bool | None | list["Node"] | dict[str, "Node"]


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it stands. The readers below raise `Unreadable` if it is of another kind."""

    value: Value
    file: str
    line: int
    size: int = 1

    @property
    def place(self) -> str:
        """`FILE:LINE`."""
        return f"{self.file}:{self.line}"

    def mapping(self) -> dict[str, "Node"]:
        """Keys and values; null is an empty one."""
        if self.value is None:
            return {}
        if not isinstance(self.value, dict):
            raise self.refusal("must be a mapping")
        return self.value

    def items(self) -> list["Node"]:
        """The items; null is an empty list."""
        if self.value is None:
            return []
        if not isinstance(self.value, list):
            raise self.refusal("must be a list")
        return self.value

    def get(self, key: str) -> "Node":
        """The value of a key; a null node where there is none."""
        return self.mapping().get(key) or Node(None, self.file, self.line)

    def at(self, *keys: str) -> "Node":
        """The value below several keys."""
        node = self
        for key in keys:
            node = node.get(key)
        return node

    def text(self) -> str:
        """Text; a number as it would be written."""
        if isinstance(self.value, str) or (isinstance(self.value, int) and not isinstance(self.value, bool)):
            return str(self.value)
        raise self.refusal("must be text")

    def text_or(self, default: str) -> str:
        """The same; null is the default."""
        return default if self.value is None else self.text()

    def others(self, *known: str) -> list[str]:
        """Keys other than these whose value is not null."""
        return [key for key, node in self.mapping().items() if key not in known and node.value is not None]

    def refusal(self, message: str) -> Unreadable:
        """An error at this place, to be raised."""
        return Unreadable(f"{self.place}: {message}")


def read_documents(text: str, file: str) -> list[Node]:
    """Every document that is not empty. Raises `Unreadable`."""
    if len(text) > MAX_CHARACTERS:
        raise Unreadable(f"{file}: is larger than {MAX_CHARACTERS >> 20} MiB")
    composer = _Composer(file)
    try:
        return [node for node in composer.documents(yaml.parse(text, Loader=_Loader)) if node.value is not None]
    except yaml.YAMLError as refusal:
        mark = getattr(refusal, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 1
        said = getattr(refusal, "problem", None) or str(refusal).splitlines()[0]
        raise Unreadable(f"{file}:{line}: not valid YAML: {said}") from None


class _Composer:
    """Builds nodes from events. `_open` are containers that are being filled, each with the key that waits."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._left = MAX_NODES
        self._anchors: dict[str, Node] = {}
        self._open: list[tuple[str | None, int, list[Node]]] = []

    def documents(self, events: Iterator[Any]) -> Iterator[Node]:
        for event in events:
            node = self._take(event)
            if node is None:
                continue
            if self._open:
                self._open[-1][2].append(node)
            else:
                self._anchors.clear()
                yield node

    def _take(self, event: Any) -> Node | None:
        """The node that the event completes."""
        line = event.start_mark.line + 1
        match event:
            case yaml.ScalarEvent():
                value = _scalar(event.value) if event.implicit[0] else event.value
                return self._made(event.anchor, value, line, 1)
            case yaml.AliasEvent():
                return self._again(str(event.anchor), line)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                if len(self._open) == MAX_DEPTH:
                    raise self._refusal(line, f"nested more than {MAX_DEPTH} deep")
                self._open.append((event.anchor, line, []))
            case yaml.MappingEndEvent():
                anchor, line, children = self._open.pop()
                return self._made(anchor, self._mapping(children), line, _size(children))
            case yaml.SequenceEndEvent():
                anchor, line, children = self._open.pop()
                return self._made(anchor, children, line, _size(children))
        return None

    def _made(self, anchor: str | None, value: Value, line: int, size: int) -> Node:
        self._spend(1, line)
        node = Node(value, self._file, line, size)
        if anchor is not None:
            self._anchors[anchor] = node
        return node

    def _again(self, anchor: str, line: int) -> Node:
        node = self._anchors.get(anchor)
        if node is None:
            raise self._refusal(line, f"the alias *{anchor} stands for nothing")
        self._spend(node.size, line)
        return node

    def _spend(self, count: int, line: int) -> None:
        self._left -= count
        if self._left < 0:
            raise self._refusal(line, f"holds more than {MAX_NODES} values")

    def _mapping(self, children: list[Node]) -> dict[str, Node]:
        made: dict[str, Node] = {}
        for key, value in zip(children[::2], children[1::2], strict=True):
            name = key.text()
            if name in made:
                raise self._refusal(key.line, f"the key {name} stands here twice")
            if name == "<<":
                raise self._refusal(key.line, "merge keys are not read: write the values out")
            made[name] = value
        return made

    def _refusal(self, line: int, message: str) -> Unreadable:
        return Unreadable(f"{self._file}:{line}: {message}")


def _size(children: list[Node]) -> int:
    return 1 + sum(child.size for child in children)


def _scalar(text: str) -> str | int | bool | None:
    if text in _PLAIN:
        return _PLAIN[text]
    return int(text) if _INTEGER.fullmatch(text) else text
