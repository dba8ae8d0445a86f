"""Bodies of messages. What comes from a worker is checked like a stranger's."""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import orjson

from gateway.admin.state import LimitFill, OpenTunnel
from gateway.app.configuration import Materials
from gateway.app.live.limiting import Seat
from gateway.app.live.snapshot import Snapshot
from gateway.app.workers.channel import ChannelBroken
from gateway.kubernetes.directory import Change
from gateway.model.addresses import Address
from gateway.settings.gateway import GatewaySettings

PROBLEM_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class Start:
    """What a worker needs to begin. `materials` are for the listeners of `settings`, which stay as they are while
    changed ones wait for a restart; `listening` are the gateway's addresses. The rest are descriptors that it inherits:
    `sockets` to listen on, by listener name; `page` and `locks` of its ledger; the table of `seat`."""

    settings: GatewaySettings
    materials: Materials
    listening: frozenset[tuple[Address, int]]
    sockets: tuple[tuple[str, int], ...]
    page: int
    locks: int
    seat: Seat

    def encode(self) -> bytes:
        """For the supervisor."""
        return pickle.dumps(self)

    @staticmethod
    def decode(body: bytes) -> "Start":
        """For the worker, which trusts its supervisor. Raises `ChannelBroken`."""
        start = pickle.loads(body)  # noqa: S301  # from our own supervisor, over a socket that only it holds
        if not isinstance(start, Start):
            raise ChannelBroken("the first message is not a Start")
        return start


class Topic(StrEnum):
    """What a worker can be asked."""

    TUNNELS = "tunnels"  # answered with `OpenTunnel`s
    LIMITS = "limits"  # answered with `LimitFill`s
    CLOSE_TUNNEL = "close_tunnel"  # answered with True if there was one


@dataclass(frozen=True, slots=True)
class Question:
    """`number` is the supervisor's, for the answer; `about` a connection, where the topic needs one."""

    number: int
    topic: Topic
    about: str = ""

    def encode(self) -> bytes:
        """For the supervisor."""
        return orjson.dumps([self.number, self.topic, self.about])

    @staticmethod
    def decode(body: bytes) -> "Question":
        """For the worker, which trusts its supervisor."""
        number, topic, about = orjson.loads(body)
        return Question(number, Topic(topic), about)


@dataclass(frozen=True, slots=True)
class Answer:
    """A part of an answer; more follows unless it `is_last`."""

    number: int
    items: Sequence[Any]
    is_last: bool

    def encode(self) -> bytes:
        """For the worker."""
        return orjson.dumps([self.number, self.items, self.is_last])

    @staticmethod
    def decode(body: bytes) -> "Answer":
        """For the supervisor. Raises `ChannelBroken`."""
        try:
            number, items, is_last = _list(orjson.loads(body))
            return Answer(int(number), _list(items), bool(is_last))
        except (TypeError, ValueError) as error:
            raise ChannelBroken("a malformed answer") from error


def open_tunnel(item: Any) -> OpenTunnel:
    """Of an answer. Raises `ChannelBroken`."""
    try:
        return OpenTunnel(**item)
    except TypeError as error:
        raise ChannelBroken("a malformed tunnel") from error


def limit_fill(item: Any) -> LimitFill:
    """Of an answer. Raises `ChannelBroken`."""
    try:
        fill = LimitFill(**item)
        return replace(fill, key=tuple(map(str, fill.key)))
    except TypeError as error:
        raise ChannelBroken("a malformed limit") from error


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """For the worker."""
    return orjson.dumps(snapshot.state())


def decode_snapshot(body: bytes) -> Snapshot:
    """For the supervisor. Raises `ChannelBroken`."""
    try:
        return Snapshot.read(_list(orjson.loads(body)))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ChannelBroken("malformed counts") from error


def encode_changes(changes: Sequence[Change]) -> bytes:
    """What the API server reported, for the supervisor."""
    return pickle.dumps(changes, pickle.HIGHEST_PROTOCOL)


def decode_changes(body: bytes) -> Sequence[Change]:
    """For the worker, which trusts its supervisor."""
    changes: Sequence[Change] = pickle.loads(body)  # noqa: S301  # as in `Start.decode`
    return changes


def encode_problem(why: str) -> bytes:
    """Of a generation that could not be taken."""
    return orjson.dumps(why[:PROBLEM_CHARACTERS])


def decode_problem(body: bytes) -> str:
    """Raises `ChannelBroken`."""
    try:
        why = orjson.loads(body)
    except ValueError:
        why = None
    if not isinstance(why, str):
        raise ChannelBroken("a malformed problem")
    return why


def encode_number(number: float) -> bytes:
    """A generation, or seconds."""
    return orjson.dumps(number)


def decode_number(body: bytes) -> float:
    """Raises `ChannelBroken`."""
    try:
        number = orjson.loads(body)
    except ValueError:
        number = None
    if not isinstance(number, int | float):  # a text could be infinite
        raise ChannelBroken("a malformed number")
    return float(number)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value
