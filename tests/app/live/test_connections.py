"""Every accepted connection is a task; draining waits for them, then cuts them off, and none goes unrecorded."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from gateway.app.live.admission import Admission, Ceiling
from gateway.app.live.connections import Connections
from gateway.model.reasons import Reason
from gateway.net.kernel.descriptors import Descriptors
from gateway.serve.services import Services
from tests.helpers.streams import receive_all, send, stream_and_peer
from tests.helpers.walk import LOOPBACK, FakeDialer, KeepingRecorder, StuckDialer, build_services
from tests.policy.builders import build, rule

CONNECT = b"CONNECT x.test:443 HTTP/1.1\r\nHost: x.test:443\r\n\r\n"
LONG = 30.0


class Bed:
    """Live connections, and the sockets of their clients."""

    def __init__(self, services: Services, recorder: KeepingRecorder) -> None:
        self.services = services
        self.recorder = recorder
        self.admission = Admission(Ceiling(1000, 1000), Descriptors(), lambda: False, time.monotonic)
        self.connections = Connections(asyncio.get_running_loop(), services, self.admission)
        self.clients: list[socket.socket] = []

    async def connect(self) -> socket.socket:
        """A client whose connection was just accepted; its task has not begun."""
        stream, client = await stream_and_peer()
        self.clients.append(client)
        self.connections.accept("proxy", stream, (LOOPBACK, 40000 + len(self.clients)))
        return client

    def reasons(self) -> list[Reason | None]:
        """Of all records, in the order of the accepts."""
        return [draft.reason for draft in sorted(self.recorder.drafts, key=lambda draft: draft.peer)]


@asynccontextmanager
async def bed(dialer: FakeDialer | StuckDialer | None = None) -> AsyncIterator[Bed]:
    recorder = KeepingRecorder()
    made = Bed(build_services(build(rule("x", "x.test")), dialer or FakeDialer(), recorder), recorder)
    try:
        yield made
        assert len(made.connections) == 0
    finally:
        await made.connections.drain(0)
        for client in made.clients:
            client.close()


async def test_a_connection_counts_from_its_accept_to_its_record() -> None:
    async with bed() as it:
        client = await it.connect()
        assert len(it.connections) == 1
        client.close()
        await it.connections.drain(LONG)
        [draft] = it.recorder.drafts
        assert (draft.listener, draft.peer, draft.reason) == ("proxy", (LOOPBACK, 40001), Reason.CLIENT_CLOSED)
        assert len(draft.connection_id) == 16


async def test_connections_have_ids_of_their_own() -> None:
    async with bed() as it:
        for _ in range(50):
            (await it.connect()).close()
        await it.connections.drain(LONG)
        assert len({draft.connection_id for draft in it.recorder.drafts}) == 50


async def test_draining_nothing_takes_no_time() -> None:
    async with bed() as it:
        async with asyncio.timeout(5):
            await it.connections.drain(LONG)
        assert it.services.draining


async def test_draining_waits_for_what_ends_by_itself_and_refuses_what_is_asked_for_meanwhile() -> None:
    async with bed() as it:
        client = await it.connect()
        draining = asyncio.create_task(it.connections.drain(LONG))
        await asyncio.sleep(0)
        assert it.services.draining
        await send(client, CONNECT)
        assert (await receive_all(client)).startswith(b"HTTP/1.1 503 ")
        assert not draining.done()
        client.close()
        await asyncio.wait_for(draining, 5)
        assert it.reasons() == [Reason.DRAINING]


async def test_what_outlives_the_drain_is_cut_off_and_recorded() -> None:
    dialer = StuckDialer()
    async with bed(dialer) as it:
        client = await it.connect()
        await send(client, CONNECT)
        await dialer.dialling.wait()
        await it.connections.drain(0.05)
        with suppress(ConnectionResetError):
            assert await receive_all(client) == b""
        assert it.reasons() == [Reason.DRAINING]


async def test_cutting_off_ends_a_drain_that_would_go_on() -> None:
    dialer = StuckDialer()
    async with bed(dialer) as it:
        client = await it.connect()
        await send(client, CONNECT)
        await dialer.dialling.wait()
        draining = asyncio.create_task(it.connections.drain(LONG))
        await asyncio.sleep(0)
        it.connections.cut_off()
        await asyncio.wait_for(draining, 5)
        assert it.reasons() == [Reason.DRAINING]


async def test_a_connection_that_is_cut_off_before_its_task_began_is_recorded_and_closed_like_any() -> None:
    async with bed() as it:
        client = await it.connect()
        it.connections.cut_off()
        await it.connections.drain(LONG)
        assert it.reasons() == [Reason.DRAINING]
        with suppress(ConnectionResetError):
            assert await receive_all(client) == b""


async def test_whoever_does_not_fit_in_is_told_so_and_recorded_without_having_said_anything() -> None:
    async with bed() as it:
        it.admission.ceiling = Ceiling(1, 1000)
        first, second = await it.connect(), await it.connect()
        second.shutdown(socket.SHUT_WR)
        assert (await receive_all(second)).startswith(b"HTTP/1.1 503 Gateway is full")
        assert it.reasons() == [Reason.TOO_MANY_TUNNELS]
        assert len(it.connections) == 1
        first.close()
        await it.connections.drain(LONG)
        assert it.reasons() == [Reason.CLIENT_CLOSED, Reason.TOO_MANY_TUNNELS]
        third = await it.connect()  # there is room again
        assert len(it.connections) == 1
        third.close()
        await it.connections.drain(LONG)


async def test_when_too_many_are_being_told_further_ones_are_reset_and_recorded() -> None:
    async with bed() as it:
        nobody = Admission(Ceiling(0, 1000), Descriptors(8), lambda: False, time.monotonic)  # of them one is kept back
        it.connections = Connections(asyncio.get_running_loop(), it.services, nobody)
        client = await it.connect()
        with pytest.raises(ConnectionResetError):
            await receive_all(client)
        [draft] = it.recorder.drafts
        assert (draft.reason, draft.status) == (Reason.TOO_MANY_TUNNELS, None)


async def test_only_a_transparent_listener_asks_where_a_connection_was_going() -> None:
    async with bed() as it:
        it.connections = Connections(asyncio.get_running_loop(), it.services, it.admission, transparent=["captured"])
        for listener in ("captured", "proxy"):
            stream, client = await stream_and_peer()
            it.clients.append(client)
            own = stream.transport.get_extra_info("sockname")
            it.connections.accept(listener, stream, (LOOPBACK, 40000))
            client.close()
            await it.connections.drain(LONG)
            expected = (LOOPBACK, own[1]) if listener == "captured" else None
            assert it.recorder.drafts.pop().original == expected
