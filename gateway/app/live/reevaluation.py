"""What a new generation means for connections that began under an older one.

Open tunnels are judged again by the facts in their drafts, unless `on_reload` is `keep`; connections that older rules
are still judging are judged again once their tunnel is open. When no connection uses the older rules any more, they are
taken down. All of it happens in slices: other connections go on in between.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.model.decision import Deny, Permit
from gateway.model.reasons import Reason
from gateway.model.record import Draft
from gateway.model.roles import Clock
from gateway.policy.confirm import confirm
from gateway.policy.decide import decide
from gateway.policy.index import Rules
from gateway.settings.gateway import GatewaySettings

SLICE = 100
LOOK_SECONDS = 1.0
IDLE_SECONDS = 5.0


class Generation(Protocol):
    """The generation in force. `settings.on_reload` is what happens to forbidden tunnels, `settings.drain.timeout` the
    seconds for which `drain` lets them go on."""

    @property
    def rules(self) -> Rules: ...

    @property
    def settings(self) -> GatewaySettings: ...


@dataclass(slots=True, eq=False)
class _Retired:
    """Rules that another generation has taken over from. `asking` are the connections that may still be judged by them,
    None until somebody looked. Later ones are not, though after a way back their number may be the same."""

    rules: Rules
    asking: set[str] | None = None


class Reevaluation:
    """`drafts` are those of all live connections."""

    def __init__(
        self,
        drafts: Callable[[], Sequence[Draft]],
        in_force: Generation,
        clock: Clock,
        look_every: float = LOOK_SECONDS,
    ) -> None:
        self._drafts = drafts
        self._in_force = in_force
        self._clock = clock
        self._look_every = look_every
        self._retired: list[_Retired] = []
        self._draining: dict[str, _Draining] = {}
        self._something = asyncio.Event()

    def retire(self, rules: Rules) -> None:
        """A newer generation has taken over from these."""
        self._retired.append(_Retired(rules))
        self._something.set()

    async def follow(self) -> None:
        """Look whenever there is something to do; returns only by being cancelled."""
        while True:
            await self._something.wait()
            while self._retired or self._draining:
                await self.look()
                await asyncio.sleep(self._look_every)
            self._something.clear()

    async def look(self) -> None:
        """One pass over every live connection."""
        retired, judged = list(self._retired), list[Draft]()
        async for draft in self._sliced():
            if _is_judged(draft):
                judged.append(draft)
            if draft.tunnel is not None:
                self._judge_again(draft)
        for each in retired:
            await self._take_down(each, judged)
        self._end_drained()

    async def _sliced(self) -> AsyncIterator[Draft]:
        for number, draft in enumerate(self._drafts(), 1):
            yield draft
            if number % SLICE == 0:
                await asyncio.sleep(0)

    def _judge_again(self, draft: Draft) -> None:
        """Unless the generation in force was the last to judge it. That one may be the older: where a worker could not
        take what others had taken, they went back."""
        rules, settings = self._in_force.rules, self._in_force.settings
        mode = settings.on_reload
        if mode == "keep":
            self._draining.pop(draft.connection_id, None)
        if mode == "keep" or (draft.judged or draft.generation) == rules.generation:
            return
        draft.judged = rules.generation
        if still_permits(rules, draft, self._clock.time()):
            self._draining.pop(draft.connection_id, None)
        elif mode == "close":
            _cut(draft)
        else:
            self._draining.setdefault(
                draft.connection_id, _Draining(draft, self._clock.monotonic(), settings.drain.timeout)
            )

    def _end_drained(self) -> None:
        now = self._clock.monotonic()
        for connection_id, draining in list(self._draining.items()):
            if draining.draft.tunnel is None or draining.is_over(now):
                _cut(draining.draft)
                del self._draining[connection_id]

    async def _take_down(self, retired: _Retired, judged: Sequence[Draft]) -> None:
        """If none of those that may still be judged by these rules is left."""
        asking = {draft.connection_id for draft in judged if draft.generation == retired.rules.generation}
        retired.asking = asking if retired.asking is None else retired.asking & asking
        if not retired.asking:
            self._retired.remove(retired)
            for _ in retired.rules.take_down():
                await asyncio.sleep(0)


def _is_judged(draft: Draft) -> bool:
    """Whether the rules of its generation may still be asked for a verdict."""
    if draft.tunnel is not None:
        return draft.tunnel.asks_rules
    between_requests = 0 < draft.requests == draft.answered
    return bool(draft.generation) and not between_requests  # without a generation it has not asked any rules yet


class _Draining:
    """A tunnel that may go on until it is idle, or until its time is over."""

    __slots__ = ("_moved", "_over_at", "_quiet_since", "draft")

    def __init__(self, draft: Draft, now: float, patience: float) -> None:
        self.draft = draft
        self._over_at = now + patience
        self._quiet_since = now
        self._moved = _moved(draft)

    def is_over(self, now: float) -> bool:
        moved = _moved(self.draft)
        if moved != self._moved or self.draft.requests > self.draft.answered:
            self._moved, self._quiet_since = moved, now
        return now >= self._over_at or now - self._quiet_since >= IDLE_SECONDS


def still_permits(rules: Rules, draft: Draft, now: float) -> bool:
    """Whether these rules would let the tunnel pass: its destination, its first bytes, and the address dialled. `now`
    is Unix time in seconds. What was not checked when it was opened is not checked now either."""
    client, intent, opening = draft.client, draft.intent, draft.opening
    if client is None or intent is None:
        return True
    decision = decide(client, intent, rules, now)
    if isinstance(decision, Deny):
        return False
    if opening is not None and isinstance(confirm(decision, opening, client, intent, rules, now), Deny):
        return False
    return _may_be_dialled(decision, draft)


def _may_be_dialled(permit: Permit, draft: Draft) -> bool:
    refusal = permit.screen(draft.dialled.address) if draft.dialled is not None else None
    return refusal is None or not refusal.enforced


def _moved(draft: Draft) -> int:
    return draft.transfer.bytes_up + draft.transfer.bytes_down


def _cut(draft: Draft) -> None:
    if draft.tunnel is not None:
        draft.tunnel.cut(Reason.POLICY_CHANGED)
