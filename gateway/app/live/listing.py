"""What operators are shown of open connections: tunnels, of which one may be closed, and who holds how many."""

import asyncio
from collections.abc import Callable, Iterator, Sequence

from gateway.admin.state import LimitFill, OpenTunnel
from gateway.app.live.admission import Admission, Held
from gateway.model.reasons import Reason
from gateway.model.record import Draft
from gateway.telemetry.sealing import printable, rfc3339

SLICE = 500
FULLEST = 20
"""Clients of which is told how many connections they have."""

Drafts = Callable[[], Sequence[Draft]]


async def list_tunnels(drafts: Drafts, now: float) -> Sequence[OpenTunnel]:
    """Every tunnel that is being relayed, the oldest first; `now` is monotonic. Yields to the loop now and then."""
    found: list[OpenTunnel] = []
    for number, draft in enumerate(drafts(), 1):
        found += _shown(draft, now)
        if number % SLICE == 0:
            await asyncio.sleep(0)
    return found


def close_tunnel(drafts: Drafts, connection_id: str) -> bool:
    """End the tunnel of that connection; False if none is open."""
    draft = next((draft for draft in drafts() if draft.connection_id == connection_id), None)
    if draft is None or draft.tunnel is None:
        return False
    draft.tunnel.cut(Reason.CLOSED_BY_OPERATOR)
    return True


def _shown(draft: Draft, now: float) -> Iterator[OpenTunnel]:
    client, intent, decision = draft.client, draft.intent, draft.decision
    if draft.tunnel is None or client is None or intent is None or decision is None:
        return
    yield OpenTunnel(
        connection_id=draft.connection_id,
        opened=rfc3339(draft.started_time),
        age_seconds=round(now - draft.started_at, 3),
        listener=draft.listener,
        client=str(client.address),
        user=printable(client.user) if client.user is not None else None,
        host=str(intent.authority.host),
        port=intent.authority.port,
        rule=decision.rule.name if decision.rule is not None else "",
        generation=draft.generation,
        bytes_up=draft.transfer.bytes_up,
        bytes_down=draft.transfer.bytes_down,
    )


def list_bounds(admission: Admission) -> Sequence[LimitFill]:
    """How full the bounds of connections are, like limits: in total, and of the clients that hold most. Connections
    count from their accept, before anything is known of them but their address."""
    ceiling = admission.ceiling
    return [
        _bound("bounds.tunnels", (), admission.total(), ceiling.tunnels),
        *(
            _bound("bounds.tunnels_per_client", (str(client),), held, ceiling.per_client)
            for client, held in admission.fullest(FULLEST)
        ),
    ]


def _bound(name: str, key: tuple[str, ...], held: Held, most: int) -> LimitFill:
    left = max(0, most - held.open)
    return LimitFill(name, key, "concurrent", most, most, left, min(1.0, held.open / most), held.refused, False)
