"""Bounds on what costs a peer nothing to send: a token bucket for each kind.

Each kind is cheap to send and expensive, or at least useless, to receive: streams that are opened to be reset
(CVE-2023-44487), SETTINGS, PINGs, empty frames, window updates that nobody waits for. Honest peers send some of all of
them, which is what the bursts are for. Time is an argument, in seconds.
"""

from enum import Enum
from typing import NamedTuple

from gateway.wire.http2.codes import ConnectionFault, ErrorCode

USUAL_FIELDS = 200
"""Of one head. Most have thirty; a browser sends each of up to 180 cookies as a field."""


class Bucket(NamedTuple):
    """`burst` at once, then `rate` a second."""

    burst: float
    rate: float


class Kind(Enum):
    """What is counted, and how much of it is tolerated."""

    RESET = "streams that are reset", Bucket(400, 100)
    SETTINGS = "SETTINGS", Bucket(100, 10)  # gRPC's C core sends one for each new estimate of the path's bandwidth
    PING = "PINGs", Bucket(500, 50)
    PRIORITY = "PRIORITYs", Bucket(1000, 100)  # browsers send one or two for each picture of a page
    EMPTY = "frames that carry nothing", Bucket(200, 20)
    WINDOW = "WINDOW_UPDATEs", Bucket(2000, 1000)
    STRAY = "frames on closed streams", Bucket(500, 100)
    FIELD = "fields in large heads", Bucket(1000, 100)  # beyond `USUAL_FIELDS` each: one by reference takes one byte

    def __init__(self, title: str, bucket: Bucket) -> None:
        self.title = title
        self.bucket = bucket


class Floods:
    """What one peer has sent of each kind."""

    def __init__(self) -> None:
        self._levels: dict[Kind, tuple[float, float]] = {}

    def count(self, kind: Kind, now: float, more: int = 1) -> None:
        """So many more. Raises `ConnectionFault` if they are too many."""
        bucket = kind.bucket
        level, since = self._levels.get(kind, (bucket.burst, now))
        level = min(bucket.burst, level + (now - since) * bucket.rate) - more
        if level < 0:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"too many {kind.title}")
        self._levels[kind] = level, now

    def earn(self, kind: Kind, count: float) -> None:
        """Allow `count` more: something that we did gives the peer reason for them."""
        known = self._levels.get(kind)
        if known is not None:
            self._levels[kind] = min(kind.bucket.burst, known[0] + count), known[1]
