"""The floor: the least that a CONNECT proxy in Python can cost. It forwards and does nothing else.

Two protocols per tunnel on uvloop, joined to each other's transports, with both half-closes. No policy, no screening,
no time-out, no record, no metric: what the gateway costs beyond this is what its work costs. For measuring only.

`python -m benchmarks.floor PORT`
"""

import asyncio
import sys
from typing import cast

import uvloop


class _Side(asyncio.Protocol):
    """Writes what it reads into `peer`'s transport."""

    peer: "_Side"
    has_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.peer.transport.write(data)

    def eof_received(self) -> bool:
        """False, which closes, once both sides have ended."""
        self.has_ended = True
        self.peer.transport.write_eof()
        return not self.peer.has_ended

    def connection_lost(self, exc: Exception | None) -> None:
        self.peer.transport.close()

    def pause_writing(self) -> None:
        self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        self.peer.transport.resume_reading()


class _Downstream(_Side):
    """Reads one CONNECT head, dials its port on loopback, and is joined."""

    _task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.peer = self

    def data_received(self, data: bytes) -> None:
        if self._task is not None:
            super().data_received(data)
        else:
            port = int(data.split(b" ", 2)[1].rpartition(b":")[2])
            self._task = asyncio.get_running_loop().create_task(self._join(port))

    async def _join(self, port: int) -> None:
        _, upstream = await asyncio.get_running_loop().create_connection(_Side, "127.0.0.1", port)
        self.peer, upstream.peer = upstream, self
        self.transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Downstream, "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
