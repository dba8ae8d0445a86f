"""Bounds the bytes of one lease: bandwidth, which makes them wait, and budgets, which end them.

Bytes are counted after they moved, and are drawn in pieces: a bucket may be overdrawn by one read of each open
connection, and the next read waits until that is made up for.
"""

from collections.abc import Iterable, Sequence
from math import inf

from gateway.limits.draws import bytes_limits, identity_of, keys_of
from gateway.limits.store import Store
from gateway.limits.tally import Result, Tally
from gateway.model.client import Client
from gateway.model.decision import Permit
from gateway.model.limits.limit import Applied, Counted, Direction, Limit, Retry
from gateway.policy.buckets import Draw

PIECE_SECONDS = 0.05
LEAST_PIECE = 4 * 1024
LARGEST_PIECE = 1024 * 1024
DRAWN_LATER = 4  # up to 1/4 of a piece is drawn together with what follows,
OF_BUDGET = 1024  # but no more than 1/1024 of a budget


class BytesMeter:
    """Fulfils `roles.Meter`."""

    __slots__ = ("down", "up")

    def __init__(self, up: "BytesPace | None", down: "BytesPace | None") -> None:
        self.up = up
        self.down = down

    def close(self) -> None:
        """Draw what has moved and was not yet drawn."""
        for pace in {self.up, self.down}:  # both may be the same
            if pace is not None:
                pace.close()

    @property
    def would_limit(self) -> str | None:
        """The budget in report mode that would have ended it."""
        return next((pace.would_limit for pace in (self.up, self.down) if pace is not None and pace.would_limit), None)


class BytesPace:
    """Fulfils `roles.Pace`."""

    __slots__ = ("_draws", "_later", "_owed", "_spent", "_store", "_tally", "piece", "would_limit")

    def __init__(self, draws: Sequence[Draw], store: Store, tally: Tally) -> None:
        self._draws = draws
        self._store = store
        self._tally = tally
        self._owed = 0
        self._spent = draws[0], 0.0
        self.would_limit: str | None = None
        self.piece = min(_piece(draw.limit) for draw in draws)
        self._later = min(self.piece // DRAWN_LATER, *(_later(draw.limit) for draw in draws))

    def spend(self, size: int) -> float:
        """See `roles.Pace`."""
        self._owed += size
        return self.settle() if self._owed > self._later else 0.0

    def settle(self) -> float:
        """Draw all that is owed; returns seconds to wait, `inf` if a budget is spent."""
        owed, self._owed = float(self._owed), 0
        waits = [(draw, self._store.spend(draw._replace(amount=owed))) for draw in self._draws]
        return max((self._met(draw, wait) for draw, wait in waits if wait > 0), default=0.0)

    def close(self) -> None:
        """Draw all that is owed. It counts as no wait and no refusal: nothing follows."""
        owed, self._owed = float(self._owed), 0
        if owed:
            for draw in self._draws:
                self._store.spend(draw._replace(amount=owed))

    def refuse(self) -> Retry:
        """See `roles.Pace`."""
        draw, wait = self._spent
        self._tally.refuse(draw)
        return Retry(wait, draw.limit)

    def _met(self, draw: Draw, wait: float) -> float:
        limit = draw.limit
        if limit.counted is Counted.BYTES:
            return self._met_budget(draw, wait)
        self._tally.count((limit,), Result.WOULD_REFUSE if limit.report else Result.WAITED)
        return 0.0 if limit.report else wait

    def _met_budget(self, draw: Draw, wait: float) -> float:
        """Whoever moves the bytes counts what ends because of it."""
        if not draw.limit.report:
            self._spent = draw, wait
            return inf
        if self.would_limit is None:
            self.would_limit = draw.limit.name
            self._tally.count((draw.limit,), Result.WOULD_REFUSE)
        return 0.0


def meter_for(permit: Permit, client: Client, store: Store, tally: Tally) -> BytesMeter | None:
    """None where nothing bounds bytes."""
    limits = bytes_limits(permit)
    if not limits:
        return None
    draws = [_draws(limits, permit, client, direction) for direction in (Direction.UP, Direction.DOWN)]
    up = BytesPace(draws[0], store, tally) if draws[0] else None
    if draws[0] == draws[1]:
        return BytesMeter(up, up)
    return BytesMeter(up, BytesPace(draws[1], store, tally) if draws[1] else None)


def _draws(limits: Iterable[Applied], permit: Permit, client: Client, direction: Direction) -> list[Draw]:
    who = identity_of(client)
    draws = (
        Draw(each.limit, key, client=who)
        for each in limits
        if each.limit.direction in (Direction.BOTH, direction)
        for key in keys_of(each, permit, client)
    )
    return list(dict.fromkeys(draws))  # as in `draws_for`


def _piece(limit: Limit) -> int:
    if limit.counted is Counted.BYTES:
        return LARGEST_PIECE
    return int(min(max(limit.rate * PIECE_SECONDS, LEAST_PIECE), LARGEST_PIECE))


def _later(limit: Limit) -> int:
    return int(limit.rate / OF_BUDGET) if limit.counted is Counted.BYTES else LARGEST_PIECE
