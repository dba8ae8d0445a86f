"""The store that many gateways share, and what applies while it does not answer.

A take waits for the network only if nothing was drawn ahead; bytes that moved and what was given back are reported in
the background. The first call that fails switches all calls to what `on_store_failure` says, until a heartbeat is
answered again: one is tried four times a second.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import nullcontext
from enum import StrEnum
from itertools import count
from math import inf

from gateway.limits.replicas.ahead import Ahead, allowance_of, use_all
from gateway.limits.replicas.link import CONNECTIONS, Link
from gateway.limits.replicas.script import Answer, SentDraw, arguments_for, keys_for, read_answer
from gateway.limits.replicas.share import NOTHING, Known, Share, rest_of
from gateway.limits.tables.table import StoreUnavailable, TooManyKeys
from gateway.model.limits.limit import Counted
from gateway.model.roles import Clock
from gateway.policy.buckets import FRESH, BucketId, Draw, Lacking, Now, State, Taken

PROBE_SECONDS = 0.25
HEARTBEAT_SECONDS = 1.0
REPORT_AGAIN_SECONDS = 10.0
SETTLING_SECONDS = 1.0
CLOSE_AGAIN_SECONDS = 0.1
BATCH = 64
BUCKETS = 10_000

_logger = logging.getLogger(__name__)


class OnFailure(StrEnum):
    """`limits.on_store_failure`."""

    LOCAL = "local"
    DENY = "deny"
    ALLOW = "allow"


_MEANWHILE = {
    OnFailure.LOCAL: "each replica has its share of every limit",
    OnFailure.DENY: "what has limits is refused",
    OnFailure.ALLOW: "nothing is counted",
}


class ReplicaStore:
    """Fulfils `Store`. `replicas` is how many share the limits, None if unknown, until the store reports it.
    `unchecked` counts what passed because of `allow`."""

    def __init__(self, link: Link, clock: Clock, on_failure: OnFailure, replicas: int | None) -> None:
        self._link = link
        self._clock = clock
        self._on_failure = on_failure
        self._replicas = replicas
        self._share = Share()
        self._aheads: dict[BucketId, Ahead] = {}
        self._owed: dict[BucketId, Draw] = {}
        self._repeated: set[BucketId] = set()  # of what is owed, for the second time
        self._unreported: dict[BucketId, Draw] = {}
        self._holding: dict[BucketId, Draw] = {}
        self._has_reports = asyncio.Event()
        self._turns = asyncio.Semaphore(CONNECTIONS - 2)  # two are left for heartbeats and reports
        self._tasks: list[asyncio.Task[None]] = []
        self._since_reported = 0.0
        self._order = count(1)
        self.is_up = False
        self._settled_at = 0.0
        self.unchecked = 0

    async def start(self) -> None:
        """Reach the store, if it can be reached, and begin to send it heartbeats and reports."""
        try:
            await self._send_heartbeat()
        except StoreUnavailable as failure:
            self._warn(failure)
        self._tasks = [asyncio.create_task(self._repeat(work)) for work in (self._send_next_heartbeat, self._report)]

    async def close(self) -> None:
        """Leave the store; what is held expires there."""
        while working := [task for task in self._tasks if not task.done()]:
            for task in working:
                task.cancel()
            await asyncio.wait(working, timeout=CLOSE_AGAIN_SECONDS)  # a call may have been answered instead
        await self._link.close()

    def follow(self, on_failure: OnFailure, replicas: int | None) -> None:
        """Use these from now on. Once the store has answered, it says how many replicas there are."""
        self._on_failure = on_failure
        if not (self.is_up or self._settled_at):
            self._replicas = replicas

    # What a limiter asks.

    def take_at_once(self, draws: Sequence[Draw]) -> Taken | None:
        """See `Store`. Takes what was drawn ahead."""
        if not self.is_up or self._is_settling():
            return None
        outcome = self._without_asking(draws, [self._ahead(draw) for draw in draws])
        return outcome if isinstance(outcome, Taken) else None

    async def take(self, draws: Sequence[Draw]) -> Taken | Lacking:
        """See `Store`."""
        if not self.is_up:
            return self._alone(draws)
        aheads = [self._ahead(draw) for draw in draws]
        if self._is_settling():
            return await self._take_settling(draws, aheads)
        outcome = self._without_asking(draws, aheads)
        if outcome is None:
            # One question at a time where its answer may serve those who wait for their turn as well.
            async with next((ahead.turn for ahead in aheads if ahead.allowance.seconds), nullcontext()), self._turns:
                outcome = await self._take_asking(draws, aheads)
        return outcome

    def _without_asking(self, draws: Sequence[Draw], aheads: Sequence[Ahead]) -> Taken | Lacking | None:
        now = self._clock.monotonic()
        for draw, ahead in zip(draws, aheads, strict=True):
            if now < ahead.closed_until and not draw.limit.report:
                return Lacking(draw, ahead.closed_until - now)
        return Taken((FRESH,) * len(draws)) if use_all(aheads, now) else None

    async def _take_asking(self, draws: Sequence[Draw], aheads: Sequence[Ahead]) -> Taken | Lacking:
        if not self.is_up:
            return self._alone(draws)
        return self._without_asking(draws, aheads) or await self._take_shared(draws, aheads)

    def _is_settling(self) -> bool:
        return self._clock.monotonic() < self._settled_at

    async def _take_settling(self, draws: Sequence[Draw], aheads: Sequence[Ahead]) -> Taken | Lacking:
        """Take from the share and from the store: other replicas may not have noticed yet that the store answers again,
        and may still use their shares."""
        alone = self._share.take(draws, self._replicas or 1, self._now())
        if isinstance(alone, Lacking):
            return alone
        async with self._turns:
            return await self._take_shared(draws, aheads) if self.is_up else self._alone(draws)

    async def _take_shared(self, draws: Sequence[Draw], aheads: Sequence[Ahead]) -> Taken | Lacking:
        moment = self._now()
        self._hold(draws, 1)
        try:
            answer = await self._ask(draws, aheads, moment)
        except StoreUnavailable as failure:
            self._hold(draws, -1)
            self._fail(failure)
            return self._alone(draws)
        except BaseException:
            self._hold(draws, -1)
            raise
        return self._outcome(draws, aheads, answer, moment)

    def put_back(self, draws: Sequence[Draw]) -> None:
        """See `Store`."""
        self._hold(draws, -1)

    def spend(self, draw: Draw) -> float:
        """See `Store`. The store's answer comes a moment later: until then its last one counts, and what it is owed."""
        moment = self._now()
        if not self.is_up:
            is_free = self._on_failure is OnFailure.ALLOW
            return 0.0 if is_free else self._share.spend(draw, self._replicas or 1, moment)
        owed = self._owe(draw)
        return max(self._ahead(draw).closed_until - moment.monotonic, self._share.rest(owed, moment))

    def _owe(self, draw: Draw) -> Draw:
        owed = self._owed.get(draw.bucket)
        draw = self._owed[draw.bucket] = draw if owed is None else draw._replace(amount=owed.amount + draw.amount)
        self._has_reports.set()
        return draw

    def hold_off(self, draw: Draw, seconds: float) -> None:
        """See `Store`. It holds here at once, for the other replicas a moment later."""
        moment = self._now()
        seconds = max(seconds, self._known(draw, moment).number)
        self._share.hear(draw, seconds, moment)
        self._ahead(draw).closed_until = moment.monotonic + seconds
        if self.is_up:
            self._owe(draw._replace(amount=0.0))

    def listed(self, also: Iterable[BucketId] = ()) -> Iterable[tuple[BucketId, State]]:
        """See `Store`."""
        return self._share.listed(also)

    async def _ask(self, draws: Sequence[Draw], aheads: Sequence[Ahead], moment: Now) -> Answer:
        asked = [self._sent(draw, ahead, moment) for draw, ahead in zip(draws, aheads, strict=True)]
        arguments = arguments_for(self._link.member, asked)
        return read_answer(await self._link.run(keys_for(asked), arguments), len(asked))

    def _sent(self, draw: Draw, ahead: Ahead, moment: Now) -> SentDraw:
        if draw.limit.counted is Counted.CONCURRENT:
            return SentDraw(draw, ahead.allowance.limit, 0, next(self._order), self._share.held.get(draw.bucket, 0))
        more = 0 if self._is_settling() else ahead.ask(moment.monotonic)
        known = self._share.known(draw, moment)
        return SentDraw(draw, ahead.allowance.limit, more, known.number, began=known.began)

    def _outcome(self, draws: Sequence[Draw], aheads: Sequence[Ahead], answer: Answer, asked: Now) -> Taken | Lacking:
        """What an answer means. It counts from the moment of the question, as it is older than its arrival."""
        for draw, ahead, answered in zip(draws, aheads, answer.draws, strict=True):
            if not (self._is_settling() or draw.bucket in self._owed):  # else it does not know of that yet
                self._share.hear(draw, answered.number, asked, answered.began)
            if answer.taken and answered.ahead:
                ahead.add(answered.ahead, asked.monotonic)
        if answer.taken:
            over = (draw.limit for draw, told in zip(draws, answer.draws, strict=True) if told.lacked)
            return Taken((FRESH,) * len(draws), tuple(over))
        self._hold(draws, -1)
        if answer.wait < inf:
            aheads[answer.lacking].closed_until = asked.monotonic + answer.wait
        return Lacking(draws[answer.lacking], answer.wait)

    def _alone(self, draws: Sequence[Draw]) -> Taken | Lacking:
        """While the store does not answer."""
        if self._on_failure is OnFailure.ALLOW:
            self.unchecked += 1
        elif self._on_failure is OnFailure.DENY or self._replicas is None:
            raise StoreUnavailable("the store does not answer")
        else:
            outcome = self._share.take(draws, self._replicas, self._now())
            if isinstance(outcome, Lacking):
                return outcome
        self._hold(draws, 1)
        return Taken((FRESH,) * len(draws))

    def _ahead(self, draw: Draw) -> Ahead:
        bucket = draw.bucket
        ahead = self._aheads.pop(bucket, None)
        if ahead is None or ahead.limit != draw.limit:
            if len(self._aheads) >= BUCKETS:  # drop the least recently used: what it has left is lost
                del self._aheads[next(iter(self._aheads))]
            ahead = Ahead(draw.limit, allowance_of(draw.limit))
        self._aheads[bucket] = ahead
        return ahead

    def _hold(self, draws: Sequence[Draw], change: int) -> None:
        self._share.hold(draws, change)
        for draw in draws:
            if draw.limit.counted is Counted.CONCURRENT:
                bucket = draw.bucket
                self._holding[bucket] = self._unreported[bucket] = draw
                if bucket not in self._share.held:
                    del self._holding[bucket]
                self._has_reports.set()
        if len(self._unreported) > BUCKETS + 2 * len(self._holding):  # clients take and give back without end
            self._unreported = dict(self._holding)

    def _now(self) -> Now:
        return Now(self._clock.monotonic(), self._clock.time())

    # Heartbeats and reports.

    async def _repeat(self, work: Callable[[], Awaitable[None]]) -> None:
        """For ever. A fault of ours is logged, and costs what was being reported."""
        while True:
            try:
                await work()
            except StoreUnavailable as failure:
                self._fail(failure)
            except Exception:
                _logger.exception("what is told to the limits' store failed")
                await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _send_next_heartbeat(self) -> None:
        pause = HEARTBEAT_SECONDS if self.is_up else PROBE_SECONDS
        await asyncio.sleep(pause)
        if not self.is_up:
            await self._link.forget()
        await self._send_heartbeat()
        self._since_reported += pause
        if self._since_reported > REPORT_AGAIN_SECONDS:
            self._since_reported = 0.0
            self._unreported.update(self._holding)
            self._has_reports.set()

    async def _send_heartbeat(self) -> None:
        self._replicas = max(1, await self._link.send_heartbeat())
        if not self.is_up:
            self.is_up = True
            if self._settled_at:
                local = self._on_failure is OnFailure.LOCAL
                self._settled_at = self._clock.monotonic() + (SETTLING_SECONDS if local else 0.0)
            self._unreported.update(self._holding)
            self._has_reports.set()
            _logger.info("the limits' store answers; replicas that share it: %d", self._replicas)

    def _fail(self, failure: StoreUnavailable) -> None:
        if self.is_up:
            self.is_up = False
            self._settled_at = inf
            self._aheads.clear()
            self._warn(failure)

    def _warn(self, failure: StoreUnavailable) -> None:
        meanwhile = _MEANWHILE[self._on_failure]
        if self._on_failure is OnFailure.LOCAL and self._replicas is None:
            meanwhile = "what has limits is refused, as limits.replicas does not say how many share them"
        _logger.warning("the limits' store does not answer (%s): %s", failure, meanwhile)

    async def _report(self) -> None:
        """Report bytes that moved, and what is held: in batches."""
        await self._has_reports.wait()
        while self.is_up and (self._owed or self._unreported):
            await self._report_some()
        self._has_reports.clear()  # not before: after a fault the next batch follows soon

    async def _report_some(self) -> None:
        moment = self._now()
        draws = [self._owed.pop(bucket) for bucket in list(self._owed)[:BATCH]]
        held = [self._unreported.pop(bucket) for bucket in list(self._unreported)[:BATCH]]
        known = [self._known(draw, moment) for draw in draws]
        asked = [
            SentDraw(draw, draw.limit, 0, of.number, began=of.began) for draw, of in zip(draws, known, strict=True)
        ]
        asked += [
            SentDraw(draw._replace(amount=0.0), draw.limit, 0, next(self._order), self._share.held.get(draw.bucket, 0))
            for draw in held
        ]
        arguments = arguments_for(self._link.member, asked, forced=True)
        try:
            answer = read_answer(await self._link.run(keys_for(asked), arguments), len(asked))
        except StoreUnavailable:
            self._unreported.update((draw.bucket, draw) for draw in held)  # sent again once it answers
            self._owe_again(draws)
            raise
        self._repeated.difference_update(draw.bucket for draw in draws)
        for draw, answered in zip(draws, answer.draws, strict=False):
            if not draw.amount and draw.bucket in self._owed:  # held off for longer meanwhile
                continue
            self._share.hear(draw, answered.number, moment, answered.began)
            self._ahead(draw).closed_until = moment.monotonic + rest_of(draw, answered.number, moment)

    def _owe_again(self, draws: Iterable[Draw]) -> None:
        """Report these once more, and not again: a store that is slow may count every report though no answer comes."""
        for draw in draws:
            self._repeated ^= {draw.bucket}
            if draw.bucket in self._repeated:
                self._owe(draw)

    def _known(self, draw: Draw, moment: Now) -> Known:
        try:
            return self._share.known(draw, moment)
        except TooManyKeys:  # what has moved is reported nevertheless
            return NOTHING
