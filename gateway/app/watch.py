"""Notices that a policy's files changed, however they were replaced: overwritten, renamed over, or by the symlink swap
of a ConfigMap.

It polls: notification by the kernel says nothing about a symlink that is swapped further up, and nothing on some
network mounts. Files are compared with what was there just before the policy in force was read, so that no change is
missed, not even one that comes while it is being read.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from math import inf
from pathlib import Path

from gateway.settings.source.files import Stamp, stamp

LOOK_EVERY_SECONDS = 1.0
AGAIN_SECONDS = 30.0


async def watch(
    files: Callable[[], Mapping[Path, Stamp]],
    changed: Callable[[], Awaitable[bool | None]],
    look_every: float = LOOK_EVERY_SECONDS,
    again_after: float = AGAIN_SECONDS,
    again: Callable[[], Awaitable[bool | None]] | None = None,
) -> None:
    """Await `changed` after every change, for ever. `files` are those in force; where `changed` leaves them as they
    were, it is called again no sooner than after another change. If it answered True `again`, or `changed`, is called
    after a while without one, until that does not."""
    in_force = seen = files()
    clock, again_at = asyncio.get_running_loop().time, inf
    while True:
        await asyncio.sleep(look_every)
        if files() is not in_force:
            in_force = seen = files()
            again_at = inf
        now = await asyncio.to_thread(_stamps, in_force) if in_force else {}
        if now != seen or clock() >= again_at:
            follow = changed if now != seen else again or changed
            again_at = clock() + again_after if await follow() else inf
            seen = now


def _stamps(files: Mapping[Path, Stamp]) -> dict[Path, Stamp]:
    return {path: stamp(path) for path in files}
