"""What an import has to tell beside the policy, each with the place that it speaks of."""

from dataclasses import dataclass, field
from enum import StrEnum


class Effect(StrEnum):
    """What it means for the policy that something of the source is not in it."""

    NOTE = "note"  # nothing is lost: what was understood, or what has its place elsewhere
    LEFT_OUT = "left out"  # what the source allows or does there is refused or not done here
    WIDER = "wider"  # what the source refuses there would pass here


@dataclass(frozen=True, slots=True)
class Remark:
    """One line for people. `place` is `FILE:LINE` or a file."""

    place: str
    effect: Effect
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.effect}: {self.text}"


class Unreadable(Exception):
    """The source cannot be read at all; the text is `FILE:LINE: message`."""


@dataclass(slots=True)
class Findings:
    """Collects remarks, each once. `wildcards` say what became of every pattern with a star or a dot in front."""

    remarks: list[Remark] = field(default_factory=list)
    wildcards: dict[str, str] = field(default_factory=dict)

    def note(self, place: str, text: str) -> None:
        """Nothing is lost."""
        self._add(Remark(place, Effect.NOTE, text))

    def left_out(self, place: str, text: str, denies: bool = False) -> None:
        """A statement that could not be carried over: an allow, or one that `denies`."""
        self._add(Remark(place, Effect.WIDER if denies else Effect.LEFT_OUT, text))

    def having(self, effect: Effect) -> list[Remark]:
        """The remarks of one kind."""
        return [remark for remark in self.remarks if remark.effect is effect]

    def _add(self, remark: Remark) -> None:
        if remark not in self.remarks:
            self.remarks.append(remark)
