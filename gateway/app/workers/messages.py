"""Bodies of frames. What comes from a worker is checked like anything that a stranger could have written."""

import pickle
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.app.workers.channel import ChannelBroken
from gateway.model.addresses import Address
from gateway.settings.gateway import GatewaySettings
from gateway.telemetry.counters import Counters


@dataclass(frozen=True, slots=True)
class Start:
    """All that a worker must know to begin; `listening` is where the gateway does. The rest are descriptors that it
    inherits: `sockets` it listens on, by listener name; `page` and `turns` of its ledger."""

    settings: GatewaySettings
    listening: frozenset[tuple[Address, int]]
    sockets: tuple[tuple[str, int], ...]
    page: int
    turns: int

    def encode(self) -> bytes:
        """For the supervisor."""
        return pickle.dumps(self)

    @staticmethod
    def decode(body: bytes) -> "Start":
        """For the worker, which trusts its supervisor. Raises `ChannelBroken`."""
        start = pickle.loads(body)  # noqa: S301  # from our own supervisor, over a socket that only it holds
        if not isinstance(start, Start):
            raise ChannelBroken("the first frame is no start")
        return start


@dataclass(slots=True)
class Snapshot:
    """What a worker has counted since it started. `dns_queries` are by result."""

    counters: Counters = field(default_factory=Counters)
    tunnels_open: int = 0
    dns_queries: dict[str, int] = field(default_factory=dict)

    def add(self, other: "Snapshot") -> None:
        """Both together."""
        self.counters.add(other.counters.state())
        self.tunnels_open += other.tunnels_open
        for result, count in other.dns_queries.items():
            self.dns_queries[result] = self.dns_queries.get(result, 0) + count

    def encode(self) -> bytes:
        """For the worker."""
        return orjson.dumps([self.counters.state(), self.tunnels_open, self.dns_queries])

    @staticmethod
    def decode(body: bytes) -> "Snapshot":
        """For the supervisor. Raises `ChannelBroken`."""
        try:
            counted, tunnels_open, dns_queries = _list(orjson.loads(body))
            snapshot = Snapshot(Counters(), int(tunnels_open), {str(r): int(n) for r, n in dns_queries.items()})
            snapshot.counters.add(counted)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise ChannelBroken("counts that are none") from error
        return snapshot


def encode_number(number: float) -> bytes:
    """A generation, or seconds."""
    return orjson.dumps(number)


def decode_number(body: bytes) -> float:
    """Raises `ChannelBroken`."""
    try:
        return float(orjson.loads(body))
    except (TypeError, ValueError) as error:
        raise ChannelBroken("a number that is none") from error


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value
