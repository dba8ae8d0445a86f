"""Dictionaries that grow without a pause.

A large one is copied as a whole when it grows: at 87,000 names that takes 4 ms, mostly for a thousand pages of fresh
memory, and longer each time. So a table that gets large is divided into many, by the hash of the key.
"""

from collections.abc import Hashable, Iterator
from typing import Generic, TypeGuard, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

WHOLE = 2000
"""Entries of a dictionary beyond which it is divided."""
PARTS = 64
SLICE = 250
"""Entries of a container that are freed at once."""


class Divided(Generic[K, T]):
    """Stands in for a dictionary. It is always true: it is never empty until it is taken down."""

    __slots__ = ("_parts",)

    def __init__(self, entries: dict[K, T]) -> None:
        self._parts: list[dict[K, T]] = [{} for _ in range(PARTS)]
        for key, value in entries.items():
            self[key] = value

    def __setitem__(self, key: K, value: T) -> None:
        self._parts[hash(key) % PARTS][key] = value

    def get(self, key: K) -> T | None:
        """As `dict.get`."""
        return self._parts[hash(key) % PARTS].get(key)

    def take_down(self) -> Iterator[None]:
        """Empty it, a slice before each yield."""
        for part in self._parts:
            yield from take_down(part)


Entries = dict[K, T] | Divided[K, T]


def is_full(entries: Entries[K, T]) -> TypeGuard[dict[K, T]]:
    """Whether it is to be divided before another one is added."""
    return isinstance(entries, dict) and len(entries) >= WHOLE


def take_down(entries: Entries[K, T]) -> Iterator[None]:
    """Empty it, `SLICE` entries before each yield."""
    if isinstance(entries, Divided):
        yield from entries.take_down()
        return
    while entries:
        for _ in range(min(SLICE, len(entries))):
            entries.popitem()
        yield
