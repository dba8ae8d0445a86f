"""The seam between an exchange, of whatever version of HTTP, and the inspectors that its rule names.

What an exchange does with it, one exchange or one stream of a connection that carries many:

    watch = watchers.watch(inspection.inspectors, ring, report)   # None: no inspector, nothing below happens
    await watch.judge_request(head)           # before anything is dialled; then look at `objection`
    watch.up.feed(content) ...finish()        # content as it was sent, without framing, codings as they are
    watch.up.open_to(sink)                    # what may go on is passed to the sink, in order, at once or later
    await watch.judge_response(head)          # before the client is told anything
    watch.down.feed ... finish, open_to       # likewise, towards the client
    watch.close()                             # whatever ended the exchange

`ring` is called when `objection` is set, and when a gate releases something later than it was fed: whoever waits looks
again. With an objection nothing more comes out of either gate: the request must not be completed at the destination
(cut, or reset), and the client is refused (403) or, if its answer has begun, cut off. An exchange that feeds a gate
stops reading its peer while the gate `is_full`, and goes on when the ring makes it look again.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple
from typing import Protocol as Role

from gateway.model.inspection.terms import NotAllowed, comparable_name

FULL = 64 * 1024
"""Bytes: the feeder of a gate that holds more waits for the inspectors' answers."""

Fields = tuple[tuple[str, str], ...]


class RequestHead(NamedTuple):
    """What is asked. `host` is as it is compared, without a port; `path` has its query, as it was sent. `fields` are
    the client's that are forwarded, names as it spelled them, and Content-Length where the length is known; nothing
    that the gateway adds."""

    method: str
    scheme: str
    host: str
    port: int
    path: str
    fields: Fields

    def values(self, name: str) -> list[str]:
        """The values of the header `name` (lower case, with hyphens) in every spelling: see `comparable_name`."""
        return [value for each, value in self.fields if comparable_name(each) == name]


class ResponseHead(NamedTuple):
    """What is answered, by the final response. `fields` are those that are forwarded, and Content-Length as above."""

    status: int
    fields: Fields

    def values(self, name: str) -> list[str]:
        """The values of the header `name` (lower case)."""
        return [value for each, value in self.fields if each.lower() == name]


class Said(NamedTuple):
    """What inspectors have recorded of one exchange, by `inspector.key`, and the names of those that failed. Both grow
    while the exchange lasts."""

    notes: Mapping[str, str]
    failures: Sequence[str]


class Sink(Role):
    """Takes what a gate releases."""

    def passed(self, data: bytes) -> None:
        """The next piece of the content."""
        ...

    def ended(self) -> None:
        """The content is complete, and all of it was passed."""
        ...


class Gate(Role):
    """One direction's content on its way past the inspectors."""

    @property
    def waiting(self) -> int:
        """How many bytes were fed and not released."""
        ...

    @property
    def is_full(self) -> bool:
        """Whether more than `FULL` waits for answers. Not while all is answered: then it waits for more content."""
        ...

    @property
    def has_ended(self) -> bool:
        """Whether all was released, the end included."""
        ...

    def feed(self, data: bytes) -> None:
        """The next piece, as it was sent."""
        ...

    def finish(self) -> None:
        """No piece follows."""
        ...

    def open_to(self, sink: Sink) -> None:
        """Release content into this sink. What may go already is passed now."""
        ...


class Watch(Role):
    """The inspectors of one exchange. `said` is for its draft."""

    objection: NotAllowed | None
    said: Said

    @property
    def is_looking(self) -> bool:
        """Whether an inspector has content to answer for, which takes a bounded time."""
        ...

    @property
    def up(self) -> Gate:
        """The request's content."""
        ...

    @property
    def down(self) -> Gate:
        """The response's content."""
        ...

    def judge_upgrade(self) -> None:
        """The exchange asks to become a tunnel (a WebSocket), of which inspectors see nothing: an objection if any of
        them reads content and does not let pass what it cannot read. After `judge_request`."""
        ...

    async def judge_request(self, head: RequestHead, has_content: bool = True) -> None:
        """Once, before content is fed to `up`. Without content, no coding that the head names can hide any."""
        ...

    async def judge_response(self, head: ResponseHead, has_content: bool = True) -> None:
        """Once, before content is fed to `down`. Likewise: the answer to a HEAD names a coding."""
        ...

    def close(self) -> None:
        """Nothing is looked at any more; idempotent."""
        ...


class Watchers(Role):
    """All inspectors that gateway.yaml declares at the time."""

    def watch(self, names: Sequence[str], ring: Callable[[], None], report: bool) -> Watch:
        """Those of these names, for one exchange. `report`: an objection is only remembered, and everything passes. A
        name that is not declared any more objects to everything."""
        ...
