"""Connections to destinations between two exchanges."""

import asyncio
import select
import socket
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from gateway.exchange import upstream as pools
from gateway.exchange.http1.upstream import UpstreamConnection
from gateway.exchange.response import plan_response
from gateway.exchange.upstream import Pool, PoolKey, UpstreamSide, pool_key
from gateway.model.client import Client
from gateway.model.decision import Deny, ProxyVersion, RuleRef
from gateway.model.errors import Refused, UpstreamError
from gateway.model.limits.limit import Retry
from gateway.model.reasons import Reason
from gateway.model.record import Dialled
from gateway.model.roles import Upstream
from gateway.wire.http.codec import open_codec
from gateway.wire.http.messages import NO_CONTENT, Delimiter, Framing, Request, Response
from tests.helpers.deadlines import HandDeadlines
from tests.helpers.streams import send, stream_and_peer
from tests.telemetry.drafts import address, asked, permit_of

CLIENT = Client(address("10.0.0.1"))
PERMIT = permit_of(asked())
PEER = CLIENT.address, 40000
KEY = pool_key(CLIENT, PERMIT, PEER)


class Kept:
    """A pool, and connections whose other ends the test holds."""

    def __init__(self) -> None:
        self.deadlines = HandDeadlines()
        self.hold_at_most(1000)
        self.peers: list[socket.socket] = []
        self._made: list[UpstreamConnection] = []

    def hold_at_most(self, number: int) -> None:
        self.pool = Pool(self.deadlines, lambda: self.deadlines.now, number)

    async def connect(self, presents: bool = False) -> UpstreamConnection:
        stream, peer = await stream_and_peer()
        self.peers.append(peer)
        dialled = Dialled(address("127.0.0.1"), (), (), None, 0.001)
        reader = open_codec("auto").response_reader()
        self._made.append(UpstreamConnection(Upstream(dialled, stream, presents=presents), reader, self.deadlines.now))
        return self._made[-1]

    def close(self) -> None:
        self.pool.close()
        for connection in self._made:
            connection.close()
        for peer in self.peers:
            peer.close()


@pytest.fixture
async def kept() -> AsyncIterator[Kept]:
    kept = Kept()
    yield kept
    kept.close()  # uvloop does not end over what a failed test left open


async def until_empty(pool: Pool) -> None:
    async with asyncio.timeout(5):
        while len(pool):  # noqa: ASYNC110  # a pool tells nobody when it loses a connection
            await asyncio.sleep(0)


async def test_the_one_used_last_is_taken_first_and_each_once(kept: Kept) -> None:
    first, last = await kept.connect(), await kept.connect()
    kept.pool.give(KEY, first)
    kept.pool.give(KEY, last)
    assert (kept.pool.take(KEY), kept.pool.take(KEY), kept.pool.take(KEY)) == (last, first, None)
    for connection in (first, last):
        connection.close()
    kept.close()


@pytest.mark.parametrize(
    "other",
    [
        pool_key(CLIENT._replace(address=address("10.0.0.2")), PERMIT, PEER),
        pool_key(CLIENT._replace(user="ci"), PERMIT, PEER),
        pool_key(CLIENT._replace(known=False), PERMIT, PEER),
        pool_key(CLIENT._replace(doubt="elsewhere"), PERMIT, PEER),
        pool_key(CLIENT, replace(PERMIT, groups=("red",)), PEER),
        pool_key(CLIENT, replace(PERMIT, generation=8), PEER),
        pool_key(CLIENT, replace(PERMIT, rule=RuleRef("policy.yaml#other", "policy.yaml", 1)), PEER),
        pool_key(CLIENT, replace(PERMIT, authority=PERMIT.authority._replace(port=444)), PEER),
    ],
)
async def test_nobody_else_gets_it(kept: Kept, other: PoolKey) -> None:
    kept.pool.give(KEY, await kept.connect())
    assert kept.pool.take(other) is None
    assert len(kept.pool) == 1
    kept.close()


def test_another_connection_of_the_client_counts_where_the_destination_was_told_of_it() -> None:
    told = replace(PERMIT, terms=replace(PERMIT.terms, proxy_protocol=ProxyVersion.V2))
    other = CLIENT.address, 40001
    assert pool_key(CLIENT, PERMIT, other) == KEY
    assert pool_key(CLIENT, told, other) != pool_key(CLIENT, told, PEER)


async def test_one_that_ends_resets_or_speaks_unasked_is_dropped(kept: Kept) -> None:
    for _ in range(3):
        kept.pool.give(KEY, await kept.connect())
    ends, speaks, resets = kept.peers
    ends.close()
    await send(speaks, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    resets.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    resets.close()
    await until_empty(kept.pool)
    assert kept.pool.take(KEY) is None
    kept.close()
    assert kept.deadlines.pending() == 0


async def test_one_waits_for_a_bounded_time_and_is_used_for_a_bounded_time(kept: Kept) -> None:
    connection = await kept.connect()
    kept.pool.give(KEY, connection)
    kept.deadlines.advance(1)
    late = await kept.connect()
    kept.pool.give(KEY, late)
    kept.deadlines.advance(pools.IDLE_SECONDS)
    assert len(kept.pool) == 1
    kept.deadlines.advance(pools.IDLE_SECONDS)
    assert len(kept.pool) == 0
    assert kept.deadlines.pending() == 0
    assert connection.stream.transport.is_closing()
    old = await kept.connect()
    kept.deadlines.advance(pools.LONGEST_USE + 1)
    kept.pool.give(KEY, old)
    assert len(kept.pool) == 0
    assert old.stream.transport.is_closing()
    kept.close()


async def test_one_is_not_used_any_more_when_its_destination_is_about_to_close_it(kept: Kept) -> None:
    """What cannot be repeated would else meet the end, though nobody is at fault."""
    connection = await kept.connect()
    _says_how_long(connection, 5)
    for seconds, taken in ((3.5, connection), (4.5, None)):
        kept.pool.give(KEY, connection)
        kept.deadlines.advance(seconds)
        assert kept.pool.take(KEY) is taken
    assert connection.stream.transport.is_closing()
    assert len(kept.pool) == 0
    kept.close()


def _says_how_long(connection: UpstreamConnection, seconds: int) -> None:
    request, said = Request("GET", "/", 1, (), NO_CONTENT), (("Keep-Alive", f"max=100, timeout={seconds}"),)
    connection.last_response = plan_response(
        request, Response(200, "OK", 1, said, Framing(Delimiter.LENGTH, 2)), "gw", None
    )


async def test_they_are_bounded_in_number(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "IDLE_FOR_ONE_KEY", 2)
    kept.hold_at_most(3)
    others = [key_of(f"10.0.0.{number}") for number in (2, 3)]
    for key in (KEY, KEY, KEY, *others):
        kept.pool.give(key, await kept.connect())
    assert len(kept.pool) == 3
    assert kept.pool.take(others[1]) is None
    kept.close()
    assert len(kept.pool) == 0


async def test_one_client_leaves_room_for_the_others(kept: Kept) -> None:
    kept.hold_at_most(8)
    for port in range(443, 453):
        kept.pool.give(key_of("10.0.0.1", port), await kept.connect())
    assert len(kept.pool) == 4
    for port in range(443, 453):
        kept.pool.give(key_of("10.0.0.2", port), await kept.connect())
    assert len(kept.pool) == 6
    kept.pool.give(key_of("10.0.0.3"), await kept.connect())
    assert len(kept.pool) == 7
    for port in range(443, 447):
        connection = kept.pool.take(key_of("10.0.0.1", port))
        assert connection is not None
        connection.close()
    kept.pool.give(key_of("10.0.0.1"), await kept.connect())  # what it does not keep any more does not count
    assert len(kept.pool) == 4
    kept.close()


def key_of(client: str, port: int = 443) -> PoolKey:
    permit = replace(PERMIT, authority=PERMIT.authority._replace(port=port))
    return pool_key(CLIENT._replace(address=address(client)), permit, PEER)


async def test_what_may_not_be_repeated_gets_none_that_has_rested(kept: Kept) -> None:
    """Its destination may be closing it, and would have the request neither answered nor known to be lost."""
    for told, seconds, is_taken in ((0, 0.9, True), (0, 1.1, False), (5, 3.9, True), (5, 4.1, False)):
        connection = await kept.connect()
        if told:
            _says_how_long(connection, told)
        kept.pool.give(KEY, connection)
        kept.deadlines.advance(seconds)
        taken = kept.pool.take(KEY, may_repeat=False)
        assert taken is (connection if is_taken else None)
    assert len(kept.pool) == 0  # a fresh one takes its place
    kept.pool.give(KEY, await kept.connect())
    kept.deadlines.advance(1.1)
    assert kept.pool.take(KEY) is not None
    kept.close()


@pytest.mark.parametrize("end", [socket.SHUT_RDWR, None])
async def test_what_may_not_be_repeated_gets_none_whose_end_has_come_and_was_not_told_yet(
    kept: Kept, end: int | None
) -> None:
    connections = [await kept.connect() for _ in range(2)]
    for connection in connections:
        kept.pool.give(KEY, connection)
    if end is None:
        kept.peers[1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        kept.peers[1].close()
    else:
        kept.peers[1].shutdown(end)
    assert select.select([connections[1].stream.fileno()], [], [], 30)[0]  # the loop does not look meanwhile
    assert kept.pool.take(KEY, may_repeat=False) is None
    assert len(kept.pool) == 1
    kept.close()


async def test_one_whose_last_answer_had_to_wait_for_its_client_is_read_while_it_waits(kept: Kept) -> None:
    """Else nobody would see that the destination closes it, and the next request would be lost on it."""
    connection = await kept.connect()
    connection.inlet.pause()
    kept.pool.give(KEY, connection)
    kept.peers[0].close()
    await until_empty(kept.pool)
    kept.close()


async def test_one_that_has_answered_without_reading_is_not_clean(kept: Kept) -> None:
    """Else each request could leave some more in its queue."""
    connection = await kept.connect()
    was_clean = connection.is_clean
    while not connection.stream.is_congested:
        connection.stream.write(bytes(64 * 1024))
        await asyncio.sleep(0)
    assert (was_clean, connection.is_clean) == (True, False)
    connection.close()
    kept.close()


class Full:
    """Fulfils `upstream.Shared`: no exchange more goes over it."""

    has_room = False
    idle_since = None

    def new_stream(self) -> UpstreamSide:
        raise AssertionError("it has no room")

    def close(self) -> None:
        """Nothing to close."""


@pytest.mark.parametrize(
    "failure",
    [
        UpstreamError(Reason.CONNECTION_TIMEOUT, "not connected", retry=Retry(1.0)),
        Refused(Deny(Reason.LIMIT_EXCEEDED, 1, detail="new-connections"), Retry(7.0)),
    ],
    ids=["a failure", "a refusal"],
)
async def test_who_waited_for_a_dial_that_failed_is_told_so_and_does_not_wait_for_one_of_its_own(
    kept: Kept, failure: UpstreamError | Refused
) -> None:
    """Else a hundred streams to a destination that is silent would wait a hundred connect time-outs, one by one."""
    kept.pool.share(KEY, Full())
    dials = 0
    may_fail = asyncio.Event()

    async def dial() -> UpstreamSide:
        nonlocal dials
        dials += 1
        await may_fail.wait()
        raise failure

    asking = [asyncio.ensure_future(kept.pool.reach(KEY, dial, may_repeat=True)) for _ in range(100)]
    await asyncio.sleep(0)
    may_fail.set()
    outcomes = await asyncio.gather(*asking, return_exceptions=True)
    told = {(type(each), str(each), getattr(each, "retry", None)) for each in outcomes}
    assert told == {(type(failure), str(failure), failure.retry)}
    assert len({id(each) for each in outcomes}) == len(outcomes)  # each goes through frames of its own
    assert dials == 1
    with pytest.raises(type(failure)):
        await kept.pool.reach(KEY, dial, may_repeat=True)
    assert dials == 2
    kept.close()


async def test_who_can_share_the_connection_that_is_being_dialled_needs_none_of_its_own(kept: Kept) -> None:
    assert kept.pool.needs_dial(KEY)
    kept.pool.share(KEY, Full())
    assert kept.pool.needs_dial(KEY)
    may_go_on = asyncio.Event()

    async def dial() -> UpstreamSide:
        await may_go_on.wait()
        raise UpstreamError(Reason.CONNECTION_TIMEOUT)

    dialling = asyncio.ensure_future(kept.pool.reach(KEY, dial, may_repeat=True))
    await asyncio.sleep(0)
    assert not kept.pool.needs_dial(KEY)
    may_go_on.set()
    await asyncio.wait([dialling])
    assert kept.pool.needs_dial(KEY)
    kept.close()


async def test_a_failure_that_is_owed_is_met_once_and_needs_no_dial(kept: Kept) -> None:
    kept.pool.owe(KEY, UpstreamError(Reason.UPSTREAM_TLS_FAILED))
    assert not kept.pool.needs_dial(KEY)
    with pytest.raises(UpstreamError, match="upstream_tls_failed"):
        kept.pool.take(KEY)
    assert kept.pool.needs_dial(KEY)
    assert kept.pool.take(KEY) is None
    kept.close()


@pytest.mark.parametrize(
    ("presents", "reason"), [(False, Reason.UPSTREAM_WANTS_CERTIFICATE), (True, Reason.UPSTREAM_TLS_ALERT)]
)
async def test_what_a_server_says_of_a_certificate_of_ours_is_that_it_wants_one_where_it_saw_none(
    kept: Kept, presents: bool, reason: Reason
) -> None:
    """Java's says so when our side of the handshake of TLS 1.3 is over."""
    connection = await kept.connect(presents)
    connection.stream.alert = "bad certificate"
    connection.inlet.lost()
    with pytest.raises(UpstreamError) as refusal:
        connection.check()
    assert refusal.value.reason is reason
