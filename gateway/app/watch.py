"""Notices that a policy's files changed, however they were replaced: written over, renamed over, or by the symlink
swap of a ConfigMap.

Looking is by polling signatures of the files that the policy in force was read from and of the folders they are in:
notification by the kernel says nothing about a symlink that is swapped further up, and nothing on some network mounts.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

LOOK_EVERY_SECONDS = 1.0

Signature = tuple[object, ...]


async def watch(files: Callable[[], Sequence[Path]], changed: Callable[[], Awaitable[object]]) -> None:
    """Await `changed` after every change, for ever. `files` is asked anew each time: a reload may read others."""
    looked_at = tuple(files())
    seen = _signature(looked_at)
    while True:
        await asyncio.sleep(LOOK_EVERY_SECONDS)
        looked_at = tuple(files())
        now = await asyncio.to_thread(_signature, looked_at)
        if now != seen:
            await changed()
            # What changed while it was being read must show at the next look.
            seen = now if tuple(files()) == looked_at else _signature(files())


def _signature(files: Sequence[Path]) -> Signature:
    return tuple(_stat(path) for path in (*files, *dict.fromkeys(path.parent for path in files)))


def _stat(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:  # it is being replaced, or gone: that is a change as well
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
