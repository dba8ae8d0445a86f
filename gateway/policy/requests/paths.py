"""Paths of requests as origins read them, and patterns that match them segment by segment.

A request is forwarded as it was sent, and origins differ in how they read a path. So a path is matched only where they
cannot differ harmfully. Escapes of unreserved characters are decoded (RFC 3986 section 6.2.2). A path with dot segments
has two readings, with them removed (section 5.2.4) and as they stand: one pattern must match both. Anything else that
origins read in different ways is an `AmbiguousPath`, which no pattern matches.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple
from unicodedata import normalize

STAR, STARS = "*", "**"

_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})?")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_SEPARATING = {*b"/\\?#", *range(0x20), 0x7F}
"""Escaped bytes that separate segments for an origin that decodes before it splits, but not for others."""
_TWICE = re.compile(r"%25[0-9A-Fa-f]{2}")
_DOTS = frozenset({"", ".", ".."})
_COMPATIBLE = frozenset("/\\%;?#")

Segments = tuple[str, ...]


class AmbiguousPath(ValueError):
    """Origins read it differently. The text says why, and quotes nothing."""


class Readings(NamedTuple):
    """The segments after the first slash (a path that ends in a slash ends in an empty one), with dot segments as they
    stand and removed."""

    written: Segments
    removed: Segments


def read_path(path: str) -> Readings:
    """The readings of a path in origin form, without its query. Raises `AmbiguousPath`."""
    if path[:1] != "/":
        raise AmbiguousPath("not a path")
    if "%" in path:
        path = _decode(path)
    if "\\" in path:
        raise AmbiguousPath("a backslash")
    written = tuple(path[1:].split("/"))
    if "" in written[:-1]:
        raise AmbiguousPath("an empty segment")
    if ";" in path or "%3B" in path:
        _check_parameters(written)
    if "/." not in path:
        return Readings(written, written)
    return Readings(written, _without_dots(written))


def _decode(path: str) -> str:
    """Unreserved characters decoded, other escapes in upper case."""
    found: list[int] = []
    decoded = _ESCAPE.sub(lambda match: _decoded(match, found), path)
    if _TWICE.search(decoded):  # the digits may be escaped as well
        raise AmbiguousPath("an escape within an escape")
    if any(byte >= 0x80 for byte in found):
        _check_text(path)
    return decoded


def _decoded(match: re.Match[str], found: list[int]) -> str:
    if match[1] is None:
        raise AmbiguousPath("a percent sign without two hexadecimal digits")
    byte = int(match[1], 16)
    if byte in _SEPARATING:
        raise AmbiguousPath("an escaped separator or control character")
    found.append(byte)
    return chr(byte) if byte in _UNRESERVED else match[0].upper()


def _check_text(path: str) -> None:
    """Non-ASCII text must be UTF-8 in its shortest form, without an ASCII look-alike that separates anything."""
    raw = re.sub(rb"%([0-9A-Fa-f]{2})", lambda match: bytes((int(match[1], 16),)), path.encode("latin-1"))
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise AmbiguousPath("escapes that are no UTF-8") from None
    # One by one: what several combine to is not ASCII, and to order a long run of marks takes the square of its length.
    folded = "".join([each if each.isascii() else normalize("NFKC", each) for each in text])
    if any(folded.count(each) != text.count(each) for each in _COMPATIBLE):
        raise AmbiguousPath("a character that some read as a separator")
    if _dotted(folded) != _dotted(text):
        raise AmbiguousPath("a character that some read as dots")


def _dotted(path: str) -> int:
    return sum(each.partition(";")[0] in (".", "..") for each in path.split("/"))


def _check_parameters(segments: Segments) -> None:
    """Some origins drop `;parameters` from each segment before they look for dots."""
    for segment in segments:
        bare = segment.replace("%3B", ";").partition(";")[0]
        if bare != segment and bare in _DOTS:
            raise AmbiguousPath("parameters behind dots or nothing")


def _without_dots(segments: Segments) -> Segments:
    """RFC 3986 section 5.2.4. What would climb above the root stays at it."""
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return tuple(kept) or ("",)


class PathPattern(NamedTuple):
    """Segments: text; `*` for exactly one that is not empty; `**` for any number or, at the end of a pattern, for at
    least one, which may be empty. (`/a/**` matches whatever begins with `/a/`, but not `/a`.)"""

    segments: Segments


class PathSet:
    """Many patterns as one automaton with a bit for each segment, which reads each segment of a path once: linear in
    the path, whatever the patterns. `accepts` has one bit for each pattern, in their order."""

    __slots__ = ("_accepting", "_any", "_ends", "_literal", "_skippable", "_starts", "_staying", "accepts")

    def __init__(self, patterns: Sequence[PathPattern]) -> None:
        self._literal: dict[str, int] = {}
        self._any = self._ends = self._skippable = self._staying = self._starts = 0
        accepts = []
        at = 0
        for pattern in patterns:
            self._starts |= 1 << at
            last = len(pattern.segments) - 1
            for index, segment in enumerate(pattern.segments):
                self._add(segment, 1 << (at + index), index == last)
            at += last + 1
            accepts.append(1 << at)
            at += 1
        self.accepts = tuple(accepts)
        self._accepting = sum(accepts)
        self._starts = self._skipping(self._starts)

    def _add(self, segment: str, bit: int, is_last: bool) -> None:
        if segment == STAR:
            self._any |= bit
        elif segment != STARS:
            self._literal[segment] = self._literal.get(segment, 0) | bit
        else:
            self._staying |= bit
            if is_last:
                self._ends |= bit
            else:
                self._skippable |= bit

    def _skipping(self, state: int) -> int:
        """`**` before the end may match nothing. Two never follow each other."""
        return state | ((state & self._skippable) << 1)

    def match(self, segments: Segments) -> int:
        """The bits in `accepts` of the patterns that match."""
        state = self._starts
        for segment in segments:
            steps = self._literal.get(segment, 0) | self._ends | (self._any if segment else 0)
            state = self._skipping(((state & steps) << 1) | (state & self._staying))
            if not state:
                return 0
        return state & self._accepting

    def match_all(self, readings: Readings) -> int:
        """The same, of the patterns that match every reading."""
        found = self.match(readings.written)
        if readings.removed is not readings.written:
            found &= self.match(readings.removed)
        return found


def parse_path_pattern(text: str) -> PathPattern:
    """A pattern as written in a file, where equivalent spellings mean the same. Raises ValueError that says what is
    wrong."""
    if text[:1] != "/":
        raise ValueError("begins with a slash")
    if "?" in text or "#" in text:
        raise ValueError("is a path without query: those are not looked at")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("is written in ASCII, everything else in escapes (%C3%A9)")
    readings = read_path(text)
    if readings.removed != readings.written:
        raise ValueError("has no dot segments: say what is left of it")
    kept: list[str] = []
    for segment in readings.written:
        if STAR in segment and segment not in (STAR, STARS):
            raise ValueError("a star stands for whole segments: * for one, ** for any number")
        if segment != STARS or kept[-1:] != [STARS]:
            kept.append(segment)
    return PathPattern(tuple(kept))
