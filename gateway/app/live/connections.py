"""The live connections of this process: each is a task from its accept to its record."""

import asyncio
import random
from collections.abc import Collection, Sequence

from gateway.app.live.admission import Admission
from gateway.model.addresses import Address
from gateway.model.reasons import Reason
from gateway.model.record import Draft, Ended, Side
from gateway.net.addresses.original_destination import original_destination
from gateway.net.listener import NOBODY
from gateway.net.stream import Stream
from gateway.serve.connection import serve_connection
from gateway.serve.refuse import turn_away
from gateway.serve.services import Services
from gateway.telemetry.ledger import Ledger

CUT_SECONDS = 0.0006
"""What it takes to cut off one connection and record it: 0.25 ms on a CPU of its own, twice that where workers and
clients share a CPU."""
CUTTING_SHARE = 0.25
"""The most of a drain's time that is kept for that."""
LEAVING_SECONDS = 1.0
"""For what follows the last connection: logs are written, processes end. An interpreter alone takes 0.3 s to shut down,
and twice that on a busy CPU; of several workers one waits for the others."""
LEAVING_SHARE = 0.1
"""The most of a drain's time that is kept for that."""


class Connections:
    """Starts a task for every accepted connection and ends them all when the process drains.

    `transparent` are the names of the listeners for captured connections.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        services: Services,
        admission: Admission,
        ledger: Ledger | None = None,
        transparent: Collection[str] = (),
    ) -> None:
        self._transparent = frozenset(transparent)
        self._ledger = ledger or Ledger.alone()
        self._loop = loop
        self._services = services
        self._admission = admission
        self._live: dict[asyncio.Task[None], Draft] = {}
        self._turned_away: set[asyncio.Task[None]] = set()
        self._told_at_once = admission.descriptors.kept_back // 2  # the other half is for everything else

    def __len__(self) -> int:
        return len(self._live)

    def drafts(self) -> Sequence[Draft]:
        """Those of the connections that were admitted and have not ended."""
        return list(self._live.values())

    def accept(self, listener: str, stream: Stream, peer: tuple[Address, int]) -> None:
        """A connection has come in on `listener`; it is closed by the task that serves it."""
        self._ledger.accept()
        clock = self._services.clock
        draft = Draft(random.getrandbits(64).to_bytes(8).hex(), listener, peer, clock.monotonic(), clock.time())
        if listener in self._transparent:
            draft.original = original_destination(stream.transport.get_extra_info("socket")) or NOBODY
        refusal = self._admission.admit(peer[0])
        if refusal is not None:
            self._turn_away(refusal, stream, draft)
            return
        served = serve_connection(stream, draft, self._services)
        task = asyncio.Task(served, loop=self._loop, name=draft.connection_id)
        self._live[task] = draft
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._admission.leave(self._live.pop(task).peer[0])
        self._ledger.end()

    def _turn_away(self, reason: Reason, stream: Stream, draft: Draft) -> None:
        if len(self._turned_away) < self._told_at_once:
            task = self._loop.create_task(turn_away(reason, stream, draft, self._services))
            self._turned_away.add(task)
            task.add_done_callback(self._gone)
        else:
            draft.reason, draft.transfer.ended, draft.transfer.ended_by = reason, Ended.RESET, Side.GATEWAY
            stream.abort()
            self._services.recorder.record(draft)
            self._ledger.end()

    def _gone(self, task: asyncio.Task[None]) -> None:
        self._turned_away.discard(task)
        self._ledger.end()

    def refuse(self) -> None:
        """Refuse further requests on open connections from now on."""
        self._services.drain()

    async def drain(self, seconds: float, refusing: bool = True) -> None:
        """Let live connections end by themselves, and cut off the rest in time for all to be over after `seconds`. New
        requests are refused, unless another process goes on accepting (not `refusing`)."""
        if refusing:
            self.refuse()
        over_at = self._loop.time() + seconds - min(LEAVING_SECONDS, seconds * LEAVING_SHARE)
        while self._live and (left := over_at - self._cutting_seconds(seconds) - self._loop.time()) > 0:
            await asyncio.wait(self._live, timeout=left)
        while tasks := [*self._live, *self._turned_away]:
            self.cut_off()
            await asyncio.wait(tasks)

    def _cutting_seconds(self, seconds: float) -> float:
        return min(len(self._live) * CUT_SECONDS, seconds * CUTTING_SHARE)

    def cut_off(self) -> None:
        """End every live connection in the loop's next turn: a task that is cancelled before its first turn runs none
        of its code, and its connection would be neither recorded nor closed."""
        for task in (*self._live, *self._turned_away):
            self._loop.call_soon(task.cancel)
