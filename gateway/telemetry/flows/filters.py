"""Filters for flows, named as Hubble's where both have the same thing."""

import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

from gateway.model.addresses import parse_address, parse_network
from gateway.model.intent import Protocol
from gateway.model.reasons import Reason

MOST_VALUES = 32
MOST_CHARACTERS = 253

PROTOCOLS = (Protocol.TLS, Protocol.HTTP, Protocol.TCP)
FORWARDED, DROPPED, ERROR, AUDIT = VERDICTS = ("forwarded", "dropped", "error", "audit")

_REASONS = frozenset(Reason)
_STATUS = re.compile(r"[1-5](\+|[0-9]{2})", re.ASCII)

Flow = Mapping[str, Any]
"""A record's keys."""


class BadFilter(ValueError):
    """An invalid filter; the text says what is wrong."""


class FlowFilter:
    """Values of one key: any may match. Different keys: all must match."""

    def __init__(self, wanted: Mapping[str, frozenset[str]]) -> None:
        self._wanted = [(_TESTS[key], values) for key, values in wanted.items()]

    def holds(self, flow: Flow) -> bool:
        """Whether the record matches."""
        return all(any(test(flow, value) for value in values) for test, values in self._wanted)


def parse_filter(pairs: Iterable[tuple[str, str]]) -> FlowFilter:
    """From keys and values, in any order. Raises `BadFilter`."""
    wanted: dict[str, set[str]] = {}
    for number, (key, value) in enumerate(pairs, 1):
        if key not in _TESTS:
            raise BadFilter(f"no filter is called {key[:40]!r}")
        if number > MOST_VALUES or not 0 < len(value) <= MOST_CHARACTERS:
            raise BadFilter(f"at most {MOST_VALUES} filters of 1 to {MOST_CHARACTERS} characters")
        wanted.setdefault(key, set()).add(_checked(key, value))
    return FlowFilter({key: frozenset(values) for key, values in wanted.items()})


def verdict_in(flow: Flow) -> str:
    """`dropped`: policy refused it. `audit`: it would have, but report mode let it pass. `error`: it got no verdict,
    failed, or the destination was too slow. `forwarded`: all else."""
    if flow.get("decision") == "deny":
        return DROPPED
    ended = flow.get("ended")
    was_too_slow = ended == "timeout" and flow.get("ended_by") == "upstream"
    if flow.get("decision") == "none" or ended == "failed" or was_too_slow:
        return ERROR
    return AUDIT if "would_deny" in flow or "would_limit" in flow else FORWARDED


def _checked(key: str, value: str) -> str:
    if key == "verdict" and value.lower() not in VERDICTS:
        raise BadFilter(f"verdict is one of {', '.join(VERDICTS)}")
    if key == "protocol" and value.lower() not in PROTOCOLS:
        raise BadFilter(f"protocol is one of {', '.join(PROTOCOLS)}")
    if key == "port" and not (value.isdecimal() and value.isascii() and 0 < int(value[:6]) < 65536):
        raise BadFilter("port is a number from 1 to 65535")
    if key in ("from_ip", "to_ip") and parse_network(value) is None:
        raise BadFilter(f"{key} is an address or a network: 10.0.0.1, 10.0.0.0/8")
    if key == "http_status" and not _STATUS.fullmatch(value):
        raise BadFilter("http_status is three digits, or one and a plus: 404, 4+")
    if key == "reason" and value not in _REASONS:
        raise BadFilter(f"no reason is called {value[:40]!r}: docs/reasons.md lists them")
    return value.lower() if key in ("verdict", "to_fqdn", "protocol") else value


def _has(key: str) -> Callable[[Flow, str], bool]:
    return lambda flow, value: str(flow.get(key, "")) == value


def _is_in(key: str) -> Callable[[Flow, str], bool]:
    """The address, however it is written, or one inside the network."""

    def holds(flow: Flow, value: str) -> bool:
        address, network = parse_address(str(flow.get(key, ""))), _network(value)
        return address is not None and network is not None and address in network

    return holds


_network = lru_cache(maxsize=256)(parse_network)


def _is_like(key: str) -> Callable[[Flow, str], bool]:
    return lambda flow, value: fnmatchcase(str(flow.get(key, "")), value)


def _belongs_to(flow: Flow, key: str, value: str, matches: Callable[[str, str], bool]) -> bool:
    """Whether the client's `key` matches `[NAMESPACE/]NAME`; without a namespace, in any."""
    namespace, slash, name = value.rpartition("/")
    return key in flow and (not slash or flow.get("namespace") == namespace) and matches(str(flow[key]), name)


def _of_workload(flow: Flow, value: str) -> bool:
    """`api` or `Deployment/api`, with or without a namespace."""
    full = str(flow.get("workload", ""))
    name = full.partition("/")[2]
    before = f"{flow.get('namespace', '')}/"
    return bool(full) and value in (full, name, before + full, before + name)


def _has_status(flow: Flow, value: str) -> bool:
    """`404`, or a class of them: `4+` is all that begin with 4."""
    status = str(flow.get("status", ""))
    return status[:1] == value[:1] if value.endswith("+") else status == value


_TESTS: Mapping[str, Callable[[Flow, str], bool]] = {
    "verdict": lambda flow, value: verdict_in(flow) == value,
    "from_namespace": _has("namespace"),
    "from_pod": lambda flow, value: _belongs_to(flow, "pod", value, str.startswith),
    "from_workload": _of_workload,
    "from_service_account": lambda flow, value: _belongs_to(flow, "service_account", value, str.__eq__),
    "from_ip": _is_in("client_address"),
    "from_user": _has("user"),
    "from_group": lambda flow, value: value in flow.get("groups", ()),
    "to_fqdn": _is_like("host"),
    "to_ip": _is_in("dialled_address"),
    "port": _has("port"),
    "protocol": _has("protocol"),
    "http_method": _has("method"),
    "http_path": _is_like("path"),
    "http_status": _has_status,
    "rule": _has("rule"),
    "reason": _has("reason"),
}

KEYS = tuple(_TESTS)
