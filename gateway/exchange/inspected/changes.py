"""What a rule changes in a request's header, secrets included."""

from collections.abc import Iterable
from typing import NamedTuple

from gateway.model.inspection.terms import comparable_name
from gateway.wire.http.messages import Fields

_HIDES_ECHOES = frozenset({"accept-encoding", "range", "if-range"})
_SHOWS_ECHOES = ("Accept-Encoding", "identity")


class Changes(NamedTuple):
    """`dropped` are names in `comparable_name` form: whatever the client says under them does not go on, in the head
    or behind the content. `added` are then said by us."""

    dropped: frozenset[str] = frozenset()
    added: Fields = ()

    def apply(self, fields: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """The fields that go on."""
        return [*[field for field in fields if comparable_name(field[0]) not in self.dropped], *self.added]

    def showing_echoes(self) -> "Changes":
        """The same, and the answer comes whole and as it is, so that it can be searched."""
        added = tuple([field for field in self.added if comparable_name(field[0]) not in _HIDES_ECHOES])
        return Changes(self.dropped | _HIDES_ECHOES, (*added, _SHOWS_ECHOES))
