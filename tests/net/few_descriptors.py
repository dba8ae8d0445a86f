"""A program for test_listener.py: a listener whose process runs out of descriptors, and has some again later."""

import asyncio
import resource
import socket
import subprocess
import sys
import time

import uvloop

from gateway.model.addresses import Address
from gateway.net.listener import Listener, Peer, open_listener
from gateway.net.stream import Stream

LIMIT = 40
CLIENTS = 60

KNOCK = f"""
import socket, sys
clients = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range({CLIENTS})]
print("knocked", flush=True)
sys.stdin.read()
"""


async def survive(sock: socket.socket, knocking: subprocess.Popen[bytes]) -> None:
    accepted: list[Stream] = []

    def accept(stream: Stream, _: Peer) -> None:
        accepted.append(stream)

    listener = Listener(sock, accept)
    await listener.start()
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
    assert knocking.stdout is not None
    await asyncio.get_running_loop().run_in_executor(None, knocking.stdout.readline)
    before = time.process_time()
    await asyncio.sleep(0.5)
    assert time.process_time() - before < 0.1, "it spins"
    assert 0 < len(accepted) < LIMIT
    for stream in accepted:
        stream.abort()
    await asyncio.get_running_loop().run_in_executor(None, knocking.communicate)
    accepted.clear()
    with socket.create_connection(sock.getsockname()):
        async with asyncio.timeout(5):
            while not accepted:  # noqa: ASYNC110 - `accept` is a plain call
                await asyncio.sleep(0.01)
    accepted[0].abort()
    listener.close()


def main() -> None:
    sock = open_listener(Address(4, 0x7F000001), 0)
    knocking = subprocess.Popen(
        [sys.executable, "-c", KNOCK, str(sock.getsockname()[1])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    uvloop.run(survive(sock, knocking))


if __name__ == "__main__":
    main()
