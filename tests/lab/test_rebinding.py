"""Names that lead elsewhere from one moment to the next: what is refused is never reached, what is allowed never fails.

A thousand connections; `LAB_CONNECTIONS=10000 make test ARGS=tests/lab/test_rebinding.py` makes as many as that.
"""

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import create_connection, socket

import pytest

from gateway.model.reasons import Reason
from tests.helpers.client_hello import build_client_hello
from tests.helpers.dns_server import DnsServer
from tests.helpers.gateway import GatewayProcess
from tests.helpers.origins import Origin, Visit
from tests.lab.bed import apply_routes
from tests.lab.network import ELSEWHERE, HOME, NAME_SERVER, Namespace, Network, network

pytestmark = [pytest.mark.privileged, pytest.mark.slow, pytest.mark.timeout(900)]

CONNECTIONS = int(os.environ.get("LAB_CONNECTIONS", "1000"))
A_SECOND = 200
"""Connections begun in one: the gateway's memory of names and the moves of the origin go by the real clock."""
AT_A_TIME = 16
EACH = 20
"""Names of a kind, so that each is asked for, remembered and forgotten many times."""
PORT = 15001
PUBLIC, PRIVATE = HOME[0], "10.99.0.1"
STOPS = ("203.0.113.201", "203.0.113.202", "203.0.113.203", "203.0.113.204")
"""Where the origin that moves is in turn."""

KINDS: dict[str, tuple[list[str], ...]] = {
    "flip": ([PUBLIC], [PRIVATE]),
    "mixed": ([PRIVATE, PUBLIC],),
    "inside": ([PRIVATE],),
    "metadata": (["169.254.169.254"],),
    "loopback": (["127.0.0.1", "::1"],),
    "mapped": (["2001:db8:113::10"], ["fd00:ec2::254"]),
}
NEVER_FAIL = ("moving", "mixed")
NEVER_PASS = ("inside", "metadata", "loopback", "alias")

_TRAP = """
table inet trap {
    chain input {
        type filter hook input priority 0; policy accept;
        ip daddr { 10.99.0.0/16, 169.254.169.254 } counter name sprung
    }
    counter sprung { }
}
"""


@dataclass
class MovingOrigin:
    """Moves every second. It goes on serving where it was told to be for the second
    that the answer's TTL lasts and one more, in which those who came have to be done."""

    world: Namespace
    dns: DnsServer
    moves: int = 0
    _open: list[Origin] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def under_way(self) -> Iterator[None]:
        self._move()
        mover = threading.Thread(target=self._travel)
        mover.start()
        try:
            yield
        finally:
            self._over.set()
            mover.join()
            for origin in self._open:
                origin.close()

    def _travel(self) -> None:
        while not self._over.wait(1.0):
            self._move()

    def _move(self) -> None:
        stop = STOPS[self.moves % len(STOPS)]
        if len(self._open) == len(STOPS) - 1:
            self._open.pop(0).close()
        with self.world.entered():
            self._open.append(Origin(_answer, stop, 443))
        self.dns.answer("moving.test", stop, ttl=1)
        self.moves += 1


def _answer(connection: socket, visit: Visit) -> None:
    if connection.recv(65536):
        connection.sendall(b"!")


def _kinds_of_names(dns: DnsServer) -> list[str]:
    """One round: each name once, the moving one as often as all others together."""
    names = [f"{kind}-{number}.rebind.test" for kind in (*KINDS, "alias") for number in range(EACH)]
    for name in names:
        kind = name.partition("-")[0]
        if kind == "alias":
            dns.alias(name, "inside-0.rebind.test", ttl=0)
        else:
            dns.rotate(name, *KINDS[kind], ttl=0)
    return [either for name in names for either in (name, "moving.test")]


async def _connect(name: str) -> str:
    """What became of it: `passed`, `refused` or what went wrong."""
    try:
        reader, writer = await asyncio.open_connection(ELSEWHERE[0], 443)
        writer.write(build_client_hello(server_name=name))
        answer = await asyncio.wait_for(reader.read(16), 20)
        writer.close()
        await writer.wait_closed()
    except (OSError, TimeoutError) as error:
        return repr(error)
    return "passed" if answer == b"!" else "refused" if answer[:1] == b"\x15" else repr(answer)


async def _all(round_: list[str]) -> Counter[tuple[str, str]]:
    outcomes: Counter[tuple[str, str]] = Counter()
    places = asyncio.Semaphore(AT_A_TIME)

    async def one(name: str) -> None:
        async with places:
            outcomes[name.partition("-")[0].partition(".")[0], await _connect(name)] += 1

    async with asyncio.TaskGroup() as group:
        for number in range(CONNECTIONS):
            group.create_task(one(round_[number % len(round_)]))
            await asyncio.sleep(1 / A_SECOND)
    return outcomes


def _lay_traps(lab: Network, stack: ExitStack) -> list[Origin]:
    """Servers that nobody may reach, where the refused addresses are."""
    for address in (PRIVATE, "169.254.169.254"):
        lab.world.run("ip", "address", "add", f"{address}/32", "dev", "wire")
        lab.gateway.run("ip", "route", "add", f"{address}/32", "via", HOME[0])
    lab.world.run("nft", "-f", "-", text=_TRAP)
    with lab.world.entered():
        traps = [stack.enter_context(Origin(_answer, address, 443)) for address in (PRIVATE, "169.254.169.254")]
    with lab.gateway.entered():
        traps += [stack.enter_context(Origin(_answer, address, 443)) for address in ("127.0.0.1", "::1")]
    return traps


def _a_gateway_that_reached_one_would_be_caught(lab: Network, traps: list[Origin]) -> bool:
    """Whether the traps spring: from where the gateway is, every one of them can be reached."""
    with lab.gateway.entered():
        for address in (PRIVATE, "169.254.169.254", "127.0.0.1", "::1"):
            with create_connection((address, 443), timeout=5) as sock:
                sock.sendall(b"?")
                assert sock.recv(1) == b"!"
    return lab.world.counters("sprung", table="trap") != [0] and all(trap.visits for trap in traps)


def test_no_refused_address_is_reached_and_no_allowed_connection_fails(tmp_path: Path) -> None:
    policy = {"rules": [{"name": "all", "hosts": ["moving.test", "*.rebind.test"]}]}
    settings = {
        "listeners": [{"name": "proxy", "bind": f"[::]:{PORT}", "mode": "transparent"}],
        "resolver": {"servers": [f"{NAME_SERVER}:53"]},
        "addresses": {"allow": ["203.0.113.0/24", "2001:db8::/32"]},
    }
    with ExitStack() as stack:
        lab = stack.enter_context(network())
        for stop in STOPS:
            lab.world.run("ip", "address", "add", f"{stop}/24", "dev", "wire")
        traps = _lay_traps(lab, stack)
        with lab.world.entered():
            dns = stack.enter_context(DnsServer(NAME_SERVER, 53))
            for address in HOME:
                stack.enter_context(Origin(_answer, address, 443))
        gateway = stack.enter_context(GatewayProcess(tmp_path, policy, settings, prefix=lab.gateway.prefix))
        apply_routes(lab.gateway, "tproxy", PORT)
        round_, origin = _kinds_of_names(dns), MovingOrigin(lab.world, dns)
        with origin.under_way(), lab.pod1.entered():
            outcomes = asyncio.run(_all(round_))
        records = gateway.wait_for_records(CONNECTIONS)
        sprung, reached = lab.world.counters("sprung", table="trap"), [len(trap.visits) for trap in traps]
        assert _a_gateway_that_reached_one_would_be_caught(lab, traps)
    print(sorted(outcomes.items()), origin.moves)
    assert sprung == [0]
    assert reached == [0] * len(traps)
    assert {outcome for _, outcome in outcomes} == {"passed", "refused"}
    assert {outcome for kind, outcome in outcomes if kind in NEVER_FAIL} == {"passed"}
    assert {outcome for kind, outcome in outcomes if kind in NEVER_PASS} == {"refused"}
    assert {outcome for kind, outcome in outcomes if kind == "flip"} == {"passed", "refused"}
    assert {record["dialled_address"] for record in records if "dialled_address" in record} == {*HOME, *STOPS}
    assert {record["reason"] for record in records if record["decision"] == "deny"} == {Reason.ADDRESS_REFUSED}
    assert len(records) == CONNECTIONS
    assert origin.moves > 3
