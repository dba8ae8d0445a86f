"""Bodies survive the way; what a worker says is data or is refused."""

import pickle
from dataclasses import asdict

import pytest

from gateway.admin.state import LimitFill
from gateway.app.live.limiting import Seat
from gateway.app.live.snapshot import Snapshot
from gateway.app.workers.channel import ChannelBroken
from gateway.app.workers.messages import (
    Start,
    decode_number,
    decode_problem,
    decode_snapshot,
    encode_number,
    encode_problem,
    encode_snapshot,
    limit_fill,
)
from gateway.model.addresses import Address
from gateway.net.tls.contexts import TlsMaterial
from gateway.settings.gateway import GatewaySettings
from tests.app.live.test_snapshot import counted


def test_counts_survive_the_way() -> None:
    sent = counted(tunnels=3)
    received = decode_snapshot(encode_snapshot(sent))
    assert received.counters.state() == sent.counters.state()
    assert received.counters.connections == sent.counters.connections
    assert received.tunnels_open == 3
    assert received.dns.state() == sent.dns.state()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[1, 2, 3]",
        b'[{"connections": [["x", "allow", "made_up", 1]]}, 0, {}]',
        encode_snapshot(Snapshot()).replace(b"[0,0]", b"[0]"),
        encode_snapshot(Snapshot())[:-1],
        pickle.dumps([1]),
    ],
)
def test_counts_that_are_none_are_refused(body: bytes) -> None:
    with pytest.raises(ChannelBroken):
        decode_snapshot(body)


def test_a_limit_whose_key_is_no_list_is_refused() -> None:
    fill = asdict(LimitFill("a", ("b",), "requests", 1.0, 1.0, 0.0, 1.0, 2, report=False))
    assert limit_fill(fill).key == ("b",)
    with pytest.raises(ChannelBroken):
        limit_fill(fill | {"key": 5})


def test_a_start_survives_the_way() -> None:
    listening = frozenset({(Address(4, 0x7F000001), 3128)})
    start = Start(
        GatewaySettings(),
        {"tls": TlsMaterial(b"cert", b"key")},
        listening,
        (("proxy", 7),),
        page=8,
        locks=9,
        seat=Seat(10, 0, 2),
    )
    assert Start.decode(start.encode()) == start
    with pytest.raises(ChannelBroken):
        Start.decode(pickle.dumps("start"))


def test_numbers_survive_the_way() -> None:
    assert (decode_number(encode_number(7)), decode_number(encode_number(0.5))) == (7.0, 0.5)
    for body in (b"seven", b'"inf"', b'"7"', b"null"):
        with pytest.raises(ChannelBroken):
            decode_number(body)


def test_problems_survive_the_way_as_far_as_people_read_them() -> None:
    assert decode_problem(encode_problem("no room \N{SNOWMAN}")) == "no room \N{SNOWMAN}"
    assert len(decode_problem(encode_problem("x" * 100_000))) == 2000
    for body in (b"", b"1", b"[]", b'"'):
        with pytest.raises(ChannelBroken):
            decode_problem(body)
