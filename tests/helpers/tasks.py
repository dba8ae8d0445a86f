"""Who still runs when nobody should."""

import asyncio
from collections.abc import Set as AbstractSet
from typing import Any


async def still_running(spared: AbstractSet[asyncio.Task[Any]], grace: float) -> list[str]:
    """The names of the loop's tasks, without this one and the spared, that do not end within `grace` seconds."""
    others = asyncio.all_tasks() - spared - {asyncio.current_task()}
    if not others:
        return []
    _, pending = await asyncio.wait(others, timeout=grace)
    return sorted(task.get_name() for task in pending)
