"""Bodies survive the way; what a worker says is data or is refused."""

import pickle

import pytest

from gateway.app.live.limiting import Seat
from gateway.app.workers.channel import ChannelBroken
from gateway.app.workers.messages import Snapshot, Start, decode_number, decode_problem, encode_number, encode_problem
from gateway.model.addresses import Address
from gateway.net.tls.contexts import TlsMaterial
from gateway.settings.gateway import GatewaySettings
from gateway.telemetry.questions import DnsReadings
from tests.telemetry.drafts import denied, tunnelled


def counted(*, tunnels: int = 0) -> Snapshot:
    snapshot = Snapshot(tunnels_open=tunnels, dns=DnsReadings({"hit": 2, "miss": 1}, 3, {"a": True, "b": False}))
    snapshot.dns.questions.count("a", "udp", "answer", 0.02)
    snapshot.counters.count(tunnelled(), 1001.5)
    snapshot.counters.count(denied(), 1001.5)
    return snapshot


def test_counts_survive_the_way() -> None:
    sent = counted(tunnels=3)
    received = Snapshot.decode(sent.encode())
    assert received.counters.state() == sent.counters.state()
    assert received.counters.connections == sent.counters.connections
    assert received.tunnels_open == 3
    assert received.dns.state() == sent.dns.state()


def test_counts_of_two_are_their_sums() -> None:
    both = Snapshot()
    for _ in range(2):
        both.add(counted(tunnels=2))
    single = counted().counters
    assert {labels: 2 * count for labels, count in single.connections.items()} == both.counters.connections
    assert both.counters.lifetime.cumulative() == [2 * count for count in single.lifetime.cumulative()]
    assert (both.counters.bytes_down, both.tunnels_open) == (2 * 4096, 4)
    assert (both.dns.names, both.dns.remembered, both.dns.health) == ({"hit": 4, "miss": 2}, 6, {"a": True, "b": False})
    assert both.dns.questions.ended == {("a", "udp", "answer"): 2}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[1, 2, 3]",
        b'[{"connections": [["x", "allow", "made_up", 1]]}, 0, {}]',
        Snapshot().encode().replace(b"[0,0]", b"[0]"),
        Snapshot().encode()[:-1],
        pickle.dumps([1]),
    ],
)
def test_counts_that_are_none_are_refused(body: bytes) -> None:
    with pytest.raises(ChannelBroken):
        Snapshot.decode(body)


def test_a_start_survives_the_way() -> None:
    listening = frozenset({(Address(4, 0x7F000001), 3128)})
    start = Start(
        GatewaySettings(),
        {"tls": TlsMaterial(b"cert", b"key")},
        listening,
        (("proxy", 7),),
        page=8,
        turns=9,
        seat=Seat(10, 0, 2),
    )
    assert Start.decode(start.encode()) == start
    with pytest.raises(ChannelBroken):
        Start.decode(pickle.dumps("start"))


def test_numbers_survive_the_way() -> None:
    assert (decode_number(encode_number(7)), decode_number(encode_number(0.5))) == (7.0, 0.5)
    with pytest.raises(ChannelBroken):
        decode_number(b"seven")


def test_problems_survive_the_way_as_far_as_people_read_them() -> None:
    assert decode_problem(encode_problem("no room \N{SNOWMAN}")) == "no room \N{SNOWMAN}"
    assert len(decode_problem(encode_problem("x" * 100_000))) == 2000
    for body in (b"", b"1", b"[]", b'"'):
        with pytest.raises(ChannelBroken):
            decode_problem(body)
