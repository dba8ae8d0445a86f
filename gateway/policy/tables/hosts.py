"""Host patterns by name: a look-up for each label of a name, however many patterns there are.

Patterns that cover a name are found from the most specific to the least: the name itself, then ever shorter suffixes
(where a suffix stands in two patterns, one label deep before any depth), then `*`.
"""

from collections.abc import Iterator, Mapping
from typing import Final, Generic, TypeVar

from gateway.policy.rules import HostPattern, Reach
from gateway.policy.tables.divided import Divided, Entries, is_full, take_down
from gateway.policy.tables.packed import Packed

T = TypeVar("T")

_MARKS: Final = {Reach.EXACT: b"e", Reach.CHILD: b"c", Reach.BELOW: b"b"}


def packed_key(pattern: HostPattern) -> bytes:
    """The key of a pattern in a packed table; not for `*`."""
    return _MARKS[pattern.reach] + pattern.name.encode("ascii")


class HostTable(Generic[T]):
    """A map from host patterns to values, none of which may be None; unchanged once it is asked.

    `packed` holds further patterns, which must not be added as well.
    """

    __slots__ = ("_any", "_below", "_child", "_exact", "_packed", "_tables")

    def __init__(self, entries: Mapping[HostPattern, T] | None = None, packed: Packed[T] | None = None) -> None:
        self._tables: dict[Reach, Entries[str, T]] = {reach: {} for reach in Reach}
        self._any: dict[str, T] = {}
        self._tables[Reach.ANY] = self._any
        self._name_tables()
        self._packed = packed
        for pattern, value in (entries or {}).items():
            self.add(pattern.reach, pattern.name, value)

    def add(self, reach: Reach, name: str, value: T) -> None:
        """One pattern more; the last value of a pattern counts."""
        table = self._tables[reach]
        if is_full(table):
            table = self._tables[reach] = Divided(table)
            self._name_tables()
        table[name] = value

    def _name_tables(self) -> None:
        """For `find`: to look up a table by its `Reach` takes longer than to look up a name in it."""
        self._exact = self._tables[Reach.EXACT]
        self._child = self._tables[Reach.CHILD]
        self._below = self._tables[Reach.BELOW]

    def find(self, name: str) -> list[T]:
        """The values of all patterns that cover `name`, the most specific first."""
        if self._packed is not None:
            return self._find_in_both(name, self._packed)
        found = self.find_exact(name)
        parent = name.partition(".")[2]
        if self._child and (value := self._child.get(parent)) is not None:
            found.append(value)
        below = self._below
        while below and parent:
            if (value := below.get(parent)) is not None:
                found.append(value)
            parent = parent.partition(".")[2]
        found.extend(self._any.values())
        return found

    def _find_in_both(self, name: str, packed: Packed[T]) -> list[T]:
        found = self.find_exact(name)
        parent = name.partition(".")[2]
        if parent:
            encoded = parent.encode("ascii")
            if (value := self._child.get(parent) or packed.get(b"c" + encoded)) is not None:
                found.append(value)
        while parent:
            if (value := self._below.get(parent) or packed.get(b"b" + parent.encode("ascii"))) is not None:
                found.append(value)
            parent = parent.partition(".")[2]
        found.extend(self._any.values())
        return found

    def find_exact(self, name: str) -> list[T]:
        """The value of the pattern that is `name` itself, if there is one."""
        value = self._exact.get(name)
        if value is None and self._packed is not None:
            value = self._packed.get(b"e" + name.encode("ascii"))
        return [] if value is None else [value]

    def covers(self, name: str) -> bool:
        """Whether any pattern covers `name`."""
        return bool(self.find(name))

    def take_down(self) -> Iterator[None]:
        """Empty it, a slice before each yield: freeing a million entries at once takes long."""
        packed, self._packed = self._packed, None
        if packed is not None:
            yield from packed.take_down()
        for table in self._tables.values():
            yield from take_down(table)
