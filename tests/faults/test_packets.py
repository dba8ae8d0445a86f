"""A network that loses packets, both ways, between the gateway and the world: slower, and otherwise as ever."""

import hashlib
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest

from tests.faults.scale import LONG
from tests.helpers.gateway import GatewayProcess
from tests.helpers.origins import Origin, Visit
from tests.helpers.raw_client import RawClient, status_of
from tests.lab.network import HOME, Network, network

SIZE = (16 if LONG else 1) << 20
TUNNELS = 60 if LONG else 6
PORT = 9000
LOST = 5
"""Of a hundred packets."""
CONTENT = Random(3).randbytes(SIZE)

_LOSSY = f"""
table inet lossy {{
    chain incoming {{
        type filter hook prerouting priority -300; policy accept;
        iifname "wire" meta l4proto tcp numgen random mod 100 < {LOST} counter name lost drop
    }}
    chain outgoing {{
        type filter hook postrouting priority 300; policy accept;
        oifname "wire" meta l4proto tcp numgen random mod 100 < {LOST} counter name lost drop
    }}
    counter lost {{ }}
}}
"""


@pytest.fixture
def lab() -> Iterator[Network]:
    with network() as made:
        yield made


@pytest.mark.privileged
@pytest.mark.timeout(600)
def test_every_byte_arrives_though_packets_are_lost_both_ways(tmp_path: Path, lab: Network) -> None:
    with ExitStack() as stack:
        with lab.world.entered():
            origin = stack.enter_context(Origin(_takes_and_gives, HOME[0], PORT))
        policy = {"rules": [{"name": "home", "cidrs": [HOME[0]], "ports": [PORT], "protocol": "tcp"}]}
        settings = {
            "listeners": [{"name": "proxy", "bind": "127.0.0.1:0"}],
            "addresses": {"allow": [f"{HOME[0]}/32"]},
            "timeouts": {"connect": "30s"},
        }
        gateway = stack.enter_context(GatewayProcess(tmp_path, policy, settings, prefix=lab.gateway.prefix))
        lab.world.run("nft", "-f", "-", text=_LOSSY)
        slowest = 0.0
        for _ in range(TUNNELS):
            began = time.monotonic()
            with lab.gateway.entered(), RawClient(gateway.port) as client:
                client.socket.settimeout(120)
                assert status_of(client.connect(f"{HOME[0]}:{PORT}")) == 200
                client.send(CONTENT)
                client.finish()
                told = client.read_to_end()
            assert told == hashlib.sha256(CONTENT).digest() + CONTENT
            slowest = max(slowest, time.monotonic() - began)
        records = gateway.wait_for_records(TUNNELS, ended="closed")
        assert {(record["bytes_up"], record["bytes_down"]) for record in records} == {(SIZE, SIZE + 32)}
        assert len(origin.visits) == TUNNELS
        [lost] = lab.world.counters("lost", table="lossy")
        assert lost > 0
        print(f"{TUNNELS} tunnels of {SIZE:,} bytes each way, {lost} packets lost, the slowest {slowest:.1f} s")


def _takes_and_gives(connection: socket.socket, visit: Visit) -> None:
    """The sum of what came, and then all of it again."""
    data = bytearray()
    while more := connection.recv(1 << 16):
        data += more
    connection.sendall(hashlib.sha256(data).digest() + data)
    connection.shutdown(socket.SHUT_WR)
