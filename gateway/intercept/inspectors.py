"""The interface for those who write inspectors. docs/inspectors.md explains it with an example.

A distribution offers a kind of inspector as an entry point of the group `egress_gateway.inspectors`; it names a
`Build`. gateway.yaml declares an inspector of that kind with its options, and rules name it. The gateway runs it in a
process of its own: it never holds up anything else, and what it does there affects only exchanges that wait for it.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from gateway.model.inspection.watching import RequestHead as RequestHead
from gateway.model.inspection.watching import ResponseHead as ResponseHead

ENTRY_POINTS = "egress_gateway.inspectors"


class Answer(NamedTuple):
    """What an inspector says to what it was shown. `denial`: why the exchange may not go on, None if it may.

    `notes` go into the exchange's record and span; what is beyond 16 of an exchange, 32 characters of a key or 128 of a
    value is cut. `hold`: the last so many bytes of this direction's content, of what was shown until now, may not go on
    before the next answer. `done`: nothing more of this direction need be shown.
    """

    denial: str | None = None
    notes: tuple[tuple[str, str], ...] = ()
    hold: int = 0
    done: bool = False


ALLOW = Answer()
"""It may go on."""
DONE = Answer(done=True)
"""It may go on, with all that follows in this direction."""


def deny(detail: str) -> Answer:
    """It may not. `detail` is for the operator: the client does not learn it."""
    return Answer(denial=detail)


def annotate(key: str, value: str) -> Answer:
    """It may go on, and its record says this."""
    return Answer(notes=((key, value),))


def hold(size: int) -> Answer:
    """It may go on except for the last `size` bytes: what follows will decide."""
    return Answer(hold=size)


class Inspector:
    """Inspects one exchange. Methods are called in the order in which they stand here, `*_chunk` any number of times.

    A method that is not overridden is not called, and content is decoded only for inspectors that read it. Content is
    shown without its content coding. Whatever a method raises, and a method that takes longer than the inspector's
    `timeout`, denies the exchange, unless gateway.yaml says `on_error: allow`.
    """

    def request_head(self, head: RequestHead) -> Answer:
        """Before anything is looked up or dialled."""
        return ALLOW

    def request_chunk(self, data: bytes) -> Answer:
        """The next piece of the request's content, of any size; its boundaries mean nothing."""
        return ALLOW

    def request_end(self) -> Answer:
        """All of it was shown. Until this is answered the destination does not see an end."""
        return ALLOW

    def response_head(self, head: ResponseHead) -> Answer:
        """Before anything is sent to the client."""
        return ALLOW

    def response_chunk(self, data: bytes) -> Answer:
        """The next piece of the response's content."""
        return ALLOW

    def response_end(self) -> Answer:
        """All of it was shown."""
        return ALLOW


Build = Callable[[Mapping[str, Any]], Callable[[], Inspector]]
"""Takes the `options` of gateway.yaml, once, and gives what makes an inspector for each exchange. Raises ValueError for
options that it cannot take: its text is shown to whoever wrote them."""


def overrides(kind: type[Inspector], method: str) -> bool:
    """Whether this class overrides the method."""
    return getattr(kind, method) is not getattr(Inspector, method)
