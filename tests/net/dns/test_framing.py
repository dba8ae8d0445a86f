from collections.abc import Iterator

import dns.message
import dns.name
import h2.config
import h2.connection
import h2.events
import h2.settings
import hypothesis
import pytest
from dns.rdatatype import AAAA, A
from hypothesis import given
from hypothesis import strategies as st

from gateway.net.dns.framing import MOST_AT_ONCE, DohFraming, DotFraming, Framing
from gateway.net.dns.transport import Question

QUESTION = Question(dns.name.from_text("x.test"), A)
Taken = list[tuple[int, bytes | OSError]]


def fed(framing: Framing, pieces: Iterator[bytes]) -> Taken:
    return [answer for piece in pieces for answer in framing.take(piece)]


def cut(data: bytes, places: list[int]) -> Iterator[bytes]:
    """At these places, modulo its length."""
    ends = sorted({place % (len(data) + 1) for place in places} | {len(data)})
    begin = 0
    for end in ends:
        yield data[begin:end]
        begin = end


messages = st.lists(st.binary(min_size=2, max_size=300), max_size=6)
places = st.lists(st.integers(min_value=0, max_value=2000), max_size=20)


def framed(bodies: list[bytes]) -> bytes:
    return b"".join(len(body).to_bytes(2, "big") + body for body in bodies)


@given(bodies=messages, where=places)
def test_dot_messages_come_out_whole_however_they_are_cut(bodies: list[bytes], where: list[int]) -> None:
    expected = [(int.from_bytes(body[:2], "big"), body) for body in bodies]
    assert fed(DotFraming(0), cut(framed(bodies), where)) == expected


def test_the_property_catches_a_framing_that_forgets_what_a_message_left_over() -> None:
    class Forgetful(DotFraming):
        def take(self, data: bytes) -> Iterator[tuple[int, bytes | OSError]]:
            for answer in super().take(data):
                self._received.clear()
                yield answer

    @hypothesis.settings(max_examples=200, phases=[hypothesis.Phase.generate])
    @given(bodies=messages, where=places)
    def property_(bodies: list[bytes], where: list[int]) -> None:
        expected = [(int.from_bytes(body[:2], "big"), body) for body in bodies]
        assert fed(Forgetful(0), cut(framed(bodies), where)) == expected

    with pytest.raises(AssertionError):
        property_()


def test_dot_ids_are_given_out_in_turn_and_start_again() -> None:
    framing = DotFraming(0xFFFF)
    assert [framing.put(QUESTION).number for _ in range(3)] == [0xFFFF, 0, 1]


@pytest.mark.parametrize("framing", [DotFraming(1), DohFraming("dns.test", "/dns-query")])
@pytest.mark.parametrize("label", ["x", "a-rather-long-label-that-needs-its-room"])
def test_a_question_is_padded_to_a_whole_block(framing: Framing, label: str) -> None:
    framing.greeting()
    query = framing.put(Question(dns.name.from_text(f"{label}.test"), AAAA)).query
    assert len(query.to_wire()) == 128


class DohServer:
    """The other end, without I/O."""

    def __init__(self, most_streams: int = 100) -> None:
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        most = {h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: most_streams}
        self.http.local_settings = h2.settings.Settings(client=False, initial_values=most)
        self.http.initiate_connection()

    def answered(self, data: bytes, *bodies: bytes, status: str = "200") -> bytes:
        """What it sends when it got `data`: a body for each question in it."""
        ended = [e.stream_id for e in self.http.receive_data(data) if isinstance(e, h2.events.StreamEnded)]
        for number, body in zip(ended, bodies, strict=True):
            self.http.send_headers(number, [(":status", status), ("content-type", "application/dns-message")])
            for begin in range(0, len(body), 16_000):
                self.http.send_data(number, body[begin : begin + 16_000])
            self.http.end_stream(number)
        return self.http.data_to_send()


@given(bodies=messages, where=places)
def test_doh_bodies_come_out_whole_however_they_are_cut(bodies: list[bytes], where: list[int]) -> None:
    framing, server = DohFraming("dns.test", "/dns-query"), DohServer()
    sent = framing.greeting()
    numbers = []
    for _ in bodies:
        put = framing.put(QUESTION)
        numbers.append(put.number)
        sent += put.data
    assert fed(framing, cut(server.answered(sent, *bodies), where)) == list(zip(numbers, bodies, strict=True))


@pytest.mark.parametrize(("theirs", "ours"), [(3, 3), (100_000, MOST_AT_ONCE)])
def test_the_server_says_how_many_questions_it_takes_and_we_do_not_take_more_than_ours(theirs: int, ours: int) -> None:
    framing, server = DohFraming("dns.test", "/dns-query"), DohServer(theirs)
    assert framing.most_at_once is None
    assert fed(framing, iter([server.answered(framing.greeting())])) == []
    assert framing.most_at_once == ours


def test_a_body_longer_than_any_dns_message_is_refused() -> None:
    framing, server = DohFraming("dns.test", "/dns-query"), DohServer()
    sent = framing.greeting()
    put = framing.put(QUESTION)
    taken: Taken = []
    server.http.receive_data(sent + put.data)
    server.http.send_headers(put.number, [(":status", "200"), ("content-type", "application/dns-message")])
    for _ in range(9):
        server.http.send_data(put.number, bytes(8_000))
        taken += framing.take(server.http.data_to_send())
        server.http.receive_data(framing.pending())
    server.http.end_stream(put.number)
    taken += framing.take(server.http.data_to_send())
    [(number, outcome)] = taken
    assert number == put.number
    assert isinstance(outcome, ConnectionAbortedError)
    assert "longer than a DNS message" in str(outcome)


def test_a_peer_that_speaks_no_http2_is_an_end() -> None:
    framing = DohFraming("dns.test", "/dns-query")
    framing.greeting()
    with pytest.raises(ConnectionAbortedError, match="HTTP/2"):
        fed(framing, iter([b"HTTP/1.1 200 OK\r\n\r\n"] * 10_000))
    with pytest.raises(ConnectionAbortedError, match="no more questions"):
        framing.put(QUESTION)
    framing.forget(1)


def test_after_goodbye_no_question_is_put() -> None:
    framing, server = DohFraming("dns.test", "/dns-query"), DohServer()
    server.http.receive_data(framing.greeting())
    server.http.close_connection()
    fed(framing, iter([server.http.data_to_send()]))
    with pytest.raises(ConnectionAbortedError, match="no more questions"):
        framing.put(QUESTION)


def test_an_answer_that_nobody_waits_for_is_called_off() -> None:
    framing, server = DohFraming("dns.test", "/dns-query"), DohServer()
    sent = framing.greeting()
    put = framing.put(QUESTION)
    answer = server.answered(sent + put.data, b"12")
    framing.forget(put.number)
    assert framing.pending() != b""
    assert fed(framing, iter([answer])) == []
