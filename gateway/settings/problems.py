"""Problems of the configuration, one line each: `FILE:LINE: path: message`. A user gets all of them at once."""

import json
from collections.abc import Iterable
from difflib import get_close_matches

from gateway.model.errors import ConfigError

_SHOWN_CHARACTERS = 60


class ConfigErrors(Exception):
    """Everything that is wrong, in the order of the files. `str` gives one line per problem."""

    def __init__(self, problems: Iterable[ConfigError]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class BadValue(ValueError):
    """A value is invalid; the text says why. A caller that knows its place turns it into a problem."""


class Problems:
    """Collects problems, so that a user gets all of them at once."""

    def __init__(self) -> None:
        self.found: list[ConfigError] = []

    def add(self, place: str, message: str) -> None:
        """A problem at a place such as `FILE:LINE: path`."""
        self.found.append(ConfigError(place, message))

    def extend(self, errors: ConfigErrors) -> None:
        """Add what another part of the load found."""
        self.found += errors.problems

    def raise_if_any(self) -> None:
        """Raise `ConfigErrors` with what has been found so far."""
        if self.found:
            raise ConfigErrors(self.found)


def show_value(value: object) -> str:
    """A value for a message: text in quotes and shortened, containers only by their kind."""
    match value:
        case None:
            return "null"
        case dict():
            return "a mapping"
        case list():
            return "a list"
    shown = json.dumps(value, ensure_ascii=False, default=str)
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}..."


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`, did you mean 'x'?` or nothing."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f", did you mean {close[0]!r}?" if close else ""
