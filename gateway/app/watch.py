"""Notices that a policy's files changed, however they were replaced: written over, renamed over, or by the symlink
swap of a ConfigMap.

Looking is by polling: notification by the kernel says nothing about a symlink that is swapped further up, and nothing
on some network mounts. What is seen is compared with what was there just before the policy in force was read, so that
no change is missed, not even one that comes while it is being read.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from gateway.settings.source.files import Stamp, stamp

LOOK_EVERY_SECONDS = 1.0


async def watch(
    files: Callable[[], Mapping[Path, Stamp]],
    changed: Callable[[], Awaitable[object]],
    look_every: float = LOOK_EVERY_SECONDS,
) -> None:
    """Await `changed` after every change, for ever. `files` are those in force; where `changed` leaves them as they
    were, it is called again no sooner than after another change."""
    in_force = seen = files()
    while True:
        await asyncio.sleep(look_every)
        if files() is not in_force:
            in_force = seen = files()
        now = await asyncio.to_thread(_stamps, in_force) if in_force else {}
        if now != seen:
            await changed()
            seen = now


def _stamps(files: Mapping[Path, Stamp]) -> dict[Path, Stamp]:
    return {path: stamp(path) for path in files}
