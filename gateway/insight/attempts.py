"""Folds records into attempts: millions of records are few different attempts, each with its outcome, how often it was
made, and when."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from gateway.model.intent import Door
from gateway.model.reasons import Reason
from gateway.telemetry.formats.fields import Recorded, authority_of, is_address, is_summed_up

MOST_ATTEMPTS = 2_000_000
_MOST_ADDRESSES = 16
_JUDGED = frozenset(
    {
        Reason.NO_RULE,
        Reason.DENIED_BY_RULE,
        Reason.PROTOCOL_MISMATCH,
        Reason.IN_CLUSTER_NAME,
        Reason.ADDRESS_REFUSED,
        Reason.SNI_MISSING,
        Reason.SNI_MISMATCH,
        Reason.SNI_DENIED,
    }
)
"""Refusals whose records can hold all that the verdict depended on."""


class TooMuch(Exception):
    """There are more different attempts than fit in memory."""


class Attempt(NamedTuple):
    """Who asked for what, as far as a verdict depends on it; `None` is what the record does not say. All but `passed`
    are called as in records."""

    client_address: str
    user: str | None
    namespace: str | None
    service_account: str | None
    spiffe: str | None
    host: str
    port: int
    door: str | None
    protocol: str | None
    sni: str | None
    original_address: str | None  # which a captured client chose
    passed: bool

    @property
    def client(self) -> str:
        """The client's name for people."""
        return client_of(self._asdict())

    @property
    def destination(self) -> str:
        """`host:port`."""
        return authority_of(self.host, self.port)


def client_of(record: Recorded) -> str:
    """The name of a record's client, for people."""
    namespace, account = record.get("namespace"), record.get("service_account")
    if namespace is not None:
        return f"{namespace}/{account}" if account else str(namespace)
    return str(record.get("user") or record.get("spiffe") or record["client_address"])


_FACTS = Attempt._fields[:-1]
_PROTOCOL = Attempt._fields.index("protocol")


@dataclass(slots=True)
class Occurrences:
    """How often an attempt was made, when first and last (RFC 3339), and some of the addresses dialled or refused.
    `was_reached`: at least one was dialled."""

    count: int = 0
    first: str = "~"
    last: str = ""
    addresses: frozenset[str] = frozenset()
    was_reached: bool = False

    def add(self, other: "Occurrences") -> None:
        """Add another attempt's."""
        self.count += other.count
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        self.was_reached = self.was_reached or other.was_reached
        if other.addresses is not self.addresses:  # most share one set
            self.addresses |= other.addresses


def fold(records: Iterable[Recorded], forbidden: int) -> dict[Attempt, Occurrences]:
    """Every attempt with a verdict of policy. Left out are records without a destination or a verdict, refusals that
    depend on what no record holds (credentials, rules about requests), and connections that only sum up requests with
    records of their own. `forbidden` is the status that a client is told where its destination is refused. Raises
    `TooMuch`."""
    tallies: dict[Attempt, Occurrences] = {}
    texts: dict[str, str] = {}

    def shared(value: Any) -> Any:
        """One object for all equal texts, of which each record has its own."""
        return texts.setdefault(value, value) if type(value) is str else value

    for record in records:
        attempt = attempt_of(record, forbidden)
        if attempt is None:
            continue
        tally = tallies.get(attempt)
        if tally is None:
            if len(tallies) >= MOST_ATTEMPTS:
                raise TooMuch(f"more than {MOST_ATTEMPTS} different attempts: give fewer files at once")
            tally = tallies[Attempt._make(map(shared, attempt))] = Occurrences()
        _count(tally, record)
    return tallies


def attempt_of(record: Recorded, forbidden: int) -> Attempt | None:
    """None if the record says nothing about policy. `forbidden` as in `fold`."""
    decision = record["decision"]
    if decision == "none" or "host" not in record or is_summed_up(record):
        return None
    if decision == "deny" and not _can_be_judged(record, forbidden):
        return None
    facts = list(map(record.get, _FACTS))
    if facts[_PROTOCOL] is None and (record.get("sni") or record.get("reason") == Reason.SNI_MISSING):
        facts[_PROTOCOL] = "tls"
    facts.append(decision == "allow")
    return Attempt._make(facts)


def _can_be_judged(record: Recorded, forbidden: int) -> bool:
    """Whether the record of a refusal holds all that the verdict depended on. Formats without reasons tell by their
    status whether it was the destination that was refused."""
    reason = record.get("reason")
    if reason is None:
        return bool(record.get("status", forbidden) == forbidden)
    if reason == Reason.ADDRESS_REFUSED:
        return "refused" in record or is_address(record["host"])
    if reason == Reason.SNI_MISMATCH:
        return bool(record.get("sni") != record["host"])  # else it was that of a second ClientHello
    if reason == Reason.PROTOCOL_MISMATCH:
        return "protocol" in record or record.get("door") == Door.ABSOLUTE_FORM
    return reason in _JUDGED


def _count(tally: Occurrences, record: Recorded) -> None:
    if not record.get("is_answer"):
        tally.count += 1
    time = record["time"]
    if time < tally.first:
        tally.first = time
    if time > tally.last:
        tally.last = time
    dialled = record.get("dialled_address")
    tally.was_reached = tally.was_reached or dialled is not None
    if dialled is None:
        if "refused" in record:
            _add_addresses(tally, [str(each).partition(" ")[0] for each in record["refused"]])
    elif dialled not in tally.addresses:
        _add_addresses(tally, _alone(dialled))


@lru_cache(maxsize=4096)  # most destinations have one address: their attempts share the set
def _alone(address: str) -> frozenset[str]:
    return frozenset((address,))


def _add_addresses(tally: Occurrences, addresses: Collection[str]) -> None:
    if not tally.addresses and isinstance(addresses, frozenset):
        tally.addresses = addresses
    elif len(tally.addresses) < _MOST_ADDRESSES:
        tally.addresses = tally.addresses.union(addresses)
