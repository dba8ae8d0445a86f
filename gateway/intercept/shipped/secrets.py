"""Looks for keys in what is sent. It says which form it found, never the key."""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.intercept.inspectors import ALLOW, Answer, Inspector, annotate, deny, hold
from gateway.intercept.shipped.patterns import Pattern

_NOT_A_START = b"x"  # stands for what came before: no key begins in the middle of a word


@dataclass(frozen=True, slots=True)
class SecretsPlan:
    """What to look for. `blocks`: an exchange that has it ends; else its record says so."""

    patterns: tuple[Pattern, ...]
    blocks: bool

    def make(self) -> "Secrets":
        """For one exchange."""
        return Secrets(self.patterns, self.blocks)


class Secrets(Inspector):
    """Searches each piece together with the end of what came before it, as far back as the longest key reaches, and
    holds back what may be the beginning of one."""

    __slots__ = ("_before", "_blocks", "_found", "_is_cut", "_patterns", "_reach")

    def __init__(self, patterns: Sequence[Pattern], blocks: bool) -> None:
        self._patterns = list(patterns)
        self._blocks = blocks
        self._reach = max((pattern.longest for pattern in patterns), default=1) - 1
        self._before = b""
        self._is_cut = False
        self._found: list[str] = []

    def request_chunk(self, data: bytes) -> Answer:
        """See `Inspector`."""
        text = self._before + data
        searched = _NOT_A_START + text if self._is_cut else text
        found = [pattern for pattern in self._patterns if pattern.is_in(searched)]
        if found and self._blocks:
            return deny(f"{found[0].name} in the request's content")
        self._is_cut = self._is_cut or len(text) > self._reach
        self._before = text[-self._reach :]
        if found:
            return self._report(found)
        if not self._blocks:
            return ALLOW
        held = max([pattern.held_back(text) for pattern in self._patterns], default=0)
        return hold(held) if held else ALLOW

    def _report(self, found: Sequence[Pattern]) -> Answer:
        """Each form once."""
        self._patterns = [pattern for pattern in self._patterns if pattern not in found]
        self._found += [pattern.name for pattern in found]
        return annotate("found", ", ".join(self._found))
