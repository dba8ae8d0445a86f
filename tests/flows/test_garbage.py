"""Whatever arrives on the port gets the right status or a close in time and one record, and costs nobody else anything.

Hundreds of clients of every hostile kind at once, seeded, while an ordinary one goes on with its work.
"""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random

import bcrypt
import psutil
import pytest

from tests.helpers.dns_server import DnsServer
from tests.helpers.gateway import GatewayProcess
from tests.helpers.hostile_clients import HOSTILE, Hostile, Targets
from tests.helpers.origins import Origin, echo
from tests.helpers.raw_client import RawClient, status_of

ORDINARY = "127.0.0.1"
EACH = 8
TIMEOUT = 1.0
LINGER = 2.0
LATE = 5.0
"""Seconds that a connection may outlive its time-out and the close, on a machine that does all this at once."""
SLOWEST = 2.0
"""Seconds that an ordinary round trip may take meanwhile; alone it takes well under a millisecond."""


@dataclass
class Bed:
    """One gateway with short time-outs, an origin for TLS that must never read a byte, and one that echoes."""

    gateway: GatewayProcess
    tls: Origin
    targets: Targets


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    users = tmp_path / "users.htpasswd"
    users.write_text(f"ci:{bcrypt.hashpw(b'correct-horse', bcrypt.gensalt(4)).decode()}\n")
    clients = {"ci": {"match": [{"user": "ci"}]}}
    with DnsServer() as dns, Origin(echo) as tls, Origin(echo) as tcp:
        dns.answer("tls.test", "127.0.0.1")
        dns.answer("tcp.test", "127.0.0.1")
        rules = [
            {"name": "tls", "hosts": ["tls.test"], "ports": [tls.port], "protocol": "tls"},
            {"name": "tcp", "hosts": ["tcp.test"], "ports": [tcp.port], "protocol": "tcp"},
            {"name": "users", "hosts": ["users.test"], "clients": ["ci"]},
        ]
        settings = {
            "identity": {"basic": {"htpasswd": str(users)}},
            "resolver": {"servers": [f"127.0.0.1:{dns.port}"]},
            "timeouts": {"head": f"{TIMEOUT:g}s", "client_hello": f"{TIMEOUT:g}s"},
        }
        with GatewayProcess(tmp_path, {"clients": clients, "rules": rules}, settings) as gateway:
            targets = Targets("denied.test:443", "users.test:443", f"tls.test:{tls.port}", f"tcp.test:{tcp.port}")
            yield Bed(gateway, tls, targets)


@pytest.mark.slow
def test_hundreds_of_hostile_clients_cost_an_ordinary_one_nothing(bed: Bed, capsys: pytest.CaptureFixture[str]) -> None:
    gateway = bed.gateway
    _works_ordinarily(bed, until=[])
    seen = len(gateway.quiet())
    descriptors = _descriptors_at_rest(gateway)
    crowd = HOSTILE * EACH
    order = Random(2).sample(range(len(crowd)), len(crowd))
    with ThreadPoolExecutor(len(crowd)) as threads:
        acts = {number: threads.submit(_behaves, crowd[number], number, bed) for number in order}
        slowest, ordinary = _works_ordinarily(bed, until=list(acts.values()))
    took = {number: act.result() for number, act in acts.items()}
    assert [crowd[number].name for number in took if took[number] > TIMEOUT + LINGER + LATE] == []

    records = gateway.quiet()[seen:]
    ours = [record["decision"] for record in records if record["client_address"] == ORDINARY]
    assert ours == ["allow"] * (ordinary + 1)
    theirs = Counter(record["client_address"] for record in records if record["client_address"] != ORDINARY)
    assert theirs == dict.fromkeys(map(_source, took), 1)
    wrong = {
        crowd[number].name: record
        for number in took
        for record in records
        if record["client_address"] == _source(number) and record.get("reason") != crowd[number].reason
    }
    assert wrong == {}
    assert bed.tls.received == b""
    assert slowest < SLOWEST
    assert _descriptors_at_rest(gateway) == descriptors
    with capsys.disabled():
        print(f"\n{len(crowd)} hostile clients of {len(HOSTILE)} kinds, the longest {max(took.values()):.1f} s;")
        print(f"{ordinary} ordinary tunnels meanwhile, the slowest {slowest * 1000:.0f} ms")


def _descriptors_at_rest(gateway: GatewayProcess) -> int:
    """As soon as nothing was opened or closed for a while: the last scrape may still be closing."""
    process = psutil.Process(gateway.process.pid)
    seen = [process.num_fds()]
    while len(seen) < 5 or len(set(seen[-5:])) > 1:
        time.sleep(0.1)
        seen.append(process.num_fds())
    return seen[-1]


def _source(number: int) -> str:
    """Everyone comes from an address of their own, which tells the records apart."""
    return f"127.0.{1 + number // 250}.{1 + number % 250}"


def _behaves(hostile: Hostile, number: int, bed: Bed) -> float:
    """How many seconds it took."""
    began = time.monotonic()
    with RawClient(bed.gateway.port, source=_source(number)) as client:
        try:
            hostile.act(client, Random(number), bed.targets)
        except (AssertionError, OSError) as error:
            raise AssertionError(f"{hostile.name}: {error!r}") from error
    return time.monotonic() - began


def _works_ordinarily(bed: Bed, until: list[Future[float]]) -> tuple[float, int]:
    """Round trips through a tunnel that stays open and through fresh ones; the slowest in seconds, and how many."""
    slowest, count = 0.0, 0
    with RawClient(bed.gateway.port) as standing:
        assert status_of(standing.connect(bed.targets.tcp)) == 200
        while count < 10 or not all(act.done() for act in until):
            began = time.monotonic()
            _round_trip(standing, count)
            with RawClient(bed.gateway.port) as fresh:
                assert status_of(fresh.connect(bed.targets.tcp)) == 200
                _round_trip(fresh, count)
            slowest, count = max(slowest, time.monotonic() - began), count + 1
            time.sleep(0.005)
    return slowest, count


def _round_trip(client: RawClient, number: int) -> None:
    data = number.to_bytes(4, "big") * 16
    client.send(data)
    assert client.read(len(data)) == data
