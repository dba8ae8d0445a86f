"""Messages between a supervisor and a worker, over a pair of sockets: length, kind, body.

Either side may be slow: `send` waits until the peer reads, `post` drops what would have to wait. Neither side can make
the other hold much: a message is bounded, and what is not read stays with its sender.
"""

import asyncio
import socket
import struct
from enum import IntEnum
from typing import NamedTuple

MESSAGE_BYTES = 256 * 1024 * 1024
POST_BYTES = 1024 * 1024  # unread bytes from which on `post` drops

_HEAD = struct.Struct("!IB")


class Kind(IntEnum):
    """The type of a message. Down: from the supervisor, pickled by code of this program or empty. Up: from a worker,
    which reads what strangers send: JSON, which can be nothing but data."""

    START = 1  # down: a `Start`
    GENERATION = 2  # down: the number of the generation that follows
    FRAME = 3  # down: a frame of it, as it was read
    TAKE = 8  # down: it is complete, put it in force
    REOPEN_LOGS = 4  # down
    RETIRE = 5  # down: accept no more, since others do; end when all connections have ended
    DRAIN = 6  # down: the same, but nobody else accepts: refuse new requests
    CUT_OFF = 7  # down: end everything now
    ASK = 9  # down: a `Question`
    PODS = 10  # down: `Change`s of pods and their addresses
    TAKEN = 16  # up: the generation now in force; the first one says that the worker serves
    COUNTS = 17  # up: a `Snapshot`
    ANSWER = 18  # up: an `Answer`
    FLOWS = 19  # up: records, a line each
    KEPT = 20  # up: why the last generation could not be taken; the former one stays in force
    ALIVE = 21  # up: instead of counts that have not changed


class Message(NamedTuple):
    """As it was received."""

    kind: Kind
    body: bytes


class ChannelBroken(Exception):
    """The peer violated the protocol."""


class Channel:
    """One end. Closed by `close`, or by the end of the process."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bound: int) -> None:
        self._reader = reader
        self._writer = writer
        self._bound = bound

    @classmethod
    async def over(cls, sock: socket.socket, bound: int = MESSAGE_BYTES) -> "Channel":
        """Over a connected socket, owned from here on. `bound` is the longest body that may come in."""
        reader, writer = await asyncio.open_unix_connection(sock=sock)
        return cls(reader, writer, bound)

    async def send(self, kind: Kind, body: bytes = b"") -> None:
        """Write a message and wait until the peer has room for the next. Silently lost if the peer is gone: whoever
        reads at this end notices that."""
        self._write(kind, body)
        try:
            await self._writer.drain()
        except ConnectionError:
            return

    def post(self, kind: Kind, body: bytes = b"") -> bool:
        """Write a message without waiting; False, and nothing is written, if too much waits already."""
        if self._writer.transport.get_write_buffer_size() > POST_BYTES:
            return False
        self._write(kind, body)
        return True

    async def receive(self) -> Message | None:
        """The next message; None at the end of the stream. Raises `ChannelBroken`."""
        try:
            length, kind = _HEAD.unpack(await self._reader.readexactly(_HEAD.size))
            if length > self._bound:
                raise ChannelBroken(f"a message of {length} bytes")
            return Message(Kind(kind), await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        except ValueError:
            raise ChannelBroken("a message of an unknown kind") from None

    def close(self) -> None:
        """Write what is queued and close. Idempotent."""
        self._writer.close()

    def _write(self, kind: Kind, body: bytes) -> None:
        if not self._writer.is_closing():
            self._writer.write(_HEAD.pack(len(body), kind) + body)
