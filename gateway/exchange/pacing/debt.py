"""Makes an exchange wait for what earlier ones have moved: a small exchange ends before it could be slowed itself."""

import asyncio
from contextlib import suppress
from math import inf

from gateway.exchange.inlet import Inlet, Signal, check_request
from gateway.model.decision import Permit
from gateway.model.errors import Refused
from gateway.model.reasons import Reason
from gateway.model.roles import Meter, Pace
from gateway.wire.http.messages import Request


async def wait_for_allowance(meter: Meter, permit: Permit, inlet: Inlet[Request], signal: Signal) -> None:
    """Wait until bytes may move. Raises `Refused` if none may any more, `DownstreamError` once the client is gone."""
    seconds = 0.0
    for pace in {meter.up, meter.down}:  # both may be the same
        if pace is not None:
            seconds = max(seconds, pace.settle())
            if seconds == inf:
                raise budget_spent(permit, pace)
    if seconds:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not inlet.is_lost:
                    await signal.wait()
        check_request(inlet)


def budget_spent(permit: Permit, pace: Pace) -> Refused:
    """The refusal when the bytes of this hour or day are used up."""
    retry = pace.refuse()
    return Refused(permit.denial(Reason.BUDGET_SPENT, retry.limit.name if retry.limit is not None else ""), retry)
