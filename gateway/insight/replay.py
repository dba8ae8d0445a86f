"""Judges recorded attempts by another policy: which would be newly refused, and which newly let through."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.insight.attempts import Attempt, Occurrences
from gateway.insight.judging import InvalidAttempt, Judge, Verdict
from gateway.policy.index import Rules


class FlowKey(NamedTuple):
    """What rows of the answer are told apart by."""

    client: str
    destination: str
    verdict: Verdict


@dataclass(slots=True)
class Outcome:
    """Attempts whose verdict changes, and how many records do not change or could not be judged."""

    newly_denied: dict[FlowKey, Occurrences] = field(default_factory=dict)
    newly_allowed: dict[FlowKey, Occurrences] = field(default_factory=dict)
    still_allowed: int = 0
    still_denied: int = 0
    unjudged: int = 0


def replay(attempts: Mapping[Attempt, Occurrences], rules: Rules, now: float) -> Outcome:
    """Judge every attempt by `rules`. `now` is Unix time in seconds (rules may expire)."""
    outcome, judge = Outcome(), Judge(rules, now)
    for attempt, tally in attempts.items():
        try:
            verdict = judge.judge(attempt, tally)
        except InvalidAttempt:
            outcome.unjudged += tally.count
            continue
        if verdict.allowed == attempt.passed:
            outcome.still_allowed += tally.count if attempt.passed else 0
            outcome.still_denied += 0 if attempt.passed else tally.count
            continue
        changed = outcome.newly_allowed if verdict.allowed else outcome.newly_denied
        changed.setdefault(FlowKey(attempt.client, attempt.destination, verdict), Occurrences()).add(tally)
    return outcome
