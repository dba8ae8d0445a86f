"""An open tunnel with its relay running, the client's and the origin's sockets in the test's own hands."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gateway.model.record import Transfer
from gateway.net.kernel.descriptors import Descriptors
from gateway.net.relay import Joining, Relay, join
from gateway.net.splice import Splices
from gateway.net.stream import Stream
from tests.helpers.deadlines import HandDeadlines
from tests.helpers.streams import stream_and_peer

EAGER = 4096
"""Bytes after which `kernel_form` splices."""


def user_form() -> Splices:
    """Nothing is spliced."""
    return Splices(descriptors=Descriptors(0))


def kernel_form() -> Splices:
    """Nearly everything is."""
    return Splices(bulk=EAGER, large=1)


@dataclass(slots=True)
class Tunnel:
    client: socket.socket
    origin: socket.socket
    downstream: Stream
    upstream: Stream
    transfer: Transfer
    deadlines: HandDeadlines
    splices: Splices
    relay: Relay
    running: asyncio.Task[None]

    async def over(self) -> Transfer:
        """Wait for the relay's own end."""
        await asyncio.wait_for(asyncio.shield(self.running), 20)
        return self.transfer


@asynccontextmanager
async def open_tunnel(splices: Splices, idle: float = 3600.0, lifetime: float | None = None) -> AsyncIterator[Tunnel]:
    """Closes everything as `serve` does. Nothing may stay: neither alarm nor splice."""
    downstream, client = await stream_and_peer()
    upstream, origin = await stream_and_peer()
    deadlines, transfer = HandDeadlines(), Transfer()
    relay = Relay(downstream, upstream, transfer, deadlines, splices, idle, lifetime, lambda: 17.5)
    running = asyncio.ensure_future(run(relay, downstream, upstream))
    try:
        yield Tunnel(client, origin, downstream, upstream, transfer, deadlines, splices, relay, running)
    finally:
        running.cancel()
        await asyncio.wait([running])
        client.close()
        origin.close()
    assert deadlines.pending() == 0
    assert splices.open == 0


async def run(relay: Relay, downstream: Stream, upstream: Stream, joining: Joining = join) -> None:
    try:
        await relay.run(joining)
        await upstream.aclose()
        await downstream.aclose()
    finally:
        upstream.abort()
        downstream.abort()
