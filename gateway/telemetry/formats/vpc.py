"""VPC flow log records, version 2 by default, or a list of the fields of versions 2 to 5.

A connection is two flows: from the client to the address dialled, and back. What the gateway does not know is `-`: TCP
flags, and everything about the cloud around it. Packets are those of a tunnel's connection to its destination, and `-`
where they were not counted. The interface is the listener. What was refused before its name was resolved has no
address, and its `dstaddr` is `-`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from gateway.telemetry.formats.fields import (
    NotARecord,
    OtherTraffic,
    Record,
    Recorded,
    is_address,
    is_summed_up,
    milliseconds_of,
    time_of,
)

VERSIONS = {
    "version": 2,
    "account-id": 2,
    "interface-id": 2,
    "srcaddr": 2,
    "dstaddr": 2,
    "srcport": 2,
    "dstport": 2,
    "protocol": 2,
    "packets": 2,
    "bytes": 2,
    "start": 2,
    "end": 2,
    "action": 2,
    "log-status": 2,
    "vpc-id": 3,
    "subnet-id": 3,
    "instance-id": 3,
    "tcp-flags": 3,
    "type": 3,
    "pkt-srcaddr": 3,
    "pkt-dstaddr": 3,
    "region": 4,
    "az-id": 4,
    "sublocation-type": 4,
    "sublocation-id": 4,
    "pkt-src-aws-service": 5,
    "pkt-dst-aws-service": 5,
    "flow-direction": 5,
    "traffic-path": 5,
}
"""Every field, and the version that introduced it."""
DEFAULT_FIELDS = tuple(name for name, version in VERSIONS.items() if version == 2)

_TCP = 6
_ADDRESSES = frozenset({"srcaddr", "dstaddr"})
_NAME = re.compile("[a-z][a-z0-9-]*")
_UNKNOWN = "-"


class FlowKey(NamedTuple):
    """What distinguishes flows within a window: the five-tuple, the listener, and the outcome."""

    listener: str
    source: str
    destination: str
    source_port: int
    destination_port: int
    accepted: bool
    is_request: bool  # from the client; else the way back


@dataclass(slots=True)
class Flow:
    """The traffic of one five-tuple in one direction; `start` and `end` are Unix seconds. `packets` is None unless the
    packets of all of it are known."""

    octets: int
    start: int
    end: int
    packets: int | None = None

    def add(self, other: "Flow") -> None:
        """Add another connection, or another request of the same one."""
        self.octets += other.octets
        known = self.packets is not None and other.packets is not None
        self.packets = (self.packets or 0) + (other.packets or 0) if known else None
        self.start, self.end = min(self.start, other.start), max(self.end, other.end)


def flows_of(record: Record) -> Iterator[tuple[FlowKey, Flow]]:
    """The flow to the destination and, if that was let through or anything came back, the flow back; none for a
    connection that only sums up its requests, and none without a destination. `record` is a connection's or an
    exchange's."""
    known: Any = record
    if is_summed_up(record) or "port" not in known:
        return
    host = known["host"]
    destination = known.get("dialled_address") or (host if is_address(host) else _UNKNOWN)
    accepted = record["decision"] == "allow"
    client, port = record["client_address"], record["client_port"]
    began = milliseconds_of(record["time"])
    start, end = began // 1000, round(began + record["total_ms"]) // 1000
    there = FlowKey(record["listener"], client, destination, port, known["port"], accepted, True)
    yield there, Flow(record["bytes_up"], start, end, known.get("upstream_packets_out"))
    if "dialled_address" in known and (accepted or record["bytes_down"]):  # refused after bytes had moved
        back = FlowKey(record["listener"], destination, client, known["port"], port, accepted, False)
        yield back, Flow(record["bytes_down"], start, end, known.get("upstream_packets_in"))


def encode_flow(key: FlowKey, flow: Flow, fields: Sequence[str]) -> bytes:
    """One line, its newline included."""
    return _line(fields, _values(key, flow, fields))


def encode_silence(listener: str, start: int, end: int, status: str, fields: Sequence[str]) -> bytes:
    """A window without flows of a listener (`NODATA`), or one of which some were lost (`SKIPDATA`)."""
    values = {"interface-id": listener, "start": str(start), "end": str(end), "log-status": status}
    return _line(fields, {"version": _version(fields), **values})


def _values(key: FlowKey, flow: Flow, fields: Sequence[str]) -> dict[str, str]:
    return {
        "version": _version(fields),
        "interface-id": key.listener,
        "srcaddr": key.source,
        "dstaddr": key.destination,
        "srcport": str(key.source_port),
        "dstport": str(key.destination_port),
        "protocol": str(_TCP),
        "packets": _UNKNOWN if flow.packets is None else str(flow.packets),
        "bytes": str(flow.octets),
        "start": str(flow.start),
        "end": str(flow.end),
        "action": "ACCEPT" if key.accepted else "REJECT",
        "log-status": "OK",
        "type": "IPv6" if ":" in key.source else "IPv4",
        "pkt-srcaddr": key.source,
        "pkt-dstaddr": key.destination,
        "flow-direction": "egress" if key.is_request else "ingress",
    }


def _version(fields: Sequence[str]) -> str:
    return str(max((VERSIONS[name] for name in fields), default=2))


def _line(fields: Sequence[str], values: dict[str, str]) -> bytes:
    return (" ".join(values.get(name, _UNKNOWN).replace(" ", "_") for name in fields) + "\n").encode()


# --------------------------------------------------------------------------------------------------------------- reader


class FlowReader:
    """Reads the lines of one file. A line of field names, with which such files may begin, says what follows."""

    def __init__(self, fields: Sequence[str] = DEFAULT_FIELDS) -> None:
        self._fields = tuple(fields)

    def decode(self, line: bytes) -> Recorded | None:
        """A record of one direction of a connection; None for a line without a flow. Raises `NotARecord`, or
        `OtherTraffic` for one that is not of TCP."""
        try:
            words = line.decode().split()
        except UnicodeDecodeError as error:
            raise NotARecord("not a flow log record") from error
        if _are_names(words):
            self._fields = tuple(words)
            return None
        if len(words) != len(self._fields):
            raise NotARecord(f"a flow has {len(self._fields)} fields here, not {len(words)}")
        known = {name: word for name, word in zip(self._fields, words, strict=True) if word != _UNKNOWN}
        if known.get("log-status", "OK") != "OK":
            return None
        if known.get("protocol", str(_TCP)) != str(_TCP):
            raise OtherTraffic(f"a flow of IP protocol {known['protocol']}, not of TCP")
        try:
            return _record_of(known)
        except (KeyError, ValueError) as error:
            raise NotARecord("a flow without addresses, ports, bytes or times") from error


def _are_names(words: Sequence[str]) -> bool:
    """Whether these are names of fields. Those of later versions are skipped where both addresses are there as well."""
    if set(words) >= _ADDRESSES:
        return all(map(_NAME.fullmatch, words))
    return bool(words) and all(word in VERSIONS for word in words)


def _record_of(known: dict[str, str]) -> Recorded:
    """The direction is told by its field, else by the ports: a client's port is the higher one."""
    source, destination = int(known["srcport"]), int(known["dstport"])
    direction = known.get("flow-direction")
    forward = destination <= source if direction is None else direction == "egress"
    client, server = ("srcaddr", "dstaddr") if forward else ("dstaddr", "srcaddr")
    octets = int(known["bytes"])
    start, end = int(known["start"]), int(known["end"])
    record: Recorded = {
        "time": time_of(start * 1000),
        "total_ms": (end - start) * 1000.0,
        "client_address": known[client],
        "client_port": source if forward else destination,
        "port": destination if forward else source,
        "decision": "allow" if known.get("action", "ACCEPT") == "ACCEPT" else "deny",
        "bytes_up": octets if forward else 0,
        "bytes_down": 0 if forward else octets,
        "is_answer": not forward,
    }
    if server in known:
        record["host"] = record["dialled_address"] = known[server]
    if "interface-id" in known:
        record["listener"] = known["interface-id"]
    return record
