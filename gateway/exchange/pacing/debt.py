"""What earlier exchanges moved is paid for before the next one begins: small ones end before they could be slowed."""

import asyncio
from math import inf

from gateway.model.decision import Deny, Permit
from gateway.model.errors import Refused
from gateway.model.reasons import Reason
from gateway.model.roles import Meter


async def pay(meter: Meter, permit: Permit) -> None:
    """Wait until bytes may move. Raises `Refused` if none may any more."""
    seconds = max((pace.settle() for pace in (meter.up, meter.down) if pace is not None), default=0.0)
    if seconds == inf:
        raise budget_spent(permit)
    if seconds:
        await asyncio.sleep(seconds)


def budget_spent(permit: Permit) -> Refused:
    """The bytes of this hour or day are spent."""
    return Refused(Deny(Reason.BUDGET_SPENT, permit.generation, permit.rule, permit.groups, permit.also))
