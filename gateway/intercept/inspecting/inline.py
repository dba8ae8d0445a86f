"""Inspectors that run in the gateway's own process. Only the shipped ones do: what a call costs is bounded by the size
of what it is shown, and none of them blocks."""

import logging
from collections.abc import Callable
from typing import Any

from gateway.intercept.inspecting.sessions import Answered, Failed, describe_bug, methods_of
from gateway.intercept.inspectors import Inspector

_logger = logging.getLogger(__name__)


class InlineKind:
    """Opens sessions with inspectors of one declaration."""

    def __init__(self, make: Callable[[], Inspector]) -> None:
        self._make = make
        self.methods = methods_of(make())

    def open(self) -> "InlineSession":
        """A session for one exchange."""
        return InlineSession(self._make(), self.methods)

    def start(self) -> None:
        """There is nothing to start."""

    def retire(self) -> None:
        """No exchange begins with it any more."""


class InlineSession:
    """Fulfils `sessions.Session`."""

    __slots__ = ("_inspector", "methods")

    def __init__(self, inspector: Inspector, methods: frozenset[str]) -> None:
        self._inspector = inspector
        self.methods = methods

    def ask(self, method: str, shown: Any, answered: Answered) -> None:
        """See `Session`."""
        try:
            call = getattr(self._inspector, method)
            answer = call() if shown is None else call(shown)
        except Exception as bug:  # noqa: BLE001  # whatever it raises denies
            _logger.warning("an inspector %s", describe_bug(bug))
            answered(Failed(describe_bug(bug)))
            return
        answered(answer)

    def close(self) -> None:
        """See `Session`."""
