"""Two ends of our own, talking without a socket; and a fuzzed peer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.http2 import codes
from gateway.wire.http2 import connection as subject
from gateway.wire.http2.codes import MAX_FRAME, PREFACE, ConnectionFault, ErrorCode
from gateway.wire.http2.connection import Connection, DataCame, HeadCame, StreamEnded, WentAway, WindowGrew
from gateway.wire.http2.floods import Kind
from gateway.wire.http2.frames import frame, reset_frame, settings_frame, window_frame
from gateway.wire.http2.settings import LARGEST_STREAM_WINDOW, STREAM_WINDOW, STREAMS

HEAD = [(":method", "GET"), (":scheme", "https"), (":authority", "a.test"), (":path", "/")]


class Pair:
    """A client and a server."""

    def __init__(self) -> None:
        self.client, self.server = Connection(is_server=False), Connection(is_server=True)
        self.client.begin()
        self.server.begin(extended_connect=True)
        self.said: list[subject.Event] = []
        self.heard: list[subject.Event] = []
        self.talk()

    def talk(self) -> None:
        """Until nobody has anything to say."""
        while up := self.client.sender.take():
            self.said += self.server.receive(up, 0.0)
            self.heard += self.client.receive(self.server.sender.take(), 0.0)
        self.heard += self.client.receive(self.server.sender.take(), 0.0)


@pytest.fixture
def pair() -> Pair:
    pair = Pair()
    pair.said.clear()
    pair.heard.clear()
    return pair


def test_settings_are_known_to_the_other_side(pair: Pair) -> None:
    assert pair.client.sender.peer.extended_connect
    assert pair.client.sender.peer.streams == STREAMS
    assert pair.server.sender.peer.window == STREAM_WINDOW


def test_a_request_and_its_answer(pair: Pair) -> None:
    number = pair.client.sender.open(HEAD, ends=False)
    pair.client.sender.send_data(number, b"abc", True)
    pair.talk()
    assert pair.said == [HeadCame(1, tuple(HEAD), False, True), DataCame(1, b"abc", 3, True)]
    pair.server.sender.send_head(1, [(":status", "200")], True)
    pair.talk()
    assert pair.heard == [HeadCame(1, ((":status", "200"),), True)]
    assert not pair.client.streams
    assert not pair.server.streams


def test_one_head_may_have_very_many_fields_and_not_each(pair: Pair) -> None:
    """A field by reference takes one byte, and costs as much as one of fifty."""
    usual, large = [*HEAD, *[("accept", "*/*")] * 196], [*HEAD, *[("accept", "*/*")] * 996]
    for head in [*[usual] * 50, large]:
        pair.client.sender.open(head, ends=True)
        pair.talk()
    assert [len(event.fields) for event in pair.said if isinstance(event, HeadCame)] == [200] * 50 + [1000]
    pair.client.sender.open(large, ends=True)
    with pytest.raises(ConnectionFault, match="fields in large heads") as fault:
        pair.talk()
    assert fault.value.code is ErrorCode.ENHANCE_YOUR_CALM


def test_large_heads_of_a_destination_are_its_own_affair(pair: Pair) -> None:
    """The client asked for them; and a fault would end the requests of all who share the connection."""
    large = [(":status", "200"), *[("accept", "*/*")] * 999]
    for _ in range(3):
        number = pair.client.sender.open(HEAD, ends=True)
        pair.talk()
        pair.server.sender.send_head(number, large, True)
        pair.talk()
    assert [len(event.fields) for event in pair.heard if isinstance(event, HeadCame)] == [1000] * 3


def test_a_stream_s_window_is_opened_only_by_who_took_its_content(pair: Pair) -> None:
    number = pair.client.sender.open(HEAD, ends=False)
    while room := pair.client.sender.room(number):
        pair.client.sender.send_data(number, bytes(room), False)
    pair.talk()
    taken = sum(event.size for event in pair.said if isinstance(event, DataCame))
    assert taken == STREAM_WINDOW
    assert WindowGrew(number) not in pair.heard
    pair.server.credit(number, taken)
    pair.talk()
    pair.heard += pair.client.receive(pair.server.sender.take(), 0.0)
    assert WindowGrew(number) in pair.heard
    assert pair.client.sender.room(number) == STREAM_WINDOW


def _content_taken(pair: Pair, number: int, at_once: bool) -> int:
    """The content of one round trip: as much as there is a window for."""
    size = pair.client.sender.room(number)
    pair.client.sender.send_data(number, bytes(size), False)
    pair.talk()
    pair.said.clear()
    for start in range(0, size, MAX_FRAME):
        taken = min(MAX_FRAME, size - start)
        pair.server.credit_connection(taken)
        pair.server.credit(number, taken, at_once)
    pair.talk()
    return size


def test_a_window_grows_while_its_content_is_taken_as_it_comes_and_shrinks_again_when_it_has_to_wait(
    pair: Pair,
) -> None:
    number = pair.client.sender.open(HEAD, ends=False)
    sizes = [_content_taken(pair, number, at_once=True) for _ in range(6)]
    assert sizes[:2] == [STREAM_WINDOW, 2 * STREAM_WINDOW]
    assert sizes[-1] <= LARGEST_STREAM_WINDOW
    assert sizes[-1] > LARGEST_STREAM_WINDOW * 3 // 4  # small credits are saved up, of the connection's window, too
    sizes = [_content_taken(pair, number, at_once=False) for _ in range(6)]
    assert sizes[-1] <= STREAM_WINDOW


def test_one_stream_more_than_agreed_is_refused(pair: Pair) -> None:
    for _ in range(STREAMS + 1):
        pair.client.sender.open(HEAD, ends=False)
    pair.talk()
    assert pair.heard == [StreamEnded(2 * STREAMS + 1, ErrorCode.REFUSED_STREAM)]


def test_whoever_leaves_takes_no_new_stream(pair: Pair) -> None:
    pair.client.sender.open(HEAD, ends=False)
    pair.talk()
    pair.server.sender.go_away(pair.server.last_stream, ErrorCode.NO_ERROR)
    pair.client.sender.open(HEAD, ends=False)
    pair.talk()
    assert WentAway(1, ErrorCode.NO_ERROR) in pair.heard
    assert StreamEnded(3, ErrorCode.REFUSED_STREAM) in pair.heard


@pytest.mark.parametrize(
    ("name", "late", "code"),
    [
        ("WINDOW_UPDATE on a stream that only we could open", window_frame(2, 1), ErrorCode.PROTOCOL_ERROR),
        ("GOAWAY on a stream", frame(codes.GOAWAY, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
        ("RST_STREAM on a stream that only we could open", reset_frame(2, 8), ErrorCode.PROTOCOL_ERROR),
        ("a cut-off PRIORITY on an idle stream", frame(codes.PRIORITY, 0, 99, b"1234"), ErrorCode.FRAME_SIZE_ERROR),
        ("more settings than there are", settings_frame([(4, 1), (4, 2)] * 17), ErrorCode.ENHANCE_YOUR_CALM),
    ],
)
def test_what_no_stream_can_answer_for_ends_the_connection(pair: Pair, name: str, late: bytes, code: ErrorCode) -> None:
    """No RST_STREAM answers it: none is sent on an idle stream (RFC 9113 section 6.4)."""
    pair.client.sender.open(HEAD, ends=False)
    pair.client.sender.open(HEAD, ends=False)
    pair.talk()
    with pytest.raises(ConnectionFault) as fault:
        list(pair.server.receive(late, 0.0))
    assert fault.value.code is code
    assert not pair.server.sender.take()


def test_what_follows_our_reset_is_let_go_and_does_not_take_the_window_away(pair: Pair) -> None:
    number = pair.client.sender.open(HEAD, ends=False)
    pair.talk()
    pair.server.reset(number, ErrorCode.CANCEL)
    late = frame(0, 0, number, b"late") + frame(1, 5, number, b"\x82")
    assert list(pair.server.receive(late, 0.0)) == []


def _credit_what_is_over(pair: Pair, content: int) -> None:
    """Many streams that end, on each of which the client then says that it takes more."""
    for _ in range(2 * int(Kind.STRAY.bucket.burst)):
        number = pair.client.sender.open(HEAD, ends=True)
        pair.talk()
        pair.server.sender.send_head(number, [(":status", "200")], content == 0)
        pair.server.sender.send_data(number, bytes(content), True)
        pair.talk()
        list(pair.server.receive(window_frame(0, 32_768) + window_frame(number, 32_768), 0.0))


def test_a_client_that_credits_what_ended_its_stream_is_borne_however_often(pair: Pair) -> None:
    _credit_what_is_over(pair, 1000)


def test_a_client_that_credits_streams_on_which_nothing_was_sent_is_not(pair: Pair) -> None:
    with pytest.raises(ConnectionFault) as fault:
        _credit_what_is_over(pair, 0)
    assert fault.value.code is ErrorCode.ENHANCE_YOUR_CALM


def test_what_was_on_its_way_on_many_streams_that_are_reset_at_once_ends_no_connection(pair: Pair) -> None:
    numbers = [pair.client.sender.open(HEAD, ends=True) for _ in range(40)]
    pair.talk()
    for number in numbers:
        pair.server.sender.send_head(number, [(":status", "200")], False)
        for _ in range(50):
            pair.server.sender.send_data(number, b"small", False)
    late = pair.server.sender.take()
    for number in numbers:
        pair.client.reset(number, ErrorCode.CANCEL)
    assert list(pair.client.receive(late, 0.0)) == []


@pytest.mark.parametrize("size", [0, MAX_FRAME])
def test_more_than_can_have_been_on_its_way_is_not_borne_for_long(pair: Pair, size: int) -> None:
    number = pair.client.sender.open(HEAD, ends=False)
    pair.talk()
    pair.server.reset(number, ErrorCode.CANCEL)
    late = frame(codes.DATA, 0, number, bytes(size)) * (int(Kind.STRAY.bucket.burst) + STREAM_WINDOW // MAX_FRAME)
    with pytest.raises(ConnectionFault) as fault:
        list(pair.server.receive(late + frame(codes.DATA, 0, number), 0.0))
    assert fault.value.code is ErrorCode.ENHANCE_YOUR_CALM


KINDS = st.integers(0, 12)
FRAMES = st.lists(
    st.builds(frame, KINDS, st.integers(0, 255), st.sampled_from([0, 1, 2, 3, 5, 99]), st.binary(max_size=40)),
    max_size=30,
)


def _only_faults(written: list[bytes], is_server: bool) -> None:
    made = Connection(is_server)
    made.begin()
    opening = (PREFACE if is_server else b"") + settings_frame([])
    if not is_server:
        made.sender.open(HEAD, ends=False)
    try:
        for piece in [opening, *written]:
            for _ in made.receive(piece, 0.0):
                assert len(made.streams) <= STREAMS
    except ConnectionFault:
        return


@given(FRAMES, st.booleans())
def test_whatever_frames_come_there_are_events_or_a_fault(written: list[bytes], is_server: bool) -> None:
    _only_faults(written, is_server)


def test_a_frame_that_is_read_beyond_its_end_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: the length of padding is not looked for."""
    monkeypatch.setattr(subject, "content_of", lambda frame: frame.payload[frame.payload[0] :])
    with pytest.raises(IndexError):
        _only_faults([frame(1, 4, 1, b"\x82"), frame(0, 8, 1, b"")], is_server=True)
