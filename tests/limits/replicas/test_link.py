"""Where a store is, as its URL says."""

import asyncio

import pytest

from gateway.limits.replicas import link
from gateway.limits.replicas.link import Link
from gateway.limits.store_url import StoreUrl, parse_store_url
from gateway.limits.tables.table import StoreUnavailable


@pytest.mark.parametrize("form", ["redis", "redis+sentinel", "redis+cluster"])
async def test_whoever_reaches_nobody_is_told_so_in_every_form(form: str) -> None:
    """A client of a cluster has errors of its own, which are none of redis-py's others."""
    made = Link(parse_store_url(f"{form}://127.0.0.1:1/{'name' if form.endswith('sentinel') else ''}"), "one")
    with pytest.raises(StoreUnavailable):
        await made.send_heartbeat()
    with pytest.raises(StoreUnavailable):
        await made.run([], [])
    await made.close()


@pytest.mark.parametrize("said", [b":abc\r\n", b"*1\r\n" * 20_000, b"$-7\r\n", b"+OK\r\n", b"HTTP/1.1 400 \r\n\r\n"])
async def test_whatever_no_redis_would_answer_is_no_answer(said: bytes) -> None:
    """redis-py raises what its parser meets: a ValueError, a RecursionError."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            writer.write(said)
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    made = Link(parse_store_url(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"), "one")
    try:
        with pytest.raises(StoreUnavailable):
            await made.send_heartbeat()
    finally:
        await made.close()
        server.close()
        await server.wait_closed()


class Swallowing:
    """A client as redis-py can be: what is cancelled in a call is told as a lost connection."""

    def __init__(self, _: StoreUrl) -> None:
        self.asked = asyncio.Event()

    async def eval(self, *_: object) -> int:
        self.asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as cancelled:
            raise ConnectionResetError from cancelled
        return 1

    async def aclose(self) -> None:
        return None


async def test_who_is_cancelled_in_a_call_ends_whatever_the_client_makes_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    clients: list[Swallowing] = []

    def opening(url: StoreUrl) -> Swallowing:
        clients.append(Swallowing(url))
        return clients[-1]

    monkeypatch.setattr(link, "_open", opening)
    made = Link(parse_store_url("redis://nobody"), "one")
    asking = asyncio.create_task(made.send_heartbeat())
    await clients[0].asked.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await made.close()
