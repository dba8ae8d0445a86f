"""What goes on for as long as the process, whatever happens in it."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0

_logger = logging.getLogger(__name__)


async def run_endlessly(
    work: Callable[[], Coroutine[Any, Any, object]],
    what: str,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Returns only by being cancelled: after a fault of ours, which is logged, the work begins again. Each pause is
    twice as long as the one before, up to a maximum, unless the work went well for longer than that meanwhile."""
    pause, failures = PAUSE_SECONDS, 0
    while True:
        began = clock()
        try:
            await work()
            failures = 0
        except Exception:
            failures = failures + 1 if clock() - began <= LONGEST_PAUSE_SECONDS else 1
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS) if failures > 1 else PAUSE_SECONDS
            _logger.exception("%s failed (%d in a row) and begins again in %g s", what, failures, pause)
        await sleep(pause if failures else PAUSE_SECONDS)
