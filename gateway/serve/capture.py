"""Captured (transparent) connections: from the first bytes to an intent.

The client does not know of a proxy. Where it got the address that it dialled is unknown, so the address proves nothing:
the name in its ClientHello (SNI) is what it wants, and the address counts only where it sends none. Nothing is sent to
the client before the verdict.
"""

from gateway.model.authority import Authority
from gateway.model.client import Client
from gateway.model.decision import Permit
from gateway.model.errors import DownstreamError, UpstreamError
from gateway.model.intent import Door, Intent, Opening, Protocol
from gateway.model.reasons import Reason
from gateway.model.record import Destination
from gateway.model.roles import ByteStream
from gateway.policy.addresses import is_own
from gateway.policy.decide import decide
from gateway.policy.index import REPORT_ONLY, Rules
from gateway.serve.intake import read_opening
from gateway.serve.services import Services

PATIENCE = 1.0
"""Seconds for which a client in report mode may wait for the server to speak first before it is let through."""


def intent_by_address(original: Destination) -> Intent:
    """What the address alone says, which is known at once."""
    address, port = original
    return Intent(Door.TRANSPARENT, Authority(address, port), original=address)


def refuse_loop(original: Destination, rules: Rules) -> None:
    """Raise `UpstreamError` for a client that dialled the listener itself: nothing was captured, so there is no other
    destination that it wants."""
    address, port = original
    if is_own(address, port, rules):
        raise UpstreamError(Reason.PROXY_LOOP, "the listener itself was dialled: nothing was captured")


async def read_first_bytes(
    downstream: ByteStream, intent: Intent, client: Client, rules: Rules, now: float, services: Services
) -> Opening | None:
    """The client's first bytes, of which none is consumed. None: the address decides, and no byte is waited for.

    That is so where a rule with `cidrs` and `protocol: tcp` allows the address, because the server may speak first in
    such protocols, and in report mode where the client seems to wait for that. Raises as `read_opening` does.
    """
    by_address = decide(client, intent, rules, now)
    if isinstance(by_address, Permit):
        if by_address.terms.protocol is Protocol.TCP:
            return None
        if by_address.rule is REPORT_ONLY and not await _client_speaks(downstream, services):
            return None
    return await read_opening(downstream, services, rules.policy.timeouts.client_hello)


def intent_by_name(opening: Opening, intent: Intent) -> Intent:
    """The intent after the first bytes: for the name in the ClientHello, if there is one."""
    name = opening.hello.server_name if opening.hello is not None else None
    return intent if name is None else intent._replace(authority=Authority(name, intent.authority.port))


async def _client_speaks(downstream: ByteStream, services: Services) -> bool:
    """Whether the client sends something, or leaves, within `PATIENCE`."""
    try:
        with services.deadlines.within(PATIENCE, lambda: DownstreamError(Reason.CLIENT_SILENT)):
            if not downstream.peek():
                await downstream.more()
    except DownstreamError:
        return False
    return True
