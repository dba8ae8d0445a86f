"""Content under a rule that inspects: the upload is counted, the download scrubbed."""

from collections.abc import Collection

from gateway.exchange.inlet import Inlet, Outlet, Sink
from gateway.exchange.inspected.reading import OVERRIDES
from gateway.model.inspection.terms import comparable_name
from gateway.model.inspection.watching import Gate
from gateway.model.inspection.watching import Sink as Passing
from gateway.policy.requests.scrubbing import Scrubber
from gateway.wire.http.messages import End, Fields, Request, Response


class Upload(Outlet):
    """Stops before the piece with which it would exceed `max_body` bytes; the destination then never sees its end.
    Trailers are dropped that have the name of a `dropped` header or of one that overrides the method or path, and all
    of them where `is_watched`, as no inspector is shown any."""

    __slots__ = ("_dropped", "_is_watched", "_max_body", "is_exceeded")

    def __init__(
        self,
        stream: Sink,
        source: Inlet[Request],
        is_chunked: bool,
        max_body: int | None,
        dropped: Collection[str],
        is_watched: bool = False,
    ) -> None:
        super().__init__(stream, source, is_chunked)
        self.is_exceeded = False
        self._max_body = max_body
        self._dropped = dropped
        self._is_watched = is_watched

    def framed(self, data: bytes) -> bytes:
        """See `Outlet`."""
        return b"" if self._exceeds(data) else super().framed(data)

    def write(self, data: bytes) -> None:
        """See `Outlet`."""
        if not self._exceeds(data):
            super().write(data)

    def ending(self, end: End) -> bytes:
        """See `Outlet`."""
        if self.is_exceeded:
            return b""
        if not end.trailers:
            return super().ending(end)
        kept = tuple([each for each in end.trailers if self._may_trail(comparable_name(each[0]))])
        return super().ending(end._replace(trailers=kept))

    def _may_trail(self, name: str) -> bool:
        return not self._is_watched and name not in self._dropped and name not in OVERRIDES

    def finish(self, end: End) -> None:
        """See `Outlet`. The end may arrive together with the excess, and is not sent then."""
        if not self.is_exceeded:
            super().finish(end)

    def _exceeds(self, data: bytes) -> bool:
        if self._max_body is None or (self.size + len(data) <= self._max_body and not self.is_exceeded):
            return False
        if not self.is_exceeded:
            self.is_exceeded = True
            self.source.pause()
            self.source.tell()
        return True


class ScrubbedOutlet(Outlet):
    """Masks the scrubber's values; sizes stay the same."""

    __slots__ = ("_scrubber",)

    def __init__(self, stream: Sink, source: Inlet[Response], is_chunked: bool, scrubber: Scrubber) -> None:
        super().__init__(stream, source, is_chunked)
        self._scrubber = scrubber

    def framed(self, data: bytes) -> bytes:
        """See `Outlet`."""
        return super().framed(self._scrubber.feed(data))

    def write(self, data: bytes) -> None:
        """See `Outlet`."""
        data = self._scrubber.feed(data)
        if data:
            super().write(data)

    def ending(self, end: End) -> bytes:
        """See `Outlet`."""
        rest = super().framed(self._scrubber.finish())
        return rest + super().ending(end._replace(trailers=scrubbed_fields(end.trailers, self._scrubber)))


class ScrubbedGate:
    """Fulfils `watching.Gate`: what inspectors are shown is masked like what the client gets."""

    __slots__ = ("_gate", "_scrubber")

    def __init__(self, gate: Gate, scrubber: Scrubber) -> None:
        self._gate = gate
        self._scrubber = scrubber

    @property
    def waiting(self) -> int:
        """See `Gate`."""
        return self._gate.waiting

    @property
    def is_full(self) -> bool:
        """See `Gate`."""
        return self._gate.is_full

    @property
    def has_ended(self) -> bool:
        """See `Gate`."""
        return self._gate.has_ended

    def feed(self, data: bytes) -> None:
        """See `Gate`."""
        self._gate.feed(self._scrubber.feed(data))

    def finish(self) -> None:
        """See `Gate`."""
        self._gate.feed(self._scrubber.finish())
        self._gate.finish()

    def open_to(self, sink: Passing) -> None:
        """See `Gate`."""
        self._gate.open_to(sink)


def scrubbed(response: Response, scrubber: Scrubber) -> Response:
    """The response, with phrase and fields masked."""
    phrase = _masked(response.phrase, scrubber)
    return response._replace(phrase=phrase, fields=scrubbed_fields(response.fields, scrubber))


def scrubbed_fields(fields: Fields, scrubber: Scrubber) -> Fields:
    """The fields, with names and values masked."""
    return tuple([(_masked(name, scrubber), _masked(value, scrubber)) for name, value in fields])


def _masked(text: str, scrubber: Scrubber) -> str:
    return scrubber.mask(text.encode("latin-1")).decode("latin-1")
