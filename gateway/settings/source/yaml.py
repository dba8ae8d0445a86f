"""Strict YAML 1.2 from pyyaml's events: plain scalars are resolved by the core schema.

Only one document, text keys, no duplicate keys, no anchors, aliases or tags; size and depth are bounded. pyyaml's own
constructors are not used, as they follow YAML 1.1 (`yes`, `0o17` as 017, `1:30`, dates).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from gateway.settings.problems import Problems
from gateway.settings.source.places import Document, KeyPath, MarkedList, MarkedMapping, show_path

MAX_CHARACTERS = 64 << 20
MAX_DEPTH = 16

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# YAML 1.2.2 section 10.3.2. Every plain scalar that is not text begins with one of these.
_NOT_TEXT_STARTS = frozenset("-+.0123456789tTfFnN~")
_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_NUMBER_CHARACTERS = 40
_INTEGER = re.compile(r"[-+]?[0-9]+", re.ASCII)
_PREFIXED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
# What no YAML may hold, since the parser tells no line of it; and what is a line break in YAML 1.1, and so for the
# parser, but not in 1.2 or in any editor: text could hide behind a comment.
_FOREIGN = re.compile("[^\t\n\r -~\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_COMPARE = "compare the indentation with the lines above"
_CURES = {
    "mapping values are not allowed in this context": f"{_COMPARE}, and put text with a colon in quotes",
    "did not find expected key": _COMPARE,
    "did not find expected '-' indicator": _COMPARE,
    "could not find expected ':'": "after a key come a colon and a blank",
}
"""What to do about mistakes of which libyaml's words only say where it noticed."""

Scalar = str | int | float | bool | None


class _Stop(Exception):
    """Reading ends at this event; its problem is noted."""


def parse_yaml(text: str, file: str) -> Document:
    """The document in `text`; an empty one is an empty mapping. Raises `ConfigErrors` with all problems found."""
    problems = Problems()
    composer = _Composer(file, problems)
    try:
        _look_over(text, file, problems)
        composer.compose(_events(text))
    except yaml.YAMLError as refusal:
        problems.add(f"{file}:{_line_of(refusal)}", f"not valid YAML: {_words_of(refusal)}")
    except _Stop:
        pass
    problems.raise_if_any()
    if composer.root is not None and composer.root is not composer.document.data:
        problems.add(f"{file}:1", "must be a mapping of keys to values")
        problems.raise_if_any()
    return composer.document


def resolve_scalar(text: str) -> Scalar:
    """The value of a plain scalar in the core schema. `yes`, `010` as octal, `1:30` and `2027-01-31` are text."""
    if len(text) > _NUMBER_CHARACTERS or (text and text[0] not in _NOT_TEXT_STARTS):
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _PREFIXED.fullmatch(text):
        return int(text, 0)
    return float(text) if _FLOAT.fullmatch(text) else text


@dataclass(slots=True)
class _OpenMapping:
    """A mapping that is being filled; `key` waits for its value."""

    container: MarkedMapping
    key: str | None = None

    def add(self, value: object, _line: int) -> None:
        if self.key is not None:
            self.container[self.key] = value
            self.key = None

    def position(self) -> str | int | None:
        return self.key


@dataclass(slots=True)
class _OpenList:
    """A list that is being filled."""

    container: MarkedList

    def add(self, value: object, line: int) -> None:
        self.container.append(value)
        self.container.lines.append(line)

    def position(self) -> str | int | None:
        return len(self.container)


class _Composer:
    """Builds marked containers from events; the next value goes to the top of the stack."""

    def __init__(self, file: str, problems: Problems) -> None:
        self.root: object = None
        self.document = Document(file, MarkedMapping(1))
        self._problems = problems
        self._stack: list[_OpenMapping | _OpenList] = []

    def compose(self, events: Iterator[Any]) -> None:
        """Consume all events of the one document."""
        documents = 0
        for event in events:
            kind = type(event)
            if kind is yaml.ScalarEvent:
                self._scalar(event)
            elif kind is yaml.MappingStartEvent:
                self._open(event, _OpenMapping(MarkedMapping(event.start_mark.line + 1)))
            elif kind is yaml.SequenceStartEvent:
                self._open(event, _OpenList(MarkedList(event.start_mark.line + 1)))
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                container = self._stack.pop().container
                self._add(container, container.line)
            elif kind is yaml.AliasEvent:
                self._refuse(event, f"the alias *{event.anchor} is not allowed: write the value out")
                self._add(None, event.start_mark.line + 1)
            elif kind is yaml.DocumentStartEvent:
                documents += 1
                self._start(event, documents)

    def _start(self, event: Any, documents: int) -> None:
        if documents > 1:
            self._stop(event, "a second document begins here: a file holds one")
        if event.tags or event.version not in (None, (1, 2)):
            self._stop(event, "directives other than %YAML 1.2 are not allowed")

    def _scalar(self, event: Any) -> None:
        if event.anchor is not None or event.tag is not None:
            self._refuse_properties(event)
        text = event.value
        plain = event.implicit[0]
        value = resolve_scalar(text) if plain and (not text or text[0] in _NOT_TEXT_STARTS) else text
        opened = self._stack[-1] if self._stack else None
        if type(opened) is _OpenMapping and opened.key is None:
            self._key(event, opened, value)
        else:
            self._add(value, event.start_mark.line + 1)

    def _key(self, event: Any, mapping: _OpenMapping, value: Scalar) -> None:
        text = event.value
        lines = mapping.container.lines
        if text in lines:
            self._refuse(event, f"duplicate key, first on line {lines[text]}", text)
        elif not isinstance(value, str):
            self._refuse(event, f'the key {text} is not text: put it in quotes, "{text}"')
        lines[text] = event.start_mark.line + 1
        mapping.key = text

    def _open(self, event: Any, opened: _OpenMapping | _OpenList) -> None:
        if event.anchor is not None or event.tag is not None:
            self._refuse_properties(event)
        outer = self._stack[-1] if self._stack else None
        if type(outer) is _OpenMapping and outer.key is None:
            self._stop(event, "a key must be text")
        if len(self._stack) == MAX_DEPTH:
            self._stop(event, f"nested deeper than {MAX_DEPTH} levels")
        self._stack.append(opened)

    def _add(self, value: object, line: int) -> None:
        if self._stack:
            self._stack[-1].add(value, line)
            return
        self.root = value
        if isinstance(value, MarkedMapping):
            self.document.data = value

    def _refuse_properties(self, event: Any) -> None:
        if event.anchor is not None:
            self._refuse(event, f"the anchor &{event.anchor} is not allowed: write the value out")
        if event.tag is not None:
            self._refuse(event, f"the tag {event.tag} is not allowed")

    def _refuse(self, event: Any, message: str, *key: str) -> None:
        path = (*self._here(), *key)
        place = f"{self.document.file}:{event.start_mark.line + 1}"
        self._problems.add(f"{place}: {show_path(path)}" if path else place, message)

    def _here(self) -> KeyPath:
        """The path of what is being read, by the open containers' next positions or waiting keys."""
        positions = (opened.position() for opened in self._stack)
        return tuple(position for position in positions if position is not None)

    def _stop(self, event: Any, message: str) -> None:
        self._refuse(event, message)
        raise _Stop


def _events(text: str) -> Iterator[Any]:
    """As `yaml.parse` gives them, but without a Python frame for each."""
    return iter(_Loader(text).get_event, None)


def _look_over(text: str, file: str, problems: Problems) -> None:
    if len(text) > MAX_CHARACTERS:
        problems.add(file, f"larger than {MAX_CHARACTERS >> 20} MiB")
        raise _Stop
    foreign = _FOREIGN.search(text)
    if foreign is not None:
        line = text.count("\n", 0, foreign.start()) + 1
        problems.add(f"{file}:{line}", f"the character U+{ord(foreign.group()):04X} is not allowed")
        raise _Stop


def _line_of(refusal: yaml.YAMLError) -> int:
    mark = getattr(refusal, "problem_mark", None) or getattr(refusal, "context_mark", None)
    return mark.line + 1 if mark is not None else 1


def _words_of(refusal: yaml.YAMLError) -> str:
    context, problem = getattr(refusal, "context", None), getattr(refusal, "problem", None)
    if context == "while scanning an alias":
        return 'text that begins with a star needs quotes, as in "*.example.com"'
    if problem == "found character that cannot start any token":
        return "a tab, or text that begins with @, % or `: indent with spaces, and put such text in quotes"
    began_at = getattr(refusal, "context_mark", None)
    if context and began_at is not None and began_at.line + 1 != _line_of(refusal):
        context = f"{context} that begins on line {began_at.line + 1}"
    words = ", ".join(part for part in (context, problem) if part) or str(refusal).splitlines()[0]
    return f"{words}: {_CURES[problem]}" if problem in _CURES else words
