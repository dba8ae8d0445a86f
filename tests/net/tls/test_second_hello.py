"""The client's side of a tunnel, while a second ClientHello may come, however what it sends is cut."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.model.decision import Deny
from gateway.model.intent import ClientHello
from gateway.model.reasons import Reason
from gateway.net.relay import Direction
from gateway.net.tls.second_hello import RETRY, HelloWatch, watch_for
from gateway.wire.client_hello import parse_client_hello
from tests.helpers.client_hello import TLS12, build_client_hello, in_records, server_name_extension
from tests.helpers.costs import cpu_seconds

LIMIT = 65536
FIRST, AGAIN = build_client_hello("allowed.test"), build_client_hello("allowed.test", seed=1)
IN_PIECES = build_client_hello("allowed.test", fragment=7)
EARLY = build_client_hello("allowed.test", extensions=[(42, b"")])
OTHER, OTHER_IN_PIECES = build_client_hello("other.test"), build_client_hello("other.test", fragment=3)
MALFORMED = build_client_hello(None, extensions=[server_name_extension(b"allowed.test", b"other.test")])
SPEC, DATA = b"\x14\3\3\0\1\1", b"\x17\3\3\0\x14" + bytes(20)
KEYS = b"\x16\3\3\0\5\x10\0\0\1x"  # a ClientKeyExchange
ANSWER = b"\x16\3\3\0\x80\2\0\0\x7c\3\3" + bytes(120)
ASKS_AGAIN = b"\x16\3\3\0\x58\2\0\0\x54\3\3" + RETRY + bytes(52)


def deny(reason: Reason, detail: str) -> Deny:
    return Deny(reason, 1, detail=detail)


class Source:
    """The stream that a direction reads."""

    def __init__(self, held: bytes = b"") -> None:
        self.held = held
        self.receiver: Any = None

    def peek(self) -> bytes:
        return self.held


class Passed:
    """A direction that keeps what it gets."""

    def __init__(self, held: bytes = b"") -> None:
        self.source = Source(held)
        self.source.receiver = self
        self.data = b""
        self.has_ended = self.is_lost = False

    def received(self, data: bytes) -> None:
        self.data += data

    def ended(self) -> None:
        self.has_ended = True

    def lost(self) -> None:
        self.is_lost = True


class Tunnel:
    """Joined, and its first hello held by the stream."""

    def __init__(self, first: bytes, kind: type[HelloWatch] = HelloWatch, held: bytes = b"") -> None:
        hello = parse_client_hello(first, LIMIT)
        assert hello is not None
        self.up, self.down = Passed(held or first), Passed()
        self.cuts: list[Reason] = []
        self.watch = kind(hello, LIMIT, deny)
        self.watch.before(cast(Direction, self.up), cast(Direction, self.down), self._cut)
        self.sends(held or first)

    def _cut(self, reason: Reason) -> None:
        self.cuts.append(reason)
        self.up.source.receiver = self.down.source.receiver = None

    def sends(self, *pieces: bytes) -> None:
        """The client, as long as anybody takes it."""
        for piece in pieces:
            if self.up.source.receiver is not None:
                self.up.source.receiver.received(piece)

    @property
    def looks(self) -> bool:
        return self.up.source.receiver is self.watch


def pieces_of(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    at = [0, *sorted(cut % len(data) for cut in cuts), len(data)]
    return [data[begin:end] for begin, end in pairwise(at) if end > begin]


cutting = st.lists(st.integers(0, 100_000), max_size=12)

HONEST = {
    "encrypted at once": (FIRST, DATA * 3),
    "ChangeCipherSpec first": (FIRST, SPEC + DATA * 3),
    "asked again": (FIRST, SPEC + AGAIN + DATA * 2),
    "in pieces, asked again": (IN_PIECES, AGAIN + DATA * 2),
    "no TLS behind it": (FIRST, b"ping"),
    "an older version": (FIRST, KEYS + SPEC + DATA),
}
FORGED = {
    "at once": (FIRST, b"", OTHER),
    "in pieces": (FIRST, b"", OTHER_IN_PIECES),
    "behind pieces": (IN_PIECES, b"", OTHER),
    "behind ChangeCipherSpec": (FIRST, SPEC, OTHER),
    "behind one of TLS 1.0": (FIRST, b"\x14\3\1\0\1\1", OTHER),
    "behind early data": (EARLY, SPEC + DATA * 4, OTHER_IN_PIECES),
    "no name": (FIRST, b"", build_client_hello(None)),
}


@pytest.mark.parametrize("name", HONEST)
@settings(max_examples=30)
@given(cuts=cutting)
def test_what_honest_clients_send_passes_whole_and_then_nobody_looks(name: str, cuts: list[int]) -> None:
    first, then = HONEST[name]
    tunnel = Tunnel(first)
    tunnel.sends(*pieces_of(then, cuts))
    assert tunnel.up.data == first + then
    assert tunnel.cuts == []
    assert not tunnel.looks


def forged(name: str, cuts: list[int], kind: type[HelloWatch] = HelloWatch) -> Tunnel:
    """That nothing of the other hello has passed."""
    first, before, other = FORGED[name]
    tunnel = Tunnel(first, kind)
    tunnel.sends(*pieces_of(before + other + DATA, cuts))
    assert tunnel.up.data == first + before
    assert tunnel.cuts == [Reason.SNI_MISMATCH]
    return tunnel


@pytest.mark.parametrize("name", FORGED)
@settings(max_examples=30)
@given(cuts=cutting)
def test_not_a_byte_of_another_hello_passes_wherever_it_is_cut(name: str, cuts: list[int]) -> None:
    refused = forged(name, cuts).watch.refused
    assert refused is not None
    assert "in the second ClientHello" in refused.detail


class Forgetful(HelloWatch):
    """Takes every read of the loop for the start of a record."""

    def received(self, data: bytes) -> None:
        self._held = b""
        super().received(data)


def test_a_watch_that_forgets_half_records_is_found() -> None:
    with pytest.raises(AssertionError):
        forged("at once", [3], Forgetful)


def test_the_first_hello_ends_where_it_ends_whatever_its_pieces_look_like() -> None:
    """Cut behind two bytes, the header of its second record stands where a message has its size: 5,635 bytes."""
    message = FIRST[5:]
    first = in_records(message[:2]) + in_records(message[2:])
    other = build_client_hello("other.test", size=5644 - len(first))
    tunnel = Tunnel(first, held=first + other)
    assert (tunnel.up.data, tunnel.cuts) == (first, [Reason.SNI_MISMATCH])


def test_a_malformed_second_hello_is_refused() -> None:
    tunnel = Tunnel(FIRST)
    tunnel.sends(MALFORMED)
    assert tunnel.cuts == [Reason.MALFORMED_CLIENT_HELLO]
    assert tunnel.up.data == FIRST


def test_an_empty_record_hides_no_second_hello() -> None:
    tunnel = Tunnel(FIRST)
    tunnel.sends(b"\x16\x03\x03\0\0" + build_client_hello("other.test"))
    assert tunnel.cuts == [Reason.MALFORMED_CLIENT_HELLO]
    assert tunnel.up.data == FIRST


def test_early_data_is_looked_at_until_the_server_has_taken_it() -> None:
    tunnel = Tunnel(EARLY)
    tunnel.sends(DATA)
    tunnel.down.source.receiver.received(ANSWER[:20])
    tunnel.sends(DATA)
    before = tunnel.looks
    tunnel.down.source.receiver.received(ANSWER[20:])
    tunnel.sends(DATA)
    assert (before, tunnel.looks) == (True, False)
    assert tunnel.down.source.receiver is tunnel.down
    assert (tunnel.up.data, tunnel.down.data) == (EARLY + DATA * 3, ANSWER)


def test_early_data_that_the_server_does_not_want_hides_no_second_hello() -> None:
    tunnel = Tunnel(EARLY)
    tunnel.sends(DATA)
    tunnel.down.source.receiver.received(ASKS_AGAIN)
    tunnel.sends(DATA, OTHER)
    assert tunnel.cuts == [Reason.SNI_MISMATCH]
    assert tunnel.up.data == EARLY + DATA * 2


@pytest.mark.parametrize(
    ("first", "record"),
    [(FIRST, SPEC), (FIRST, b"\x15\3\3\0\2\1\0"), (EARLY, b"\x17\3\3\0\0"), (EARLY, b"\x17\3\3\0\1x")],
)
def test_thousands_of_small_records_in_one_read_are_looked_at_in_no_time(first: bytes, record: bytes) -> None:
    tunnel, records = Tunnel(first), record * 40_000
    assert cpu_seconds(lambda: Tunnel(first).sends(records)) < 0.2
    tunnel.sends(records)
    tunnel.sends(OTHER)
    assert (tunnel.up.data, tunnel.cuts) == (first + records, [Reason.SNI_MISMATCH])


def test_half_a_record_goes_nowhere_and_the_end_does() -> None:
    tunnel = Tunnel(FIRST)
    tunnel.sends(OTHER[:40])
    tunnel.watch.ended()
    tunnel.watch.lost()
    assert (tunnel.up.data, tunnel.up.has_ended, tunnel.up.is_lost) == (FIRST, True, True)


def test_only_hellos_that_offer_tls_1_3_can_be_followed_by_another() -> None:
    def watched(hello: ClientHello | None) -> bool:
        return watch_for(hello, LIMIT, deny) is not None

    old = parse_client_hello(build_client_hello("allowed.test", versions=[TLS12]), LIMIT)
    assert [watched(None), watched(old), watched(parse_client_hello(FIRST, LIMIT))] == [False, False, True]
