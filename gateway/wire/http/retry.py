"""When a client may try again, and which limit it met: `Retry-After` of RFC 9110 section 10.2.3 and the fields of
draft-ietf-httpapi-ratelimit-headers. The policy's names are not disclosed: a limit is named after what it counts."""

from collections.abc import Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from math import ceil

from gateway.model.limits.limit import Counted, Limit, Retry

_UNITS = {
    Counted.CONCURRENT: "concurrent-requests",
    Counted.BANDWIDTH: "content-bytes",
    Counted.BYTES: "content-bytes",
}

LONGEST_PATIENCE = 3600.0
"""Seconds; a destination that asks for more gets this."""

_LONGEST_WINDOW = 86400
"""Seconds; a rate below one a day is given as one a day."""


def retry_fields(retry: Retry) -> list[tuple[str, str]]:
    """Whole seconds, rounded up, at least 1: a client that tries again sooner is refused again."""
    seconds = max(1, ceil(retry.after))
    fields = [("Retry-After", str(seconds))]
    if retry.limit is not None:
        name = f'"{retry.limit.counted}"'
        fields.append(("RateLimit-Policy", f"{name};{_quota(retry.limit)}"))
        fields.append(("RateLimit", f"{name};r=0;t={seconds}"))
    return fields


def parse_retry_after(values: Sequence[str], now: float) -> float | None:
    """Seconds from `now` (Unix time), at most `LONGEST_PATIENCE`; None without a valid value."""
    if len(values) != 1:
        return None
    text = values[0].strip()
    if text.isascii() and text.isdecimal():
        return min(float(text[:9]), LONGEST_PATIENCE)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    when = date if date.tzinfo is not None else date.replace(tzinfo=UTC)  # asctime's form has no zone, and means GMT
    return min(max(when.timestamp() - now, 0.0), LONGEST_PATIENCE)


def _quota(limit: Limit) -> str:
    """The quota and its window: `q=24;w=1`, or `q=200;qu="concurrent-requests"` where time does not matter."""
    unit = _UNITS.get(limit.counted)
    shown_unit = f';qu="{unit}"' if unit is not None else ""
    if limit.counted is Counted.CONCURRENT:
        return f"q={int(limit.rate)}{shown_unit}"
    if limit.counted is Counted.BYTES:
        return f"q={int(limit.rate)}{shown_unit};w={int(limit.period)}"
    window = min(max(1, ceil(1 / limit.rate)), _LONGEST_WINDOW)
    return f"q={max(1, int(limit.rate * window))}{shown_unit};w={window}"
