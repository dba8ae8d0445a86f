"""Remarks of an import, each with its place in the source."""

from dataclasses import dataclass, field
from enum import StrEnum


class Effect(StrEnum):
    """What it means for the policy that something of the source is missing in it."""

    NOTE = "note"  # nothing is lost: what was understood, or what has its place elsewhere
    LEFT_OUT = "left out"  # what the source allows or does there is refused or not done here
    WIDER = "wider"  # what the source refuses there would pass here


@dataclass(frozen=True, slots=True)
class Remark:
    """One line for people. `place` is `FILE:LINE` or a file."""

    place: str
    effect: Effect
    text: str


class Unreadable(Exception):
    """The source cannot be read at all; the text is `FILE:LINE: message`."""


_TOLD = 200


def _first(lines: list[str]) -> list[str]:
    return lines if len(lines) <= _TOLD else [*lines[:_TOLD], f"and {len(lines) - _TOLD} more"]


@dataclass(slots=True)
class Findings:
    """Collects remarks, each once. `wildcards` say what became of every pattern with a star or a dot in front."""

    _told: dict[Remark, None] = field(default_factory=dict)
    wildcards: dict[str, str] = field(default_factory=dict)

    def note(self, place: str, text: str) -> None:
        """Nothing is lost."""
        self._add(Remark(place, Effect.NOTE, text))

    def left_out(self, place: str, text: str, denies: bool = False) -> None:
        """A statement that could not be carried over: an allow, or one that `denies`."""
        self._add(Remark(place, Effect.WIDER if denies else Effect.LEFT_OUT, text))

    def lines(self, effect: Effect) -> list[str]:
        """The remarks of one kind as lines, of very many the first."""
        return _first([f"{remark.place}: {remark.text}" for remark in self.having(effect)])

    def wildcard_lines(self) -> list[str]:
        """What wildcards became, likewise."""
        return _first([f"{written}: {meant}" for written, meant in self.wildcards.items()])

    def having(self, effect: Effect) -> list[Remark]:
        """The remarks of one kind."""
        return [remark for remark in self._told if remark.effect is effect]

    def _add(self, remark: Remark) -> None:
        self._told.setdefault(remark, None)
