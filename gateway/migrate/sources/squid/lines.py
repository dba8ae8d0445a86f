"""squid.conf as lines of words: comments, quotes, and lines that end in a backslash.

As squid reads them: lines end with a line feed, whatever else Unicode takes for an end; a comment or an empty line is
skipped before anything else, so it neither continues a line nor ends one that is continued; and nothing stands between
the parts of a continued line but the blanks before its backslash.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from gateway.migrate.findings import Unreadable

MAX_CHARACTERS = 16 << 20
DEEPEST = 16
"""Includes inside of includes, as in squid."""
_BLANKS = " \t\r\n\v\f"
_WORD = re.compile(r"""(["'])((?:(?!\1)[^\\]|\\.)*)\1|parameters\("[^"]*"\)|[^ \t\r\n]+""")
_COMMENT = re.compile(r"(?:^|[ \t])#.*")
"""In the file of a list."""
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
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.partition("\r")[0].lstrip(_BLANKS)
        if not line or line.startswith("#"):
            continue
        begun = begun or number
        joined += line.removesuffix("\\")
        if not line.endswith("\\"):
            yield from _line(f"{file}:{begun}", joined)
            begun, joined = 0, ""
    yield from _line(f"{file}:{begun}", joined)  # the last one may be continued, into nothing


def _line(place: str, text: str) -> Iterator[Line]:
    """The line, if it has a word."""
    words: list[str] = []
    quoted: set[int] = set()
    for found in _WORD.finditer(text):
        if found[0].startswith("#"):
            break
        if found[1] is not None:
            quoted.add(len(words))
        words.append(found[0] if found[1] is None else found[2])
    if words:
        yield Line(place, tuple(words), frozenset(quoted))


def entries(line: Line, first: int, list_file: ListFile) -> Iterator[tuple[str, str]]:
    """The values of a list from a word on, with their places; a quoted one is a file with an entry a line."""
    for index, word in enumerate(line.words[first:], first):
        if index not in line.quoted:
            yield line.place, word
            continue
        for number, entry in enumerate(list_file(word).split("\n"), 1):
            value = _COMMENT.sub("", entry).strip(_BLANKS)
            if value:
                yield f"{word}:{number}", value
        break


def behind_file(line: Line) -> Sequence[str]:
    """Words that squid does not read: those behind a file."""
    return line.words[min(line.quoted, default=len(line.words)) + 1 :]
