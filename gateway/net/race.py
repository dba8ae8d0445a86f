"""Happy Eyeballs (RFC 8305 sections 4 and 5): addresses are tried in turn, each a little after the one before, and
the first that connects wins. Losers are cancelled and closed, also one that connected in the same turn of the loop.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from itertools import chain, zip_longest
from typing import Any, TypeVar

from gateway.model.addresses import Address
from gateway.model.errors import UpstreamError
from gateway.model.reasons import Reason
from gateway.model.roles import ByteStream

S = TypeVar("S", bound=ByteStream)

AT_ONCE = 8
"""Attempts under way at once: a name with many dead addresses must not take many descriptors."""


def interleave(addresses: Sequence[Address]) -> list[Address]:
    """The families in turn, IPv6 first, each in the order given (RFC 8305 section 4)."""
    families = [[address for address in addresses if address.version == version] for version in (6, 4)]
    return [address for address in chain.from_iterable(zip_longest(*families)) if address is not None]


async def race(
    candidates: Sequence[Address], connect: Callable[[Address], Coroutine[Any, Any, S]], stagger: float
) -> tuple[Address, S]:
    """The first to connect. `stagger` is seconds; an attempt that fails starts the next one at once. If all fail it
    raises the most telling error: the first that says more than that an address is unreachable."""
    waiting = deque(candidates)
    attempts: dict[asyncio.Task[S], Address] = {}
    running: set[asyncio.Task[S]] = set()
    failures: list[BaseException] = []
    winner: asyncio.Task[S] | None = None
    try:
        while waiting or running:
            if waiting:
                address = waiting.popleft()
                task = asyncio.create_task(connect(address), name=f"connect {address}")
                attempts[task] = address
                running.add(task)
            patience = stagger if waiting and len(running) < AT_ONCE else None
            done, running = await asyncio.wait(running, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            winner = next((task for task in attempts if task in done and task.exception() is None), None)
            if winner is not None:
                return attempts[winner], winner.result()
            failures += [error for task in done if (error := task.exception()) is not None]
        raise min(failures, key=_says_little)
    finally:
        for task in attempts:
            if task is not winner:
                task.cancel()
                task.add_done_callback(_close)


def _says_little(failure: BaseException) -> bool:
    return isinstance(failure, UpstreamError) and failure.reason is Reason.CONNECTION_UNROUTABLE


def _close(loser: asyncio.Task[S]) -> None:
    if not loser.cancelled() and loser.exception() is None:
        loser.result().abort()
