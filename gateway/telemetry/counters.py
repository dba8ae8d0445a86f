"""What is counted at the end of every connection and exchange: plain integers, folded into metrics when somebody asks.

Labels come from the policy and from closed vocabularies only, never from a client, and their number is bounded.
"""

from gateway.model.reasons import Reason
from gateway.model.record import Dialled, Draft, ExchangeDraft, rule_of, verdict_of
from gateway.telemetry.counting import SERIES_LIMIT, STAGE_BOUNDS, Histogram, count_series
from gateway.telemetry.exchanges import labels_of
from gateway.telemetry.sealing import reason_of

LIFETIME_BOUNDS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 3600.0)

Labels = tuple[str, str, Reason | None]
"""Full rule name or "", verdict, reason."""


class Counters:
    """Written by the loop's thread only. A reader in another thread copies before it iterates."""

    __slots__ = (
        "_limit",
        "bytes_down",
        "bytes_up",
        "connections",
        "dial",
        "dns",
        "lifetime",
        "request_duration",
        "requests",
    )

    def __init__(self, series_limit: int = SERIES_LIMIT) -> None:
        self._limit = series_limit
        self.connections: dict[Labels, int] = {}
        self.requests: dict[tuple[str, str, Reason | None, str], int] = {}
        self.bytes_up = 0
        self.bytes_down = 0
        self.lifetime = Histogram(LIFETIME_BOUNDS)
        self.dns = Histogram(STAGE_BOUNDS)
        self.dial = Histogram(STAGE_BOUNDS)
        self.request_duration = Histogram(STAGE_BOUNDS)

    def count(self, draft: Draft, ended_at: float) -> None:
        """One connection that ended at the monotonic instant `ended_at`."""
        rule = rule_of(draft)
        count_series(self.connections, rule.name if rule else "", (verdict_of(draft), reason_of(draft)), self._limit)
        self.bytes_up += draft.transfer.bytes_up
        self.bytes_down += draft.transfer.bytes_down
        self.lifetime.observe(ended_at - draft.started_at)
        if draft.dialled is not None:
            self._observe(draft.dialled)

    def count_exchange(self, draft: ExchangeDraft, ended_at: float) -> None:
        """One exchange that ended at that instant. Its bytes are counted with its connection's."""
        rule = draft.decision.rule if draft.decision is not None else None
        count_series(self.requests, rule.name if rule else "", labels_of(draft), self._limit)
        self.request_duration.observe(ended_at - draft.started_at)
        if draft.dialled is not None and not draft.reused:
            self._observe(draft.dialled)

    def _observe(self, dialled: Dialled) -> None:
        self.dial.observe(dialled.dial_seconds)
        if dialled.resolve_seconds is not None:
            self.dns.observe(dialled.resolve_seconds)
