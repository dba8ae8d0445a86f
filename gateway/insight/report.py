"""Who reached what, and by which rule: records summed up by some of their columns."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateway.insight.attempts import MOST_ATTEMPTS, TooMuch, client_of
from gateway.telemetry.formats.fields import Recorded, authority_of, is_summed_up

USUAL = ("day", "client", "destination")


@dataclass(slots=True)
class Sums:
    """Connections and requests by verdict, and payload bytes. A connection of several requests counts as these."""

    allowed: int = 0
    denied: int = 0
    would_deny: int = 0
    ended_before: int = 0
    bytes_up: int = 0
    bytes_down: int = 0

    @property
    def attempts(self) -> int:
        """Connections and requests, whatever their verdict."""
        return self.allowed + self.denied + self.ended_before

    def add(self, other: "Sums") -> None:
        """Add other sums."""
        self.allowed += other.allowed
        self.denied += other.denied
        self.would_deny += other.would_deny
        self.ended_before += other.ended_before
        self.bytes_up += other.bytes_up
        self.bytes_down += other.bytes_down


def add_up(records: Iterable[Recorded], by: Sequence[str] = USUAL) -> dict[tuple[str, ...], Sums]:
    """Sums for each combination of values of `by`, some of `DIMENSIONS`, in order. `would_deny` is a part of
    `allowed`. Raises `TooMuch`."""
    rows: dict[tuple[str, ...], Sums] = {}
    names = [DIMENSIONS[dimension] for dimension in by]
    for record in records:
        if is_summed_up(record):
            continue
        key = tuple([name(record) for name in names])
        sums = rows.get(key)
        if sums is None:
            if len(rows) >= MOST_ATTEMPTS:
                raise TooMuch(f"more than {MOST_ATTEMPTS} rows: report by fewer columns")
            sums = rows[key] = Sums()
        _count(sums, record)
    return dict(sorted(rows.items()))


def _count(sums: Sums, record: Recorded) -> None:
    sums.bytes_up += record["bytes_up"]
    sums.bytes_down += record["bytes_down"]
    if record.get("is_answer"):
        return
    match record["decision"]:
        case "allow":
            sums.allowed += 1
            sums.would_deny += "would_deny" in record
        case "deny":
            sums.denied += 1
        case _:
            sums.ended_before += 1


def _destination(record: Recorded) -> str:
    return authority_of(record["host"], record["port"]) if "host" in record else "-"


def _groups(record: Recorded) -> str:
    return ",".join(map(str, record.get("groups", ()))) or "-"


def _reason(record: Recorded) -> str:
    """Why it was refused, or would have been but for report mode."""
    return str(record.get("reason") or record.get("would_deny") or "-")


DIMENSIONS: Mapping[str, Callable[[Recorded], str]] = {
    "month": lambda record: record["time"][:7],
    "day": lambda record: record["time"][:10],
    "client": client_of,
    "namespace": lambda record: record.get("namespace") or "-",
    "groups": _groups,
    "destination": _destination,
    "rule": lambda record: record.get("rule") or "-",
    "reason": _reason,
}
"""The columns that records can be summed up by."""
