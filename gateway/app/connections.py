"""The live connections of this process: each is a task from its accept to its record."""

import asyncio
import random

from gateway.model.addresses import Address
from gateway.model.record import Draft
from gateway.net.stream import Stream
from gateway.serve.connection import serve_connection
from gateway.serve.services import Services


class Connections:
    """Starts a task for every accepted connection and ends them all when the process drains."""

    def __init__(self, loop: asyncio.AbstractEventLoop, services: Services) -> None:
        self._loop = loop
        self._services = services
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def accept(self, listener: str, stream: Stream, peer: tuple[Address, int]) -> None:
        """A connection has come in on `listener`; the task that serves it closes it."""
        clock = self._services.clock
        draft = Draft(f"{random.getrandbits(64):016x}", listener, peer, clock.monotonic(), clock.time())
        task = self._loop.create_task(serve_connection(stream, draft, self._services))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self, seconds: float) -> None:
        """Let live connections end by themselves for that long, then cut off the rest. New requests are refused."""
        self._services.drain()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        while self._tasks:
            self.cut_off()
            await asyncio.wait(self._tasks)

    def cut_off(self) -> None:
        """End every live connection, in the loop's next turn: a task that is cancelled before it began runs none of its
        code, so that its connection would be neither recorded nor closed."""
        for task in self._tasks:
            self._loop.call_soon(task.cancel)
