"""Asking an inspector, wherever it runs. The processes of inspectors import this, so it imports little."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from gateway.intercept.inspectors import Answer, Inspector, overrides

METHODS = (
    "request_head",
    "request_chunk",
    "request_end",
    "response_head",
    "response_chunk",
    "response_end",
)
MAX_NOTES = 16
LONGEST_KEY = 32
LONGEST_VALUE = 128
LONGEST_DENIAL = 200


class Failed(NamedTuple):
    """It raised, was too slow, or its process is gone. `detail` is for the operator."""

    detail: str


Answered = Callable[[Answer | Failed], None]


class Session(Protocol):
    """One inspector's view of one exchange, wherever it runs. `methods` are those that it implements."""

    @property
    def methods(self) -> frozenset[str]: ...

    def ask(self, method: str, shown: object, answered: Answered) -> None:
        """Answered in the order of asking, at once or later, never after `close`."""
        ...

    def close(self) -> None:
        """It is asked no more."""
        ...


def describe_bug(bug: BaseException) -> str:
    """The exception's type and place, without its text, which could hold inspected content."""
    trace = bug.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" in {trace.tb_frame.f_code.co_name}, line {trace.tb_lineno}"
    return f"raised {type(bug).__name__}{place}"


def methods_of(inspector: Inspector) -> frozenset[str]:
    """The methods that it implements."""
    return frozenset(method for method in METHODS if overrides(type(inspector), method))
