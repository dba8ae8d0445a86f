"""Finds keys in what is sent. It reports which form it found, never the key."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.intercept.inspectors import ALLOW, Answer, Inspector, annotate, deny, hold
from gateway.intercept.shipped.patterns import Pattern

_NOT_A_START = b"x"  # stands for what came before: no key begins in the middle of a word


@dataclass(frozen=True, slots=True)
class SecretsOptions:
    """What to look for. `blocks`: it ends the exchange; else the record says what was found."""

    patterns: tuple[Pattern, ...]
    blocks: bool
    reach: int = field(init=False)
    starts: tuple[bytes, ...] = field(init=False)

    def __post_init__(self) -> None:
        """`starts`: what has none of them has no key; empty where a pattern may start with anything."""
        anything = any(not pattern.starts for pattern in self.patterns)
        starts = () if anything else tuple(start for pattern in self.patterns for start in pattern.starts)
        object.__setattr__(self, "starts", starts)
        object.__setattr__(self, "reach", max((pattern.longest for pattern in self.patterns), default=1) - 1)

    def make(self) -> "Secrets":
        """An inspector for one exchange."""
        return Secrets(self)


class Secrets(Inspector):
    """Searches each piece together with the end of what came before it, as far back as the longest key reaches, and
    holds back what may be the beginning of one."""

    __slots__ = ("_before", "_found", "_is_cut", "_options", "_patterns")

    def __init__(self, options: SecretsOptions) -> None:
        self._options = options
        self._patterns: Sequence[Pattern] = options.patterns
        self._before = b""
        self._is_cut = False
        self._found: list[str] = []

    def request_chunk(self, data: bytes) -> Answer:
        """See `Inspector`."""
        text, was_cut, reach = self._before + data, self._is_cut, self._options.reach
        self._is_cut = was_cut or len(text) > reach
        self._before = text[-reach:]
        starts = self._options.starts
        if starts and not [start for start in starts if start in text]:
            return ALLOW
        return self._search(text, _NOT_A_START + text if was_cut else text)

    def _search(self, text: bytes, searched: bytes) -> Answer:
        found = [pattern for pattern in self._patterns if pattern.is_in(searched)]
        if found and self._options.blocks:
            return deny(f"{found[0].name} in the request's content")
        if found:
            return self._report(found)
        held = max([pattern.held_back(text) for pattern in self._patterns], default=0) if self._options.blocks else 0
        return hold(held) if held else ALLOW

    def _report(self, found: Sequence[Pattern]) -> Answer:
        """Each form once."""
        self._patterns = [pattern for pattern in self._patterns if pattern not in found]
        self._found += [pattern.name for pattern in found]
        return annotate("found", ", ".join(self._found))
