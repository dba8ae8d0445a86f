"""Makes an exchange wait for what earlier ones have moved: a small exchange ends before it could be slowed itself."""

import asyncio
from contextlib import suppress
from math import inf

from gateway.exchange.inlet import Inlet, Signal, check_request
from gateway.model.decision import Permit
from gateway.model.errors import Refused
from gateway.model.reasons import Reason
from gateway.model.roles import Meter
from gateway.wire.http.messages import Request


async def wait_for_allowance(meter: Meter, permit: Permit, inlet: Inlet[Request], signal: Signal) -> None:
    """Wait until bytes may move. Raises `Refused` if none may any more, `DownstreamError` once the client is gone."""
    seconds = max((pace.settle() for pace in (meter.up, meter.down) if pace is not None), default=0.0)
    if seconds == inf:
        raise budget_spent(permit)
    if seconds:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not inlet.is_lost:
                    await signal.wait()
        check_request(inlet)


def budget_spent(permit: Permit) -> Refused:
    """The refusal when the bytes of this hour or day are used up."""
    return Refused(permit.denial(Reason.BUDGET_SPENT))
