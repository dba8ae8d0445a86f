"""A secret value that cannot be leaked by accident: not in a log, a traceback, a pickle or a comparison that tells
timings."""

from typing import NoReturn

SHOWN = "Secret(...)"


class Secret:
    """A credential. Only `reveal` gives it away, so that a search for that word finds every place that does.

    `scrub`: an answer that echoes it is masked.
    """

    __slots__ = ("_value", "scrub")

    def __init__(self, value: str, scrub: bool = False) -> None:
        self._value = value
        self.scrub = scrub

    def reveal(self) -> str:
        """The value itself, on its way to the destination."""
        return self._value

    def __repr__(self) -> str:
        return SHOWN

    def __format__(self, spec: str) -> str:
        return format(SHOWN, spec)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret is neither copied nor pickled")
