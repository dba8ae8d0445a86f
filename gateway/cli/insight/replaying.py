"""`egress-gateway replay`: recorded attempts under a candidate policy."""

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gateway.cli.console import answers, plain, say, show, show_json
from gateway.cli.insight.source import Source
from gateway.insight.attempts import Occurrences, fold
from gateway.insight.judging import enforced
from gateway.insight.replay import FlowKey, Outcome, replay
from gateway.model.reasons import Reason
from gateway.policy.index import build_rules
from gateway.settings.load import load_policy, load_settings, without_collector
from gateway.wire.replies import status_of

_COLUMNS = ("CLIENT", "DESTINATION", "COUNT", "FIRST", "LAST", "WHY")


@without_collector()
def replay_records(source: Source, config: Path | None, policy: Path | None, enforce: bool, as_json: bool) -> bool:
    """Print what changes; True if something is newly denied. Raises one of `learning.Refusals`."""
    settings = load_settings(config, os.environ, policy)
    candidate = load_policy(settings).policy
    with source.records() as records:
        attempts = fold(records, status_of(Reason.NO_RULE))
    rules = build_rules(enforced(candidate) if enforce else candidate, generation=1)
    outcome = replay(attempts, rules, time.time())
    source.tell()
    if as_json:
        show_json(_as_data(outcome))
    else:
        _print(outcome)
    return bool(outcome.newly_denied)


def _rows(flows: Mapping[FlowKey, Occurrences]) -> Iterator[tuple[FlowKey, Occurrences]]:
    """The most frequent first."""
    yield from sorted(flows.items(), key=lambda item: (-item[1].count, item[0]))


def _as_data(outcome: Outcome) -> dict[str, Any]:
    return {
        "newly_denied": [_row(*row) for row in _rows(outcome.newly_denied)],
        "newly_allowed": [_row(*row) for row in _rows(outcome.newly_allowed)],
        "still_allowed": outcome.still_allowed,
        "still_denied": outcome.still_denied,
        "unjudged": outcome.unjudged,
    }


def _row(flow: FlowKey, tally: Occurrences) -> dict[str, Any]:
    return {
        "client": flow.client,
        "destination": flow.destination,
        "count": tally.count,
        "first": tally.first,
        "last": tally.last,
        "rule": flow.verdict.rule,
        "reason": flow.verdict.reason,
    }


def _print(outcome: Outcome) -> None:
    for title, flows, style in (
        ("newly denied", outcome.newly_denied, "bold red"),
        ("newly allowed", outcome.newly_allowed, "bold green"),
    ):
        say(answers(), f"{title}: {sum(tally.count for tally in flows.values())}", style)
        if flows:
            show(answers(), _COLUMNS, list(_rows(flows)), _cells)
    say(answers(), f"still allowed: {outcome.still_allowed}, still denied: {outcome.still_denied}")
    if outcome.unjudged:
        say(answers(), f"not judged, because their client or destination is invalid: {outcome.unjudged}")


def _cells(row: tuple[FlowKey, Occurrences]) -> list[str]:
    flow, tally = row
    why = " ".join(part for part in (flow.verdict.reason, flow.verdict.rule) if part)
    return [plain(cell) for cell in (flow.client, flow.destination, str(tally.count), tally.first, tally.last, why)]
