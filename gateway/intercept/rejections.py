"""Clients that reject our certificate: pinned, or without our authority.

Such a tunnel ends; it is never relayed uninspected. The log says what can be done about it, once in ten minutes for
each rule; metrics count them by reason.
"""

import logging
from collections.abc import Callable

from gateway.model.addresses import Address
from gateway.model.decision import RuleRef

QUIET_SECONDS = 600.0
RULES = 1000

_logger = logging.getLogger(__name__)


class Rejections:
    """`monotonic` is the clock."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._told_at: dict[str, float] = {}
        self._since: dict[str, int] = {}

    def note(self, rule: RuleRef, host: str, client: Address) -> None:
        """One more rejection."""
        now = self._monotonic()
        count = self._since[rule.name] = self._since.get(rule.name, 0) + 1
        told_at = self._told_at.get(rule.name)
        if told_at is not None and now - told_at < QUIET_SECONDS:
            return
        if len(self._told_at) >= RULES:
            self._told_at.clear()
            self._since.clear()
        self._told_at[rule.name] = now
        self._since[rule.name] = 0
        _logger.warning(
            "rule %s: %s rejected our certificate for %s (%d since last told): give the client the CA "
            "(/ca-bundle.pem) or, if it pins the destination's, write a rule for %s with inspect: false",
            rule,
            client,
            host,
            count,
            host,
        )
