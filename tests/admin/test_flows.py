"""/flows: Server-Sent Events from a real listener."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import httpx
import pytest

from gateway.admin import flows
from gateway.admin.flows import Wish
from gateway.admin.server import AdminServer
from gateway.telemetry.flows.filters import FlowFilter
from gateway.telemetry.flows.ring import Ring
from tests.admin.test_server import FakeGateway


class Bed:
    """A running server and the ring that it reads."""

    def __init__(self, port: int, ring: Ring) -> None:
        self.url = f"http://127.0.0.1:{port}/flows"
        self.port = port
        self.ring = ring
        self._count = 0

    def put(self, count: int = 1, **values: object) -> None:
        lines = []
        for _ in range(count):
            self._count += 1
            flow = {"id": self._count, "decision": "allow", "ended": "closed", **values}
            lines.append(json.dumps(flow).encode() + b"\n")
        self.ring.put(b"".join(lines))

    async def events(self, query: str = "", **headers: str) -> list[dict[str, str]]:
        """Of a stream that ends."""
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(self.url + query, headers=headers)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        blocks = [block.splitlines() for block in answer.text.split("\n\n") if block]
        return [dict(line.split(": ", 1) for line in block if ": " in line) for block in blocks]

    async def ids(self, query: str = "") -> list[int]:
        return [json.loads(event["data"])["id"] for event in await self.events(query) if "data" in event]


@pytest.fixture
async def bed() -> AsyncIterator[Bed]:
    gateway = FakeGateway()
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = AdminServer(gateway, listener)
    await server.start()
    yield Bed(port, gateway.flows)
    gateway.flows.close()
    await server.stop()


async def test_the_last_twenty_are_shown_and_the_stream_ends(bed: Bed) -> None:
    bed.put(30)
    assert await bed.ids() == list(range(11, 31))
    assert await bed.ids("?last=3") == [28, 29, 30]
    assert await bed.ids("?last=0") == []


async def test_filters_work_here_and_last_counts_what_they_leave(bed: Bed) -> None:
    for number in range(300):
        bed.put(decision="deny" if number % 100 == 0 else "allow", host="a.test", port=443)
    assert await bed.ids("?verdict=dropped") == [1, 101, 201]
    assert await bed.ids("?verdict=dropped&last=2&to_fqdn=*.test") == [101, 201]
    assert await bed.ids("?verdict=dropped&port=80") == []


async def test_since_looks_at_when_it_ended(bed: Bed) -> None:
    now = time.time()
    bed.ring._now = lambda: now - 100
    bed.put(30)
    bed.ring._now = lambda: now - 1
    bed.put(25)
    assert await bed.ids("?since=50.5") == list(range(31, 56))
    assert await bed.ids("?since=50&last=2") == [54, 55]


@pytest.mark.parametrize(
    "query",
    [
        "?what=1",
        "?token=s3cret",
        "?last=-1",
        "?last=x",
        "?since=1e9",
        "?verdict=deny",
        "?port=0",
        "?last=" + "9" * 20,
    ],
)
async def test_what_cannot_be_asked_for_is_400(bed: Bed, query: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(bed.url + query)).status_code == 400
        assert (await client.get(bed.url, headers={"Last-Event-ID": "7"})).status_code == 400


async def test_who_follows_gets_what_comes_and_goes_on_where_the_stream_ended(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows, "STREAM_SECONDS", 0.3)
    bed.put(5)
    following = asyncio.ensure_future(bed.events("?follow=true&verdict=dropped"))
    while bed.ring._grown is None:  # noqa: ASYNC110  # the ring tells nobody who waits
        await asyncio.sleep(0.01)
    bed.put(2, decision="deny")
    bed.put(3)
    events = await following
    assert [json.loads(event["data"])["id"] for event in events if "data" in event] == [6, 7]
    # The last word is where to go on: what was not wanted is not looked at again.
    assert events[-1] == {"id": f"{bed.ring.epoch}-10"}
    bed.put(1, decision="deny")
    again = await bed.events("?follow=true&verdict=dropped", **{"Last-Event-ID": events[-1]["id"]})
    assert [json.loads(event["data"])["id"] for event in again if "data" in event] == [11]


async def test_who_follows_knows_at_once_where_to_go_on_though_nothing_was_wanted_yet(bed: Bed) -> None:
    bed.put(3)
    reader, writer = await asyncio.open_connection("127.0.0.1", bed.port)
    writer.write(b"GET /flows?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n")
    async with asyncio.timeout(flows.STREAM_SECONDS / 2):
        await reader.readuntil(f"id: {bed.ring.epoch}-3".encode())
    writer.close()


async def test_what_comes_while_the_past_is_told_is_told_once() -> None:
    ring = Ring()
    for number in range(3):
        ring.put(b"".join(b'{"id":%d}\n' % (100 * number + each) for each in range(100)))
    events = flows._events(ring, Wish(FlowFilter({}), follow=True, last=None, since=0.0, place=None))
    told: list[int] = []

    async def come() -> None:
        for number in range(300, 320):
            ring.put(b'{"id":%d}\n' % number)
            await asyncio.sleep(0)

    coming = asyncio.create_task(come())
    async with aclosing(events), asyncio.timeout(10):
        async for event in events:
            told += [json.loads(line[6:])["id"] for line in event.splitlines() if line.startswith(b"data: ")]
            if len(told) >= 320:
                break
    await coming
    assert told == list(range(320))


async def test_of_another_start_of_the_gateway_all_is_new(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "STREAM_SECONDS", 0.2)
    bed.put(2)
    events = await bed.events("?follow=true", **{"Last-Event-ID": "00000000-999"})
    assert [json.loads(event["data"])["id"] for event in events if "data" in event] == [1, 2]


async def test_who_comes_late_is_told_how_many_are_gone(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "STREAM_SECONDS", 0.2)
    bed.ring._most_flows = 10
    for _ in range(4):
        bed.put(5)
    events = await bed.events("?follow=true", **{"Last-Event-ID": f"{bed.ring.epoch}-3"})
    assert {"event": "missed", "data": '{"missed":7}'} in events


async def test_so_many_may_read_and_one_that_leaves_makes_room(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "READERS", 2)
    request = b"GET /flows?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n"
    streams = [await asyncio.open_connection("127.0.0.1", bed.port) for _ in range(2)]
    for reader, writer in streams:
        writer.write(request)
        assert b"200" in await reader.readline()
        await reader.readuntil(b"retry: 100")
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(bed.url)).status_code == 503
        streams[0][1].close()
        async with asyncio.timeout(5):
            while (await client.get(bed.url)).status_code != 200:
                bed.put()
                await asyncio.sleep(0.02)
    streams[1][1].close()


async def test_other_pages_take_no_query_still(bed: Bed) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"http://127.0.0.1:{bed.port}/tunnels?a=1")).status_code == 400
