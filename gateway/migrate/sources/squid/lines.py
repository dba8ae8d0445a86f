"""squid.conf as lines of words: comments, quotes, and lines that end in a backslash."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from gateway.migrate.findings import Unreadable

MAX_CHARACTERS = 16 << 20
DEEPEST = 16
"""Includes inside of includes, as in squid."""
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(parameters\("[^"]*"\)|\S+)')
_PARAMETERS = re.compile(r'parameters\("([^"]*)"\)')
_QUOTING = "configuration_includes_quoted_values"

ListFile = Callable[[str], str]
"""The text of a file that a list names by its path. Raises `Unreadable`."""
Find = Callable[[str], Sequence[str]]
"""The files that a pattern of `include` names, in order."""


@dataclass(frozen=True, slots=True)
class Line:
    """A directive and its words. Of `quoted` words squid reads the file."""

    place: str
    words: tuple[str, ...]
    quoted: frozenset[int]


def read_with_included(text: str, file: str, list_file: ListFile, find: Find, depth: int = 0) -> Iterator[Line]:
    """The lines of a file, and in the place of an `include` those of the files that it names; one that names no file
    stays. Raises `Unreadable`."""
    for line in read_lines(text, file):
        found = [path for word in line.words[1:] for path in find(word)] if line.words[0] == "include" else []
        if not found:
            yield line
        elif depth == DEEPEST:
            raise Unreadable(f"{line.place}: includes are nested more than {DEEPEST} deep")
        for path in found:
            yield from read_with_included(list_file(path), path, list_file, find, depth + 1)


def with_quoting(lines: Iterable[Line]) -> Iterator[Line]:
    """The same lines. Behind one that turns quoted values on, quoted words are no files, but `parameters("...")` is."""
    on = False
    for line in lines:
        if line.words[0] == _QUOTING:
            on = line.words[1:] == ("on",)
        yield _of_parameters(line) if on else line


def _of_parameters(line: Line) -> Line:
    found = [_PARAMETERS.fullmatch(word) for word in line.words]
    words = (word if match is None else match[1] for word, match in zip(line.words, found, strict=True))
    return Line(line.place, tuple(words), frozenset(index for index, match in enumerate(found) if match is not None))


def read_lines(text: str, file: str) -> Iterator[Line]:
    """Those that are not empty. Raises `Unreadable`."""
    if len(text) > MAX_CHARACTERS:
        raise Unreadable(f"{file}: is larger than {MAX_CHARACTERS >> 20} MiB")
    begun, joined = 0, ""
    for number, line in enumerate((*text.splitlines(), ""), 1):  # the last one may be continued, into nothing
        begun = begun or number
        if line.endswith("\\"):
            joined += line[:-1] + " "
            continue
        made = _line(f"{file}:{begun}", joined + line)
        if made.words:
            yield made
        begun, joined = 0, ""


def _line(place: str, text: str) -> Line:
    words: list[str] = []
    quoted: set[int] = set()
    for found in _WORD.finditer(text):
        if found[2] is not None and found[2].startswith("#"):
            break
        if found[1] is not None:
            quoted.add(len(words))
        words.append(found[1] if found[1] is not None else found[2])
    return Line(place, tuple(words), frozenset(quoted))


def entries(line: Line, first: int, list_file: ListFile) -> Iterator[tuple[str, str]]:
    """The values of a list from a word on, with their places; a quoted one is a file with an entry a line."""
    for index, word in enumerate(line.words[first:], first):
        if index not in line.quoted:
            yield line.place, word
            continue
        for number, entry in enumerate(list_file(word).splitlines(), 1):
            value = entry.partition("#")[0].strip()
            if value:
                yield f"{word}:{number}", value
