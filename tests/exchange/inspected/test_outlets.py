"""Content that is larger than the rule allows is cut, and never looks like something that is whole."""

from types import SimpleNamespace
from typing import cast

import pytest

from gateway.exchange.http1.inlets import RequestInlet
from gateway.exchange.inlet import HeadFields
from gateway.exchange.inspected.outlets import Upload
from gateway.exchange.inspected.reading import Reading
from gateway.exchange.inspected.request import Inspected
from gateway.model.inspection.terms import Inspection
from gateway.model.record import Seen
from gateway.net.stream import Feeder
from gateway.wire.http.messages import End, Fields
from tests.telemetry.drafts import asked, exchanged, permit_of

MAX_BODY = 10


class Channel:
    """Fulfils `inlet.Channel`: notes what is said."""

    feeder: Feeder | None = None
    is_congested = False

    def __init__(self) -> None:
        self.content = b""
        self.has_ended = False
        self.trailers: Fields = ()

    def begin(self, head: HeadFields, first: bytes, trailers: Fields | None) -> None:
        self.content += first
        self.has_ended = trailers is not None

    def write(self, data: bytes) -> None:
        self.content += data

    def conclude(self, trailers: Fields) -> None:
        self.trailers = trailers
        self.has_ended = True

    def queued(self) -> int:
        return 0

    def abort(self) -> None:
        """Nothing that matters here."""


class Source:
    """As much of an inlet as an upload needs."""

    def __init__(self, held: bytes = b"", end: End | None = None) -> None:
        self.is_paused = self.is_told = False
        self.held = held
        self.end = end

    def held_content(self) -> bytes:
        return self.held

    def pause(self) -> None:
        self.is_paused = True

    def tell(self) -> None:
        self.is_told = True


@pytest.mark.parametrize("size", [MAX_BODY, MAX_BODY + 1])
def test_a_stream_that_carried_too_much_is_not_ended_even_if_the_end_came_with_the_excess(size: int) -> None:
    channel, source = Channel(), Source()
    upload = Upload(channel, cast("RequestInlet", source), True, MAX_BODY, ())
    upload.write(bytes(MAX_BODY - 1))
    upload.write(bytes(size - MAX_BODY + 1))
    upload.finish(End())
    assert upload.is_exceeded == source.is_told == source.is_paused == (size > MAX_BODY)
    assert channel.has_ended == (size <= MAX_BODY)


def test_a_stream_whose_first_content_is_too_much_is_not_ended() -> None:
    channel = Channel()
    source = Source(bytes(MAX_BODY + 1), End())
    upload = Upload(channel, cast("RequestInlet", source), True, MAX_BODY, ())
    upload.begin([], upload.opening())
    assert (channel.content, channel.has_ended) == (b"", False)


def test_no_trailer_is_called_like_what_was_dropped_or_renames_what_was_asked() -> None:
    channel = Channel()
    upload = Upload(channel, cast("RequestInlet", Source()), True, None, {"x-team"})
    renaming = [("X_Original_URL", "/admin"), ("x-rewrite-url", "/admin"), ("X-HTTP-Method-Override", "DELETE")]
    upload.finish(End((("X-Sum", "1"), ("X_Team", "2"), *renaming)))
    assert channel.trailers == (("X-Sum", "1"),)


def test_trailers_that_no_inspector_is_shown_do_not_go_on() -> None:
    channel = Channel()
    upload = Upload(channel, cast("RequestInlet", Source()), True, None, (), is_watched=True)
    upload.finish(End((("X-Sum", "1"),)))
    assert (channel.trailers, channel.has_ended) == ((), True)


def test_a_request_of_which_something_was_withheld_does_not_count_as_sent() -> None:
    """The destination still waits for the rest: nothing else may go over the connection."""
    reading = cast(Reading, SimpleNamespace(inspection=Inspection()))
    inspected = Inspected(permit_of(asked()), exchanged(), Seen(), reading, MAX_BODY, {})
    assert inspected.is_sent
    upload = inspected.upload(Channel(), cast("RequestInlet", Source()), True)
    upload.write(bytes(MAX_BODY))
    assert inspected.is_sent
    upload.write(b"x")
    upload.finish(End())
    assert not inspected.is_sent
