"""A hello that comes when the tunnel stands already is judged before a byte of it passes."""

from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.decision import Deny
from gateway.model.intent import Opening, Protocol
from gateway.model.reasons import Reason
from gateway.net.relay import Direction
from gateway.net.tls.late_hello import LateHello
from tests.helpers.client_hello import build_client_hello
from tests.net.tls.test_second_hello import DATA, LIMIT, MALFORMED, OTHER, Passed, deny, pieces_of

ALLOWED = build_client_hello("allowed.test")


class Tunnel:
    """Joined, and nothing said; `other.test` is denied."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.up, self.down = Passed(), Passed()
        self.cuts: list[Reason] = []
        self.judged: list[str | None] = []
        self.spoken: list[Protocol] = []
        self.watch = LateHello(self._judge, deny, limit)
        self.watch.before(cast(Direction, self.up), cast(Direction, self.down), self._cut)

    def _judge(self, opening: Opening) -> Deny | None:
        name = opening.hello.server_name if opening.hello is not None else None
        self.judged.append(name)
        self.spoken.append(opening.protocol)
        return deny(Reason.SNI_DENIED, "") if name == "other.test" else None

    def _cut(self, reason: Reason) -> None:
        self.cuts.append(reason)
        self.up.source.receiver = None

    def sends(self, *pieces: bytes) -> None:
        for piece in pieces:
            if self.up.source.receiver is not None:
                self.up.source.receiver.received(piece)


cutting = st.lists(st.integers(0, 100_000), max_size=8)


@given(cuts=cutting)
def test_one_that_may_pass_does_and_then_nobody_looks(cuts: list[int]) -> None:
    tunnel = Tunnel()
    tunnel.sends(*pieces_of(ALLOWED + DATA, cuts))
    assert (tunnel.up.data, tunnel.judged, tunnel.cuts) == (ALLOWED + DATA, ["allowed.test"], [])
    assert tunnel.up.source.receiver is tunnel.up


@given(cuts=cutting)
def test_not_a_byte_passes_of_one_that_is_denied(cuts: list[int]) -> None:
    tunnel = Tunnel()
    tunnel.sends(*pieces_of(OTHER + DATA, cuts))
    assert (tunnel.up.data, tunnel.judged, tunnel.cuts) == (b"", ["other.test"], [Reason.SNI_DENIED])
    assert tunnel.watch.refused == deny(Reason.SNI_DENIED, "")


@given(cuts=cutting)
def test_not_a_byte_passes_of_another_one_that_the_server_may_ask_for(cuts: list[int]) -> None:
    """It is not even judged: no honest client sends another name."""
    tunnel = Tunnel()
    tunnel.sends(*pieces_of(ALLOWED + OTHER + DATA, cuts))
    assert (tunnel.up.data, tunnel.judged, tunnel.cuts) == (ALLOWED, ["allowed.test"], [Reason.SNI_MISMATCH])
    refused = tunnel.watch.refused
    assert refused is not None
    assert refused.detail == "other.test in the second ClientHello"


@pytest.mark.parametrize("said", [b"E", b"EHLO x\r\n", b"\0", b"\x15\3\1"])
def test_what_is_no_tls_passes_with_its_first_byte(said: bytes) -> None:
    tunnel = Tunnel()
    tunnel.sends(said)
    assert (tunnel.up.data, tunnel.spoken) == (said, [Protocol.TCP])


def test_what_only_begins_like_tls_passes() -> None:
    tunnel = Tunnel()
    tunnel.sends(b"\x16", b"\x16", b"!")
    assert (tunnel.up.data, tunnel.judged) == (b"\x16\x16!", [None])


@pytest.mark.parametrize(
    ("said", "limit", "reason"),
    [
        (MALFORMED, LIMIT, Reason.MALFORMED_CLIENT_HELLO),
        (ALLOWED, len(ALLOWED) - 1, Reason.CLIENT_HELLO_TOO_LARGE),
    ],
)
def test_what_is_malformed_or_too_large_is_cut(said: bytes, limit: int, reason: Reason) -> None:
    tunnel = Tunnel(limit)
    tunnel.sends(said)
    assert (tunnel.up.data, tunnel.cuts) == (b"", [reason])


def test_half_a_hello_goes_nowhere_and_the_end_does() -> None:
    tunnel = Tunnel()
    tunnel.sends(ALLOWED[:40])
    tunnel.watch.ended()
    tunnel.watch.lost()
    assert (tunnel.up.data, tunnel.up.has_ended, tunnel.up.is_lost) == (b"", True, True)
