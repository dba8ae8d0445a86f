"""Notices that a policy's files changed, however they were replaced: overwritten, renamed over, or by the symlink swap
of a ConfigMap.

It polls: the kernel's notifications say nothing about a symlink that is swapped further up, and do not exist on some
network mounts. Files are compared with what was there just before the policy in force was read, so that no change is
missed, not even one during the reading.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from itertools import chain
from math import inf
from pathlib import Path

from gateway.settings.source.files import Stamp, stamp

POLL_SECONDS = 1.0
RETRY_SECONDS = 30.0


async def watch(
    files: Callable[[], Mapping[Path, Stamp]],
    changed: Callable[[], Awaitable[bool | None]],
    look_every: float = POLL_SECONDS,
    retry_after: float = RETRY_SECONDS,
    retry: Callable[[], Awaitable[bool | None]] | None = None,
) -> None:
    """Await `changed` after every change, for ever. `files` are those in force; if `changed` does not replace them, it
    is called again only after another change. If it answered True, `retry` (by default `changed`) is called after
    `retry_after` seconds without a change, until that does not."""
    in_force = seen = files()
    clock, retry_at = asyncio.get_running_loop().time, inf
    while True:
        await asyncio.sleep(look_every)
        if files() is not in_force:
            in_force = seen = files()
            retry_at = inf
        now = await asyncio.to_thread(_stamps, in_force) if in_force else {}
        differs = any(now.get(path) != was for path, was in seen.items())
        if differs or clock() >= retry_at:
            follow = changed if differs else retry or changed
            retry_at = clock() + retry_after if await follow() else inf
            seen = now


def _stamps(files: Mapping[Path, Stamp]) -> dict[Path, Stamp]:
    """Also of new files of a policy directory: what is wrong in one keeps it out of force, and its cure is a change."""
    beside = (file for path in files if path.is_dir() for file in path.glob("*.yaml"))
    return {path: stamp(path) for path in chain(files, beside)}
