"""Limits in a real Redis whose clock is set forward or back: by NTP, or because another server takes over."""

from collections.abc import AsyncIterator
from hashlib import sha1
from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.limits.replicas import link as links
from gateway.limits.replicas.link import Link
from gateway.limits.replicas.script import (
    DEAD_SECONDS,
    LUA,
    TAG,
    Answer,
    SentDraw,
    arguments_for,
    keys_for,
    read_answer,
)
from gateway.limits.store_url import parse_store_url
from gateway.model.limits.limit import Counted, Limit
from gateway.policy.buckets import Draw
from tests.helpers.redis_server import RedisServer

HOUR = 3600.0
NOON = 20_000 * 86_400.0 + 12 * HOUR
RATE = Limit("rate", Counted.CONNECTIONS, rate=1.0, burst=5.0)
PACE = Limit("pace", Counted.BANDWIDTH, rate=1000.0, burst=1000.0)
HOURLY = Limit("hourly", Counted.BYTES, rate=100.0, period=HOUR)
HELD = Limit("held", Counted.CONCURRENT, rate=4.0)
CLOCK = f"{TAG}:clock"


def with_clock(script: str) -> str:
    """The same script by the clock that the test sets."""
    assert script.count("redis.call('TIME')") == 1
    return script.replace("redis.call('TIME')", f"redis.call('LRANGE', '{CLOCK}', 0, 1)")


class Server:
    """A Redis whose scripts read its time where a test sets it; keys expire by that time, too."""

    def __init__(self, url: str) -> None:
        self._client = Redis.from_url(url)
        self._url = url
        self._links: list[Link] = []
        self._holds: dict[str, int] = {}
        self._order = 0
        self.now = NOON

    def member(self, name: str) -> Link:
        self._links.append(Link(parse_store_url(self._url), name))
        return self._links[-1]

    async def set_clock(self, change: float) -> None:
        self.now += change
        await self._client.delete(CLOCK)
        await self._client.rpush(CLOCK, int(self.now), round(self.now % 1 * 1e6))
        for key in await self._client.keys(f"{TAG}:*"):
            left = await self._client.pttl(key)
            if left >= 0:
                await self._client.pexpire(key, max(0, int(left - change * 1000)))

    async def ask(self, link: Link, limit: Limit, amount: float = 1.0, forced: bool = False) -> Answer:
        self._order += 1
        holds = self._holds[link.member] = self._holds.get(link.member, 0) + 1
        asked = [SentDraw(Draw(limit, (), amount), limit, floor=self._order, own=holds)]
        if limit.counted is not Counted.CONCURRENT:
            asked = [SentDraw(Draw(limit, (), amount), limit)]
        answer = read_answer(await link.run(keys_for(asked), arguments_for(link.member, asked, forced)), len(asked))
        if not answer.taken:
            self._holds[link.member] -= 1
        return answer

    async def passes(self, link: Link, limit: Limit) -> int:
        """How many come through now."""
        count = 0
        while (await self.ask(link, limit)).taken:
            count += 1
        return count

    async def close(self) -> None:
        for link in self._links:
            await link.close()
        await self._client.aclose()


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    lua, presence = with_clock(LUA), with_clock(links._HEARTBEAT)
    monkeypatch.setattr(links, "ANSWER_SECONDS", 30.0)
    monkeypatch.setattr(links, "LUA", lua)
    monkeypatch.setattr(links, "_SHA", sha1(lua.encode(), usedforsecurity=False).hexdigest())
    monkeypatch.setattr(links, "_HEARTBEAT", presence)
    with RedisServer(tmp_path) as redis:
        server = Server(redis.url)
        await server.set_clock(0.0)
        yield server
        await server.close()


@pytest.mark.parametrize("change", [-0.5, -7.0, -HOUR])
async def test_a_rate_goes_on_as_it_was_when_the_clock_is_set_back(server: Server, change: float) -> None:
    one = server.member("one")
    assert await server.passes(one, RATE) == 5
    await server.set_clock(change)
    refused = await server.ask(one, RATE)
    assert not refused.taken
    assert refused.wait == pytest.approx(1.0, abs=1e-3)
    await server.set_clock(1.001)
    assert await server.passes(one, RATE) == 1
    await server.set_clock(-change)  # and put right again
    assert await server.passes(one, RATE) <= 5


@pytest.mark.parametrize("change", [-7.0, -HOUR])
async def test_bytes_wait_no_longer_when_the_clock_is_set_back(server: Server, change: float) -> None:
    one = server.member("one")
    before = await server.ask(one, PACE, 3000.0, forced=True)
    await server.set_clock(change)
    after = await server.ask(one, PACE, 0.0, forced=True)
    assert after.draws[0].number == pytest.approx(before.draws[0].number, abs=1e-3)


async def test_a_clock_that_is_set_forward_gives_a_burst_once(server: Server) -> None:
    one = server.member("one")
    assert await server.passes(one, RATE) == 5
    await server.set_clock(HOUR)
    assert await server.passes(one, RATE) == 5
    await server.set_clock(-HOUR)
    assert await server.passes(one, RATE) == 0


async def test_a_budget_is_had_once_more_at_most_when_the_clock_is_set_back(server: Server) -> None:
    one = server.member("one")
    await server.set_clock(1.0)
    await server.ask(one, HOURLY, 100.0, forced=True)
    for _ in range(5):  # to and fro over the full hour
        await server.set_clock(-2.0)
        refused = await server.ask(one, HOURLY, 0.0)
        assert not refused.taken
        assert refused.wait <= HOUR
        await server.set_clock(2.0)
        if (await server.ask(one, HOURLY, 0.0)).taken:
            await server.ask(one, HOURLY, 100.0, forced=True)
    await server.set_clock(24 * HOUR)
    await server.ask(one, HOURLY, 100.0, forced=True)
    await server.set_clock(-24 * HOUR)
    refused = await server.ask(one, HOURLY, 0.0)
    assert (refused.taken, refused.wait <= HOUR) == (False, True)
    await server.set_clock(HOUR)
    assert (await server.ask(one, HOURLY, 0.0)).taken


@pytest.mark.parametrize("change", [30.0, -30.0, -HOUR])
async def test_what_the_living_hold_stays_held_when_the_clock_is_set(server: Server, change: float) -> None:
    one, other = server.member("one"), server.member("other")
    for member in (one, other):
        await member.send_heartbeat()
        assert [(await server.ask(member, HELD)).taken for _ in range(2)] == [True, True]
    await server.set_clock(change)
    assert not (await server.ask(one, HELD)).taken
    await one.send_heartbeat()
    assert not (await server.ask(one, HELD)).taken
    await server.set_clock(1.0)
    assert await other.send_heartbeat() == 2
    assert not (await server.ask(other, HELD)).taken


@pytest.mark.parametrize("change", [30.0, -30.0, -HOUR])
async def test_what_the_dead_hold_comes_back_in_time_when_the_clock_is_set(server: Server, change: float) -> None:
    one, dead = server.member("one"), server.member("dead")
    for member in (one, dead):
        await member.send_heartbeat()
    assert await server.passes(dead, HELD) == 4
    await server.set_clock(change)
    for _ in range(int(DEAD_SECONDS) + 2):
        await server.set_clock(1.0)
        await one.send_heartbeat()
    assert await server.passes(one, HELD) == 4


async def test_who_comes_new_after_the_clock_was_set_back_counts_as_alive(server: Server) -> None:
    await server.member("dead").send_heartbeat()
    await server.set_clock(-HOUR)
    one, other = server.member("one"), server.member("other")
    for member in (one, other):
        await member.send_heartbeat()
    assert await server.passes(one, HELD) == 4
    assert await server.passes(other, HELD) == 0
