"""Compiles limits: quotas resolved, defaults filled in, each with a name of its own.

A bucket belongs to its limit's name, so that a reload which changes a rate keeps what was drawn. The name says what is
counted: a limit that counts something else has other buckets, in memory and in a shared store.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from gateway.model.limits.limit import Breaker, Counted, Direction, KeyPart, Limit
from gateway.policy.rules import Mode
from gateway.settings.policy import BreakerSettings, LimitSettings, UseLimitSettings

MAX_WAIT = 10.0
"""Seconds; the default of `max_wait` with `on_limit: queue`."""

_PERIODS = {"hour": 3600.0, "day": 86400.0}


def compile_limits(
    limits: Iterable[UseLimitSettings] | None, where: str, quotas: Mapping[str, LimitSettings]
) -> tuple[Limit, ...]:
    """The limits of `where`, a rule's full name or `group NAME`. Those of one kind are numbered from the second on. A
    quota that is not declared, or used a second time, is skipped."""
    compiled: dict[str, Limit] = {}
    kinds: Counter[Counted] = Counter()
    for settings in limits or ():
        if settings.use is not None:
            if settings.use in quotas:
                quota = quotas[settings.use]
                limit = compile_limit(quota, f"quota {settings.use}.{_counted(quota)}")
                compiled[limit.name] = limit
            continue
        counted = _counted(settings)
        kinds[counted] += 1
        number = f".{kinds[counted]}" if kinds[counted] > 1 else ""
        limit = compile_limit(settings, f"{where}.{counted}{number}")
        compiled[limit.name] = limit
    return tuple(compiled.values())


def compile_limit(settings: LimitSettings, name: str) -> Limit:
    """Of settings that count exactly one thing, as `check_limit` has checked."""
    counted = _counted(settings)
    rate, period = _rate(settings)
    queue = settings.on_limit == "queue"
    return Limit(
        name=name,
        counted=counted,
        rate=rate,
        burst=float(settings.burst) if settings.burst is not None else 1.0 if queue else max(rate, 1.0),
        period=period,
        key=tuple(KeyPart(part) for part in dict.fromkeys(settings.key)),
        queue=queue,
        max_wait=(settings.max_wait or MAX_WAIT) if queue else 0.0,
        direction=Direction(settings.direction),
        report=settings.mode is Mode.REPORT,
    )


def compile_breaker(settings: BreakerSettings | None) -> Breaker | None:
    """As it is written."""
    return None if settings is None else Breaker(settings.failures, settings.window, settings.open)


def _counted(settings: LimitSettings) -> Counted:
    return next((kind for kind in Counted if getattr(settings, kind) is not None), Counted.CONNECTIONS)


def _rate(settings: LimitSettings) -> tuple[float, float]:
    """The rate per second and 0, or the budget of a period and its seconds."""
    if settings.bytes is not None:
        return float(settings.bytes.size), _PERIODS[settings.bytes.per]
    stated = (settings.connections, settings.requests, settings.concurrent, settings.bandwidth)
    return float(next((rate for rate in stated if rate is not None), 1.0)), 0.0
