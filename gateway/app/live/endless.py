"""What goes on for as long as the process, whatever happens in it."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

PAUSE_SECONDS = 1.0

_logger = logging.getLogger(__name__)


async def run_endlessly(work: Callable[[], Coroutine[Any, Any, object]], what: str) -> None:
    """Returns only by being cancelled: after a fault of ours, which is logged, the work begins again."""
    while True:
        try:
            await work()
        except Exception:
            _logger.exception("%s failed", what)
        await asyncio.sleep(PAUSE_SECONDS)
