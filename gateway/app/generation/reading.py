"""Has a child process read the files, and passes on what it sends, frame by frame, without blocking the loop."""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import IO

from gateway.app.configuration import Sources
from gateway.app.generation.child import END, PROBLEMS
from gateway.app.generation.frames import Frame

READ_SECONDS = 300.0
AHEAD_BYTES = 128 * 1024
"""Read ahead of what the child sends; at most twice as much is held, besides the frame being read."""

Read = Callable[[], AsyncGenerator[Frame, None]]
"""Reads the files again and yields the frames of what they say: all of them, or an error."""


class ReadFailed(Exception):
    """There is no new generation; `problems` are lines that say why."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class ChildReader:
    """`environ` is the child's whole environment. The caller makes sure that one reading runs at a time."""

    def __init__(
        self,
        sources: Sources,
        environ: Mapping[str, str],
        seconds: float = READ_SECONDS,
        command: Sequence[str] = (sys.executable, "-P", "-m", "gateway.app.generation.child"),
    ) -> None:
        self._environ = environ
        self._seconds = seconds
        self._command = [*command, str(sources.config or ""), str(sources.policy or "")]

    async def __call__(self) -> AsyncGenerator[Frame, None]:
        """See `Read`. Raises `ReadFailed` for problems of the files, and for a child that died or was too slow."""
        child = await asyncio.to_thread(self._start)
        deadline = asyncio.get_running_loop().time() + self._seconds
        try:
            async with contextlib.aclosing(_frames(child, deadline)) as frames:
                async for frame in frames:
                    yield frame
        except TimeoutError:
            raise ReadFailed([f"the files were not read within {self._seconds:g} s"]) from None
        finally:
            child.kill()
            await asyncio.to_thread(child.wait)

    def _start(self) -> subprocess.Popen[bytes]:
        """In a thread, and without closing descriptors one by one, which takes long with many tunnels open: ours are
        closed by exec (PEP 446). In a session of its own, as signals of a terminal are for the gateway."""
        try:
            return subprocess.Popen(  # noqa: S603  # this interpreter and a module of ours; paths follow as arguments
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                env=dict(self._environ),
                close_fds=False,
                start_new_session=True,
            )
        except OSError as error:
            raise ReadFailed([f"cannot start a process to read the files: {error.strerror}"]) from error


async def _frames(child: subprocess.Popen[bytes], deadline: float) -> AsyncGenerator[Frame, None]:
    async with _reading(child.stdout) as reader:
        try:
            while True:
                async with asyncio.timeout_at(deadline):
                    kind, payload = await _message(reader)
                if kind == END:
                    return
                if kind == PROBLEMS:
                    raise ReadFailed(json.loads(payload))
                yield payload
        except asyncio.IncompleteReadError:
            status = await asyncio.to_thread(child.wait)
            raise ReadFailed([f"the process that read the files ended before it was done ({_how(status)})"]) from None


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readexactly(5)
    return head[:1], await reader.readexactly(int.from_bytes(head[1:], "big"))


@contextlib.asynccontextmanager
async def _reading(pipe: IO[bytes] | None) -> AsyncIterator[asyncio.StreamReader]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=AHEAD_BYTES)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    try:
        yield reader
    finally:
        transport.close()


def _how(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"status {status}"
