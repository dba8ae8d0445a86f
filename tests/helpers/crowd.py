"""Many clients at once: connections at a steady rate, each a tunnel with one echo, counted by what became of them."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

SECONDS = 60.0


class Crowd:
    """Tunnels through the proxy on `port` to an echoing `target` port, all on loopback.

    `outcomes` counts how they ended: `echoed`, or the name of what went wrong. `by_port` are the clients' own ports.
    """

    def __init__(self, port: int, target: int) -> None:
        self.outcomes: Counter[str] = Counter()
        self.by_port: dict[int, str] = {}
        self._port = port
        self._authority = f"127.0.0.1:{target}"
        self._tasks: set[asyncio.Task[None]] = set()

    async def arrive(self, rate: float, seconds: float, at_once: int | None = None) -> None:
        """Open `rate` connections a second for so long, whether or not earlier ones are done; wait for all of them.
        With `at_once` nobody comes while so many are there: fewer come where the machine cannot do that rate."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
            if at_once is not None and len(self._tasks) >= at_once:
                continue
            task = loop.create_task(self._visit())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _visit(self) -> None:
        outcome, own_port = "echoed", 0
        try:
            async with asyncio.timeout(SECONDS), tunnel(self._port, self._authority) as (reader, writer):
                own_port = writer.get_extra_info("sockname")[1]
                writer.write(b"ping")
                if await reader.readexactly(4) != b"ping":
                    outcome = "garbled"
        except (OSError, asyncio.IncompleteReadError, NotOpened) as error:
            outcome = type(error).__name__ + (f" {error}" if isinstance(error, NotOpened) else "")
        self.outcomes[outcome] += 1
        self.by_port[own_port] = outcome


class NotOpened(Exception):
    """The proxy answered otherwise than with 200."""


@contextlib.asynccontextmanager
async def tunnel(port: int, authority: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """An open one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head.partition(b"\r\n")[0]:
            raise NotOpened(head.partition(b"\r\n")[0].decode())
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def echoing() -> AsyncIterator[int]:
    """The port of an origin that sends back what it reads, on the test's own loop."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=4096)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
