"""The arithmetic of limits: what is left of a bucket, and how long to wait until it has enough. Pure: a bucket's state
and the time are arguments, the next state is the answer. Who keeps states and shares them is not known here.

Rates follow the generic cell rate algorithm in its virtual scheduling form (ITU-T I.371, annex A): the state is one
instant, the theoretical arrival time `tat` at which the bucket will be full again. In any window of W seconds at most
rate x W + burst are admitted: each moves `tat` by 1/rate, and `tat` begins no earlier than the window and ends no later
than burst/rate after it. So a connection or a request never finds `tat` further ahead than that. If one does, the state
stems from other circumstances: before a reload the limit was narrower, or only reported, or a store's clock was set
back. Then one is let through, which leaves the bucket empty and its state a true one. (Bytes are counted when they have
moved: they may overdraw.)

A limit in report mode tells what it would do if it refused. So what it would have refused takes nothing, and what would
have waited owes nothing: else the limit would go on objecting until that was made up for. What is held is held
nevertheless, and given back.
"""

from collections.abc import Sequence
from math import inf
from typing import NamedTuple

from gateway.model.limits.limit import Counted, Limit

State = tuple[float, float]
"""Rates: (`tat`, unused). Concurrent: (held, unused). Bytes: (start of the period, spent in it)."""

FRESH: State = (-inf, 0.0)
"""A bucket that nobody drew from, or not lately: it need not be kept."""

LATE = 10.0
"""Seconds by which a draw's clock may be behind an earlier draw's: it is read before the lock is waited for."""

_ROUNDING = 1e-9  # seconds; sums of instants have rounding errors

# To look up a member of an enumeration takes longer than to look up a name of the module.
_CONCURRENT = Counted.CONCURRENT
_BYTES = Counted.BYTES
_BANDWIDTH = Counted.BANDWIDTH


BucketId = tuple[str, tuple[str, ...]]
"""A limit's name and the key that tells its buckets apart."""


class Draw(NamedTuple):
    """What is wanted of one bucket. `amount` is in the limit's unit; `client` is who wants it, where the limit has keys
    and so the bucket may be a new one."""

    limit: Limit
    key: tuple[str, ...]
    amount: float = 1.0
    client: str = ""

    @property
    def bucket(self) -> BucketId:
        """The bucket that is drawn from."""
        return self.limit.name, self.key


class Now(NamedTuple):
    """One moment: `monotonic` seconds for rates, `unix` seconds for periods of the calendar."""

    monotonic: float
    unix: float


class Taken(NamedTuple):
    """All was there. `states` are the next ones, in the order of the draws; `over` are the limits in report mode that
    would have refused."""

    states: Sequence[State]
    over: tuple[Limit, ...] = ()


class Lacking(NamedTuple):
    """One bucket does not have enough, so nothing was taken from any. `wait` is seconds until it will, if nobody else
    draws from it; `inf` if time alone does not help."""

    draw: Draw
    wait: float

    @property
    def limit(self) -> Limit:
        """The limit whose bucket lacks."""
        return self.draw.limit


def take(draws: Sequence[Draw], states: Sequence[State], now: Now) -> Taken | Lacking:
    """Take all or nothing. Of several buckets that lack, the one with the longest wait is named."""
    lacking: Lacking | None = None
    over: tuple[Limit, ...] = ()
    following: list[State] = []
    for draw, state in zip(draws, states):  # noqa: B905  # `strict` costs as much as a draw
        wait, following_state = _drawn(draw, state, now)
        if wait > 0:
            if draw.limit.report:
                over += (draw.limit,)
                if draw.limit.counted is not _CONCURRENT:
                    following_state = state
            elif lacking is None or wait > lacking.wait:
                lacking = Lacking(draw, wait)
        following.append(following_state)
    return lacking or Taken(following, over)


def wait_for(draw: Draw, state: State, now: Now) -> float:
    """Seconds until the bucket has enough; 0 if it has."""
    return _drawn(draw, state, now)[0]


def after(draw: Draw, state: State, now: Now) -> State:
    """The state once `amount` was taken, whether it was there or not."""
    return _drawn(draw, state, now)[1]


def _drawn(draw: Draw, state: State, now: Now) -> tuple[float, State]:
    """What `wait_for` and `after` tell, at once: every lease asks for both."""
    limit, _, amount, _ = draw
    counted = limit.counted
    if counted is _CONCURRENT:
        held = max(state[0], 0.0) + amount
        return (0.0 if held <= limit.rate else inf), (held, 0.0)
    if counted is _BYTES:
        return _spent(limit, amount, state, now)
    full_at, begin = state[0], now[0]
    ahead = full_at - begin if full_at > begin else 0.0
    if ahead > LATE and ahead - LATE > limit.burst / limit.rate and (limit.report or counted is not _BANDWIDTH):
        ahead = (limit.burst if counted is _BANDWIDTH else limit.burst - 1.0) / limit.rate
        full_at = begin + ahead
    wait = ahead + (amount - limit.burst) / limit.rate
    return (wait if wait > _ROUNDING else 0.0), ((full_at if ahead else begin) + amount / limit.rate, 0.0)


def _spent(limit: Limit, amount: float, state: State, now: Now) -> tuple[float, State]:
    start = period_start(limit, now)
    spent = state[1] if _counts(limit, start, state) else 0.0
    # Bytes are spent after they moved: a draw passes while anything is left.
    return (0.0 if spent < limit.rate else start + limit.period - now.unix), (start, spent + amount)


def _counts(limit: Limit, start: float, state: State) -> bool:
    """Whether what was spent counts for the period from `start`. It does if it was spent in the next one, so that a
    clock that is set back gives no budget anew. A later period is of a clock that was far ahead, and does not count."""
    return start <= state[0] <= start + limit.period


def left(limit: Limit, state: State, now: Now) -> float:
    """What could be taken at once, in the limit's unit; never below 0."""
    if limit.counted is _CONCURRENT:
        room = limit.rate - max(state[0], 0.0)
    elif limit.counted is _BYTES:
        room = limit.rate - (state[1] if _counts(limit, period_start(limit, now), state) else 0.0)
    else:
        room = limit.burst - max(state[0] - now.monotonic, 0.0) * limit.rate
    return max(room, 0.0)


def is_fresh(limit: Limit, state: State, now: Now) -> bool:
    """Whether forgetting the state changes nothing."""
    if limit.counted is _CONCURRENT:
        return state[0] <= 0
    if limit.counted is _BYTES:
        return not _counts(limit, period_start(limit, now), state)
    return state[0] <= now.monotonic


def period_start(limit: Limit, now: Now) -> float:
    """Unix seconds of the UTC hour or day. (POSIX time has no leap seconds: its days begin at multiples of 86,400.)"""
    return now.unix // limit.period * limit.period
