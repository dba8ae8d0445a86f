"""Makes an exchange wait for what earlier ones have moved: a small exchange ends before it could be slowed itself."""

import asyncio
from contextlib import suppress
from math import inf

from gateway.exchange.inlet import Inlet, Signal, check_request
from gateway.model.decision import Permit
from gateway.model.errors import DownstreamError, Refused
from gateway.model.reasons import Reason
from gateway.model.roles import Deadlines, Meter, Pace
from gateway.net.stream import LOOK_SECONDS
from gateway.wire.http.messages import Request


async def wait_for_allowance(
    meter: Meter, permit: Permit, inlet: Inlet[Request], signal: Signal, deadlines: Deadlines, patience: float
) -> None:
    """Wait until bytes may move. Raises `Refused` if none may any more, `DownstreamError` once the client is gone or if
    for `patience` seconds it sends no more."""
    seconds = 0.0
    for pace in {meter.up, meter.down}:  # both may be the same
        if pace is not None:
            seconds = max(seconds, pace.settle())
            if seconds == inf:
                raise budget_spent(permit, pace)
    if seconds:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await _until_gone(inlet, signal, deadlines, patience)


async def _until_gone(inlet: Inlet[Request], signal: Signal, deadlines: Deadlines, patience: float) -> None:
    """Raises `DownstreamError`."""
    looks = patience
    while looks > 0:
        check_request(inlet)
        if not await signal.rings_within(LOOK_SECONDS, deadlines) and inlet.is_absent:
            looks -= LOOK_SECONDS
    raise DownstreamError(Reason.CLIENT_CLOSED, "while it waited for its turn")


def budget_spent(permit: Permit, pace: Pace) -> Refused:
    """The refusal when the bytes of this hour or day are used up."""
    retry = pace.refuse()
    return Refused(permit.denial(Reason.BUDGET_SPENT, retry.limit.name if retry.limit is not None else ""), retry)
