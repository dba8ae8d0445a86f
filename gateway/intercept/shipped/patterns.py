"""Patterns of API keys.

Every form begins with one of a few fixed texts, so that content without them is cheap to search, and an incomplete key
is recognised by its beginning. Expressions are RE2's: time is linear in what is searched, whatever the expression and
the content.
"""

from collections.abc import Sequence
from typing import NamedTuple

import re2

LONGEST = 4096
"""The longest match, in bytes, that is found wherever content is split."""


class BadPattern(Exception):
    """What is wrong with an expression."""


class Pattern(NamedTuple):
    """One form of key. Every match begins with one of `starts`, with anything if there are none. `whole` finds a match;
    `partial` finds what may become one at the end of a text, None: any start may. No match exceeds `longest` bytes."""

    name: str
    starts: tuple[bytes, ...]
    whole: "re2._Regexp"
    partial: "re2._Regexp | None"
    longest: int

    def is_in(self, text: bytes) -> bool:
        """Whether there is one."""
        return self._may_start_in(text) and self.whole.search(text) is not None

    def held_back(self, text: bytes) -> int:
        """How many bytes at the end of `text` may belong to a match that is not complete: none before its start is."""
        tail = text[-(self.longest - 1) :]
        if not self._may_start_in(tail):
            return 0
        if self.partial is not None:
            found = self.partial.search(tail)
            return 0 if found is None else len(tail) - int(found.start())
        first = min((place for start in self.starts if (place := tail.find(start)) >= 0), default=0)
        return len(tail) - first

    def _may_start_in(self, text: bytes) -> bool:
        return not self.starts or any(start in text for start in self.starts)


def own_pattern(name: str, expression: str, starts: Sequence[str], longest: int) -> Pattern:
    """One that gateway.yaml declares. Raises `BadPattern`."""
    whole = _compile(expression)
    if whole.search(b"") is not None:
        raise BadPattern("it matches the empty text")
    return Pattern(name, tuple(start.encode() for start in starts), whole, None, longest)


def _built_in(name: str, starts: Sequence[str], rest: str, begun: str, longest: int, before: str = "") -> Pattern:
    """`rest` follows a start, `begun` is any beginning of `rest`; `before` must precede the start."""
    start = f"{before}(?:{'|'.join(starts)})"
    whole, partial = _compile(start + rest), _compile(f"{start}{begun}\\z")
    return Pattern(name, tuple(each.encode() for each in starts), whole, partial, longest)


def _compile(expression: str) -> "re2._Regexp":
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    options.never_capture = True
    try:
        return re2.compile(expression.encode("utf-8"), options)
    except re2.error as refusal:
        said = refusal.args[0] if refusal.args else ""
        raise BadPattern(said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)) from refusal


_WORD_BEFORE = "(?:^|[^0-9A-Za-z])"

BUILT_IN = {
    pattern.name: pattern
    for pattern in (
        _built_in("aws-access-key", ("AKIA", "ASIA"), "[0-9A-Z]{16}", "[0-9A-Z]{0,15}", 32, _WORD_BEFORE),
        _built_in(
            "github-token",
            ("ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
            "[0-9A-Za-z]{36}",
            "[0-9A-Za-z]{0,35}",
            48,
        ),
        _built_in("github-fine-grained-token", ("github_pat_",), r"\w{82}", r"\w{0,81}", 128),
        _built_in("gitlab-token", ("glpat-",), r"[\w-]{20}", r"[\w-]{0,19}", 48),
        _built_in("google-api-key", ("AIza",), r"[\w-]{35}", r"[\w-]{0,34}", 48),
        _built_in(
            "jwt",
            ("eyJ",),
            r"[\w-]{8,}\.eyJ[\w-]{8}",
            r"[\w-]*(?:\.(?:e(?:y(?:J[\w-]{0,7})?)?)?)?",
            LONGEST,
        ),
        _built_in("npm-token", ("npm_",), "[0-9A-Za-z]{36}", "[0-9A-Za-z]{0,35}", 48),
        _built_in("private-key", ("-----BEGIN ",), "[0-9A-Z ]{0,40}PRIVATE KEY", "[0-9A-Z ]{0,50}", 80),
        _built_in(
            "slack-token",
            ("xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-", "xapp-"),
            "[0-9A-Za-z-]{10}",
            "[0-9A-Za-z-]{0,9}",
            64,
        ),
        _built_in("stripe-key", ("sk_live_", "rk_live_"), "[0-9A-Za-z]{16}", "[0-9A-Za-z]{0,15}", 48),
    )
}
