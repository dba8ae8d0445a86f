"""Host patterns by name: as many look-ups as the name has labels, however many patterns there are.

What covers a name is found from the most specific pattern to the least: the name itself, then ever shorter suffixes
(where a suffix stands in two patterns, one label deep before any depth), then `*`.
"""

from collections.abc import Mapping
from typing import Generic, TypeVar

from gateway.policy.rules import HostPattern, Reach

T = TypeVar("T")


class HostTable(Generic[T]):
    """An immutable map from host patterns to values; no value may be None."""

    __slots__ = ("_any", "_below", "_child", "_exact")

    def __init__(self, entries: Mapping[HostPattern, T]) -> None:
        tables: dict[Reach, dict[str, T]] = {reach: {} for reach in Reach}
        for pattern, value in entries.items():
            tables[pattern.reach][pattern.name] = value
        self._exact = tables[Reach.EXACT]
        self._child = tables[Reach.CHILD]
        self._below = tables[Reach.BELOW]
        self._any = tuple(tables[Reach.ANY].values())

    def find(self, name: str) -> list[T]:
        """The values of all patterns that cover `name`, the most specific first."""
        found = self.find_exact(name)
        parent = name.partition(".")[2]
        if self._child and (value := self._child.get(parent)) is not None:
            found.append(value)
        below = self._below
        while below and parent:
            if (value := below.get(parent)) is not None:
                found.append(value)
            parent = parent.partition(".")[2]
        found.extend(self._any)
        return found

    def find_exact(self, name: str) -> list[T]:
        """The value of the pattern that is `name` itself, if there is one."""
        value = self._exact.get(name)
        return [] if value is None else [value]

    def covers(self, name: str) -> bool:
        """Whether any pattern covers `name`."""
        return bool(self.find(name))
