"""Limits of a policy: how often, how many at once, how many bytes. Plain values; the room `limits` counts."""

from enum import StrEnum
from typing import NamedTuple


class Counted(StrEnum):
    """What one limit counts."""

    CONNECTIONS = "connections"  # new tunnels, and connections to a destination that requests need
    REQUESTS = "requests"  # where they are seen: plain HTTP and inspected TLS
    CONCURRENT = "concurrent"  # tunnels and exchanges that are open
    BANDWIDTH = "bandwidth"  # bytes per second
    BYTES = "bytes"  # bytes in each UTC hour or day


TUNNEL = frozenset({Counted.CONNECTIONS, Counted.CONCURRENT, Counted.BYTES})
"""What is counted when a tunnel begins."""

EXCHANGE = frozenset({Counted.REQUESTS, Counted.CONCURRENT, Counted.BYTES})
"""What is counted when an exchange outside a tunnel begins, besides the connection that it may need."""

REQUEST = frozenset({Counted.REQUESTS})
"""What is counted when an exchange inside a tunnel begins."""

CONNECTION = frozenset({Counted.CONNECTIONS})
"""What is counted in addition when an exchange needs a new connection."""


class KeyPart(StrEnum):
    """What has a count of its own. `rule`: the place where the limit is written, so that all share one count."""

    RULE = "rule"
    GROUP = "group"
    CLIENT = "client"
    HOST = "host"


class Direction(StrEnum):
    """Which bytes count."""

    BOTH = "both"
    UP = "up"
    DOWN = "down"


class Limit(NamedTuple):
    """One bound. `name` is unique in a policy and says where it stands (a rule's full name, a group's or a quota's).

    `rate` is per second for connections, requests and bandwidth; for `concurrent` the highest number, for `bytes` the
    bytes of one `period` (seconds, a UTC hour or day; 0 elsewhere). `burst` is what may come at once, in the same unit.
    With `queue` a client over the limit waits, at most `max_wait` seconds; with `report` nobody is ever refused.
    """

    name: str
    counted: Counted
    rate: float
    burst: float = 1.0
    period: float = 0.0
    key: tuple[KeyPart, ...] = (KeyPart.RULE,)
    queue: bool = False
    max_wait: float = 0.0
    direction: Direction = Direction.BOTH
    report: bool = False


class Applied(NamedTuple):
    """A limit where it applies. `groups` are those of the client's for which it has counts of their own, if any."""

    limit: Limit
    groups: tuple[str, ...] = ()


class Breaker(NamedTuple):
    """A destination that failed `failures` times within `window` seconds is not dialled for `open` seconds."""

    failures: int = 5
    window: float = 10.0
    open: float = 30.0


class Retry(NamedTuple):
    """What a refused client may know: in how many seconds to try again, and which limit it met."""

    after: float
    limit: Limit | None = None
