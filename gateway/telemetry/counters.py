"""What is counted at the end of every connection and exchange: plain integers, made into metrics when they are scraped.

Labels come from the policy and from closed vocabularies only, never from a client, and their number is bounded.
"""

from collections.abc import Mapping
from typing import Any

from gateway.model.reasons import Reason
from gateway.model.record import Dialled, Draft, ExchangeDraft, rule_name, verdict_of
from gateway.telemetry.exchanges import labels_of
from gateway.telemetry.sealing import reason_of
from gateway.telemetry.series import SERIES_LIMIT, STAGE_BOUNDS, Histogram, count_series

LIFETIME_BOUNDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 3600.0)

_VERSIONS = {0x0304: "1.3", 0x0303: "1.2", 0x0302: "1.1", 0x0301: "1.0"}
OTHER_VERSIONS = "other"

_SERIES = ("connections", "requests")
_HISTOGRAMS = ("lifetime", "request_duration", "dns", "dial")

FLOWS, SENT, NO_ROOM, REFUSED = "flows", "sent", "no_room", "refused"

Labels = tuple[str, str, Reason | None]
"""Full rule name or "", verdict, reason."""


Delivery = tuple[str, str]
"""What was sent out of the process (`traces`, `metrics`, `logs` or `flows`) and the outcome: `sent`, `no_room` (it did
not fit into the queue) or `refused`."""


class Counters:
    """Written by the loop's thread only, except `deliveries`, of which each key is written by one thread. Readers in
    other threads copy before they iterate."""

    __slots__ = (
        "_limit",
        "bytes_down",
        "bytes_up",
        "connections",
        "deliveries",
        "dial",
        "dns",
        "inspectors_failed",
        "lifetime",
        "request_duration",
        "requests",
        "tls",
    )

    def __init__(self, series_limit: int = SERIES_LIMIT) -> None:
        self._limit = series_limit
        self.connections: dict[Labels, int] = {}
        self.requests: dict[tuple[str, str, Reason | None, str], int] = {}
        self.deliveries: dict[Delivery, int] = {}
        self.inspectors_failed: dict[str, int] = {}
        self.tls: dict[tuple[str, str], int] = {}
        self.bytes_up = 0
        self.bytes_down = 0
        self.lifetime = Histogram(LIFETIME_BOUNDS)
        self.dns = Histogram(STAGE_BOUNDS)
        self.dial = Histogram(STAGE_BOUNDS)
        self.request_duration = Histogram(STAGE_BOUNDS)

    def count(self, draft: Draft, ended_at: float) -> None:
        """Count one connection that ended at the monotonic instant `ended_at`."""
        transfer = draft.transfer
        count_series(self.connections, (rule_name(draft), verdict_of(draft), reason_of(draft)), self._limit)
        self.bytes_up += transfer.bytes_up
        self.bytes_down += transfer.bytes_down
        self.lifetime.observe(ended_at - draft.started_at)
        if draft.dialled is not None:
            self._observe(draft.dialled)
        if draft.opening is not None and draft.opening.hello is not None:
            newest = _VERSIONS.get(max(draft.opening.hello.versions, default=0), OTHER_VERSIONS)
            self.tls_began(newest, "passed" if draft.tls is None else "inspected")

    @property
    def total(self) -> int:
        """Connections that ended."""
        return sum(self.connections.copy().values())

    def count_exchange(self, draft: ExchangeDraft, ended_at: float) -> None:
        """Count one exchange that ended at that instant. Its bytes are counted with its connection's."""
        count_series(self.requests, (rule_name(draft), *labels_of(draft)), self._limit)
        self.request_duration.observe(ended_at - draft.started_at)
        if draft.dialled is not None and not draft.reused:
            self._observe(draft.dialled)
        if draft.seen is not None and draft.seen.said is not None:
            for inspector in draft.seen.said.failures:
                self.inspector_failed(inspector)

    def inspector_failed(self, name: str, count: int = 1) -> None:
        """Count `count` exchanges in which the inspector of that name failed."""
        self.inspectors_failed[name] = self.inspectors_failed.get(name, 0) + count

    def tls_began(self, version: str, handling: str, count: int = 1) -> None:
        """Count `count` TLS tunnels whose client offers `version` as its newest."""
        labels = (version, handling)
        self.tls[labels] = self.tls.get(labels, 0) + count

    def deliver(self, what: str, outcome: str, count: int = 1) -> None:
        """Count `count` deliveries of `what` with this outcome."""
        key = (what, outcome)
        self.deliveries[key] = self.deliveries.get(key, 0) + count

    def _observe(self, dialled: Dialled) -> None:
        self.dial.observe(dialled.dial_seconds)
        if dialled.resolve_seconds is not None:
            self.dns.observe(dialled.resolve_seconds)

    def state(self) -> dict[str, Any]:
        """All counts as values that JSON has."""
        return {
            **{name: [[*labels, count] for labels, count in getattr(self, name).copy().items()] for name in _SERIES},
            "deliveries": [[*key, count] for key, count in self.deliveries.copy().items()],
            "inspectors_failed": list(self.inspectors_failed.copy().items()),
            "tls": [[*labels, count] for labels, count in self.tls.copy().items()],
            "bytes": [self.bytes_up, self.bytes_down],
            **{name: getattr(self, name).state() for name in _HISTOGRAMS},
        }

    def add(self, state: Mapping[str, Any]) -> None:
        """Add another process's counts. Raises `LookupError`, `TypeError` or `ValueError` for what is no `state`."""
        for rule, verdict, reason, count in state["connections"]:
            count_series(self.connections, (str(rule), str(verdict), _reason(reason)), self._limit, int(count))
        for rule, verdict, reason, status, count in state["requests"]:
            labels = str(rule), str(verdict), _reason(reason), str(status)
            count_series(self.requests, labels, self._limit, int(count))
        for what, outcome, count in state["deliveries"]:
            self.deliver(str(what), str(outcome), int(count))
        for name, count in state["inspectors_failed"]:
            self.inspector_failed(str(name), int(count))
        for version, handling, count in state["tls"]:
            self.tls_began(str(version), str(handling), int(count))
        up, down = state["bytes"]
        self.bytes_up += int(up)
        self.bytes_down += int(down)
        for name in _HISTOGRAMS:
            getattr(self, name).add(state[name])


def _reason(value: str | None) -> Reason | None:
    return None if value is None else Reason(value)
