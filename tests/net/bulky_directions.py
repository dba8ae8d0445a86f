"""A program for test_splice.py: as a user with few pipe pages, 200 bulky directions at once, compared byte for byte."""

import asyncio
import os
import random
import socket
import sys

import uvloop

from gateway.model.record import Transfer
from gateway.net.relay import Relay
from gateway.net.splice import Splices
from tests.helpers.deadlines import HandDeadlines
from tests.helpers.streams import receive, send, stream_and_peer

TUNNELS = 100
HALF = 600_000  # bytes
NOISE = random.Random(3).randbytes(2 * HALF + 2 * TUNNELS)


async def carry(source: socket.socket, sink: socket.socket, offset: int, halfway: asyncio.Barrier) -> None:
    """One direction, half of it when all others have reached the half as well."""
    for start in (offset, offset + HALF):
        sending = asyncio.ensure_future(send(source, NOISE[start : start + HALF]))
        at = start
        while at < start + HALF:
            data = await receive(sink)
            assert data
            assert NOISE.startswith(data, at)
            at += len(data)
        await sending
        await halfway.wait()


async def move_all(splices: Splices) -> int:
    """Answers how many directions were spliced at the same time."""
    halfway = asyncio.Barrier(2 * TUNNELS + 1)
    carries, relays, transfers = [], [], []
    for number in range(TUNNELS):
        downstream, client = await stream_and_peer()
        upstream, origin = await stream_and_peer()
        transfers.append(Transfer())
        relay = Relay(downstream, upstream, transfers[-1], HandDeadlines(), splices, 60.0)
        relays.append(asyncio.ensure_future(relay.run()))
        carries.append(asyncio.ensure_future(carry(client, origin, 2 * number, halfway)))
        carries.append(asyncio.ensure_future(carry(origin, client, 2 * number + 1, halfway)))
    await halfway.wait()
    at_once = splices.open
    await asyncio.gather(halfway.wait(), *carries)
    assert {(transfer.bytes_up, transfer.bytes_down) for transfer in transfers} == {(2 * HALF, 2 * HALF)}
    for running in relays:
        running.cancel()
    await asyncio.wait(relays)
    assert splices.open == 0
    return at_once


if __name__ == "__main__":
    os.setgroups([])
    os.setgid(int(sys.argv[1]))
    os.setuid(int(sys.argv[1]))
    print(f"{2 * TUNNELS} directions arrived, {uvloop.run(move_all(Splices()))} of them spliced at once")
