"""Who waits for a bucket, in which order, and who is next: one queue for each bucket, one turn for each client.

A queue is served by a task of its own while anybody waits in it. Clients take turns (round robin), so that one that
asks ten times as often as another waits ten times as long. A later request never overtakes: only its queue draws from a
bucket that has one.
"""

import asyncio
from asyncio import Future, Task, TimerHandle
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from math import inf
from typing import Any

from gateway.limits.store import Store
from gateway.limits.tables.table import NoAnswer
from gateway.model.errors import DownstreamError, InternalError
from gateway.model.limits.limit import Limit
from gateway.model.reasons import Reason
from gateway.policy.buckets import BucketId, Draw, Lacking, Taken

WAITING = 10_000
"""How many may wait in one process, in all queues together."""

WAITING_OF_CLIENT = 1_000
"""How many of one client may, so that none takes all places: a connection of HTTP/2 can wait for a hundred things."""

LOOK_EVERY = 0.05
"""Seconds between checks of a concurrency bucket: its holders may be on another worker."""

LONGEST_SLEEP = 1.0
"""Seconds between checks of a rate's bucket at most: a reload may have changed the rate."""

Presence = Callable[[], Coroutine[Any, Any, None]]
"""Returns once the client is gone."""


class NotServed(Exception):
    """It waited for as long as it may, or there was no room to wait."""

    def __init__(self, draw: Draw, detail: str) -> None:
        super().__init__(detail)
        self.draw = draw
        self.detail = detail


class Overdrawn(Exception):
    """A bucket that is not waited for does not have enough."""

    def __init__(self, lacking: Lacking) -> None:
        super().__init__(lacking.limit.name)
        self.lacking = lacking


class _Waiter:
    __slots__ = ("alarm", "client", "deadline", "draws", "generation", "max_wait", "queue", "served")

    def __init__(self, draws: Sequence[Draw], client: str, generation: int, served: "Future[Taken]") -> None:
        self.draws = draws
        self.client = client
        self.generation = generation
        self.served = served
        self.deadline = inf
        self.max_wait = 0.0
        self.alarm: TimerHandle | None = None
        self.queue: _Queue | None = None

    def depart(self, _: object) -> None:
        if not self.served.done():
            self.served.set_exception(DownstreamError(Reason.CLIENT_CLOSED, "while it waited for its turn"))

    def expire(self) -> None:
        if self.queue is not None and not self.served.done():
            self.served.set_exception(NotServed(self.queue.draw, f"waited {self.max_wait:g} s"))


class _Queue:
    """The queue of one bucket. `draw` is as the newest `generation` of rules has it of those that waited here. `turns`
    are the clients in the order of their turns, with the waiters of each."""

    __slots__ = ("draw", "generation", "released", "serving", "turns", "wait")

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.generation = 0
        self.wait = 0.0
        self.turns: dict[str, deque[_Waiter]] = {}
        self.released = asyncio.Event()
        self.serving: Task[None] | None = None

    def first(self) -> _Waiter | None:
        """The waiter whose turn it is; those that gave up are dropped."""
        while self.turns:
            client, waiting = next(iter(self.turns.items()))
            while waiting and waiting[0].served.done():
                waiting.popleft()
            if waiting:
                return waiting[0]
            del self.turns[client]
        return None

    def renewed(self, draws: Sequence[Draw]) -> Sequence[Draw]:
        """The same, under the limit as the newest rules have it: a reload may have changed it, and the requests of
        older tunnels still come with the former one."""
        newest = self.draw
        return [draw._replace(limit=newest.limit) if draw.bucket == newest.bucket else draw for draw in draws]

    def leave(self, waiter: _Waiter) -> None:
        """The first one is served, or waits elsewhere. Its client's next turn comes after everybody else's."""
        waiting = self.turns.pop(waiter.client)
        waiting.popleft()
        if waiting:
            self.turns[waiter.client] = waiting


class Queues:
    """All queues of one process. `waiting` is the number of waiters."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queues: dict[BucketId, _Queue] = {}
        self._of_client: dict[str, int] = {}
        self.waiting = 0

    def queue_before(self, draws: Sequence[Draw]) -> Lacking | None:
        """The first of these buckets that has a queue. One whose limit lets nobody wait any more, since a reload, holds
        up no newcomer."""
        if not self._queues:
            return None
        waited = (draw for draw in draws if draw.limit.queue and not draw.limit.report)
        return next((Lacking(draw, 0.0) for draw in waited if draw.bucket in self._queues), None)

    async def wait(
        self,
        draws: Sequence[Draw],
        client: str,
        lacking: Lacking,
        presence: Presence | None = None,
        generation: int = 0,
    ) -> Taken:
        """Wait in the queue of the bucket that lacks until all is taken; `generation` is that of the rules. Raises
        `NotServed`, `Overdrawn`, what the store raises, or `DownstreamError` once `presence` has returned."""
        if not lacking.limit.queue:
            raise Overdrawn(lacking)
        if self.waiting >= WAITING:
            raise NotServed(lacking.draw, f"{WAITING} wait already")
        if self._of_client.get(client, 0) >= WAITING_OF_CLIENT:
            raise NotServed(lacking.draw, f"{WAITING_OF_CLIENT} of this client wait already")
        waiter = _Waiter(draws, client, generation, asyncio.get_running_loop().create_future())
        watching = None if presence is None else asyncio.create_task(presence(), name="presence")
        self._count(client, 1)
        try:
            self._join(waiter, lacking)
            if watching is not None:
                watching.add_done_callback(waiter.depart)
            return await waiter.served
        except asyncio.CancelledError:
            if waiter.served.done() and not waiter.served.cancelled() and waiter.served.exception() is None:
                self._store.put_back(draws)
            raise
        finally:
            self._count(client, -1)
            waiter.served.cancel()
            if waiter.alarm is not None:
                waiter.alarm.cancel()
            if watching is not None:
                watching.cancel()
            del waiter  # it holds what was raised, whose traceback holds this frame

    def _count(self, client: str, change: int) -> None:
        self.waiting += change
        of_client = self._of_client.get(client, 0) + change
        if of_client:
            self._of_client[client] = of_client
        else:
            del self._of_client[client]

    def released(self, draws: Sequence[Draw]) -> None:
        """What was held of these buckets was put back."""
        if self._queues:
            for draw in draws:
                queue = self._queues.get(draw.bucket)
                if queue is not None:
                    queue.released.set()

    def _join(self, waiter: _Waiter, lacking: Lacking) -> None:
        limit, bucket = lacking.limit, lacking.draw.bucket
        queue = self._queues.get(bucket)
        if queue is None:
            queue = self._queues[bucket] = _Queue(lacking.draw)
            queue.wait = lacking.wait
            queue.serving = asyncio.create_task(self._serve(queue), name=f"queue of {limit.name}")
        if waiter.generation >= queue.generation:
            queue.draw, queue.generation = lacking.draw, waiter.generation
        queue.turns.setdefault(waiter.client, deque()).append(waiter)
        waiter.queue = queue
        self._set_deadline(waiter, limit)

    def _set_deadline(self, waiter: _Waiter, limit: Limit) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limit.max_wait
        if deadline < waiter.deadline:
            if waiter.alarm is not None:
                waiter.alarm.cancel()
            waiter.deadline, waiter.max_wait = deadline, limit.max_wait
            waiter.alarm = loop.call_at(deadline, waiter.expire)

    # What a queue's task does.

    async def _serve(self, queue: _Queue) -> None:
        try:
            while True:
                await self._pause(queue)
                waiter = queue.first()
                if waiter is None:
                    return
                await self._serve_one(queue, waiter)
        finally:
            del self._queues[queue.draw.bucket]
            while (left := queue.first()) is not None:  # only if this task itself failed or was cancelled
                error = InternalError(Reason.INTERNAL_ERROR, f"the queue of {queue.draw.limit.name} ended")
                left.served.set_exception(error)

    async def _pause(self, queue: _Queue) -> None:
        if queue.wait < inf:
            await asyncio.sleep(min(queue.wait, LONGEST_SLEEP))
            return
        try:
            async with asyncio.timeout(LOOK_EVERY):
                await queue.released.wait()
        except TimeoutError:
            return

    async def _serve_one(self, queue: _Queue, waiter: _Waiter) -> None:
        queue.wait = 0.0
        queue.released.clear()  # what is put back from here on may come too late for this take
        try:
            outcome = await self._store.take(queue.renewed(waiter.draws))
        except NoAnswer as failure:
            queue.leave(waiter)
            if not waiter.served.done():
                waiter.served.set_exception(failure)
            return
        if isinstance(outcome, Lacking):
            self._keep_waiting(queue, waiter, outcome)
            return
        queue.leave(waiter)
        if waiter.served.done():  # it gave up while the store was asked
            self._store.put_back(waiter.draws)
        else:
            waiter.served.set_result(outcome)

    def _keep_waiting(self, queue: _Queue, waiter: _Waiter, lacking: Lacking) -> None:
        if lacking.draw.bucket == queue.draw.bucket:
            queue.wait = lacking.wait
            return
        queue.leave(waiter)
        if waiter.served.done():
            return
        if not lacking.limit.queue:
            waiter.served.set_exception(Overdrawn(lacking))
            return
        self._join(waiter, lacking)
