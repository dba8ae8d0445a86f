"""Which buckets a lease draws from: those of the permit's limits that count what is about to happen, by their keys."""

from collections.abc import Iterator, Sequence
from functools import lru_cache

from gateway.model.client import Client
from gateway.model.decision import Permit
from gateway.model.limits.limit import CONNECTION, Applied, Counted, KeyPart, Limit
from gateway.policy.buckets import Draw

Key = tuple[str, ...]

GATE = ".retry_after"
"""How the name of a gate ends; no limit of a policy has such a name."""

_NO_KEY: Key = ()
_PLAIN = (KeyPart.RULE,)

_BYTES = Counted.BYTES
_BANDWIDTH = Counted.BANDWIDTH


def draws_for(permit: Permit, client: Client, counted: frozenset[Counted]) -> list[Draw]:
    """One for each bucket. Nothing is taken from a budget of bytes yet, but something must be left.

    A quota by group leads to one bucket twice if both the rule and the group use it: it is drawn from once.
    """
    draws: list[Draw] = []
    who = identity_of(client)
    for applied in permit.limits:
        limit = applied.limit
        if limit.counted in counted:
            amount = 0.0 if limit.counted is _BYTES else 1.0
            if limit.key == _PLAIN:
                draws.append(Draw(limit, _NO_KEY, amount))
            else:
                draws += [Draw(limit, key, amount, who) for key in keys_of(applied, permit, client)]
    if permit.terms.honour_retry_after and counted != CONNECTION:
        draws.append(gate_draw(permit, client))
    return list(dict.fromkeys(draws))


def gate_draw(permit: Permit, client: Client) -> Draw:
    """The gate: a bucket that a destination's Retry-After closes to the rule's clients of that host. Each draw takes a
    microsecond of it. It is overdrawn by what the destination asks for, as bandwidth is by bytes that moved."""
    return Draw(_gate(permit.rule.name), (str(permit.authority.host),), client=identity_of(client))


@lru_cache(1024)
def _gate(rule: str) -> Limit:
    return Limit(f"{rule}{GATE}", Counted.BANDWIDTH, rate=1e6, burst=1e3, key=(KeyPart.HOST,))


def is_gate(limit: Limit) -> bool:
    """Whether it was closed by a destination, not by policy."""
    return limit.name.endswith(GATE)


def keys_of(applied: Applied, permit: Permit, client: Client) -> Iterator[Key]:
    """One key, or one for each group where groups are counted separately: none for a client of no group."""
    parts = applied.limit.key
    for group in applied.groups if KeyPart.GROUP in parts else ("",):
        yield tuple(_part(part, group, permit, client) for part in parts if part is not KeyPart.RULE)


def identity_of(client: Client) -> str:
    """The client by its own name or, if that is not known, by its address."""
    if client.spiffe is not None:
        return client.spiffe
    if client.user is not None:
        return f"user {client.user}"
    if client.namespace is not None and client.service_account is not None:
        return f"{client.namespace}/{client.service_account}"
    return str(client.address)


def bytes_limits(permit: Permit) -> Sequence[Applied]:
    """The limits that apply while bytes move."""
    return [each for each in permit.limits if each.limit.counted in (_BANDWIDTH, _BYTES)]


def _part(part: KeyPart, group: str, permit: Permit, client: Client) -> str:
    match part:
        case KeyPart.GROUP:
            return group
        case KeyPart.HOST:
            return str(permit.authority.host)
        case _:
            return identity_of(client)
