"""The connection to Redis: one server, one behind Sentinels, or a cluster. Every call ends in time, with an answer or
with `StoreUnavailable`; what redis-py raises goes no further.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from hashlib import sha1
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError

from gateway.limits.replicas.script import ALIVE_SECONDS, DEAD_SECONDS, LUA, MEMBERS
from gateway.limits.store_url import StoreUrl
from gateway.limits.tables.table import StoreUnavailable

ANSWER_SECONDS = 0.5
CONNECTIONS = 16

_SHA = sha1(LUA.encode(), usedforsecurity=False).hexdigest()  # as Redis names scripts
_HEARTBEAT = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local newest = tonumber(redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2] or now)
local alive = tonumber(ARGV[3])
if newest > now + alive or (newest < now - alive and redis.call('ZSCORE', KEYS[1], ARGV[1])) then
  local members = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
  for i = 1, #members, 2 do
    redis.call('ZADD', KEYS[1], string.format('%.3f', members[i + 1] + now - newest), members[i])
  end
end
redis.call('ZADD', KEYS[1], string.format('%.3f', now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[2]) * 6)
redis.call('EXPIRE', KEYS[1], 86400)
return redis.call('ZCOUNT', KEYS[1], now - alive, '+inf')
"""
"""Where the newest heartbeat is in the future, or old although a member known there is sending another, the server's
clock was set: all are moved along with it."""


class Link:
    """`member` names this process among all that share the store."""

    def __init__(self, url: StoreUrl, member: str) -> None:
        self.member = member
        self._sentinels = _open_sentinels(url)
        self._client: Any = _open(url) if self._sentinels is None else _master_of(self._sentinels, url)

    async def run(self, keys: Sequence[str], arguments: Sequence[str]) -> Sequence[bytes | int]:
        """The script's answer. Raises `StoreUnavailable`."""
        return await _in_time(self._run(keys, arguments))  # type: ignore[no-any-return]  # the script says what it answers

    async def _run(self, keys: Sequence[str], arguments: Sequence[str]) -> Any:
        try:
            return await self._client.evalsha(_SHA, len(keys), *keys, *arguments)
        except NoScriptError:  # we are the first there, or it was restarted, or it is another master
            return await self._client.eval(LUA, len(keys), *keys, *arguments)

    async def send_heartbeat(self) -> int:
        """Send a heartbeat; returns the number of members. Raises `StoreUnavailable`."""
        arguments = self.member, str(DEAD_SECONDS), str(ALIVE_SECONDS)
        members = await _in_time(self._client.eval(_HEARTBEAT, 1, MEMBERS, *arguments))
        if not isinstance(members, int):
            raise StoreUnavailable("invalid answer to a heartbeat")
        return members

    async def forget(self) -> None:
        """Use no connection again that was opened before the store failed."""
        pool = getattr(self._client, "connection_pool", None)
        if pool is not None:
            await _at_all_events(pool.disconnect(inuse_connections=False))

    async def close(self) -> None:
        """Close every connection."""
        await _at_all_events(self._client.aclose())
        for sentinel in self._sentinels.sentinels if self._sentinels is not None else ():
            await _at_all_events(sentinel.aclose())


async def _in_time(call: Awaitable[Any]) -> Any:
    """The call's answer. Raises `StoreUnavailable`. Within redis-py a cancellation may become a connection error, but
    a task that is cancelled has to end."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await call
    except Exception as failure:  # where no Redis answers, redis-py raises whatever its parser stumbles over
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError from failure
        raise StoreUnavailable(type(failure).__name__) from failure


async def _at_all_events(closing: Awaitable[Any]) -> None:
    """A server that hangs does not take leave, as TLS has it: its connections are closed all the same."""
    with suppress(StoreUnavailable):
        await _in_time(closing)


def _login(url: StoreUrl) -> dict[str, Any]:
    return {"username": url.username, "password": url.password}


def _usual(url: StoreUrl) -> dict[str, Any]:
    return {
        "socket_timeout": ANSWER_SECONDS,
        "socket_connect_timeout": ANSWER_SECONDS,
        **({"ssl": True, **url.options} if url.tls else {}),
    }


def _open_sentinels(url: StoreUrl) -> Any:
    """The Sentinels of the URL, None if it names none."""
    if url.form != "sentinel":
        return None
    usual = _usual(url)
    return Sentinel(url.hosts, sentinel_kwargs=usual, **_login(url), **usual)  # type: ignore[no-untyped-call]  # redis-py


def _master_of(sentinels: Any, url: StoreUrl) -> Any:
    retry = Retry(NoBackoff(), 0)
    return sentinels.master_for(url.service, db=url.database, retry=retry, max_connections=CONNECTIONS)


def _open(url: StoreUrl) -> Any:
    login, usual = _login(url), _usual(url)
    if url.form == "cluster":
        nodes = [ClusterNode(host, port) for host, port in url.hosts]
        return RedisCluster(startup_nodes=nodes, max_connections=CONNECTIONS, **login, **usual)
    retry = Retry(NoBackoff(), 0)
    (host, port), *_ = url.hosts
    scheme = "rediss" if url.tls else "redis"
    usual.pop("ssl", None)
    pool = BlockingConnectionPool.from_url(
        f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/{url.database}",
        max_connections=CONNECTIONS,
        timeout=ANSWER_SECONDS,
        retry=retry,
        **{key: value for key, value in login.items() if value is not None},
        **usual,
    )
    return Redis.from_pool(pool)
