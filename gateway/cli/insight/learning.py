"""`egress-gateway learn`: turns records into rules, shown as a diff or added to the file."""

import difflib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.cli.console import answers, complaints, counted, plain, say
from gateway.cli.insight.source import Source
from gateway.cli.writing import write_whole
from gateway.insight.attempts import Attempt, Occurrences, TooMuch, fold
from gateway.insight.judging import enforced
from gateway.insight.learn import Lesson, Workload, group_names, learn, rule_names, within_reach
from gateway.insight.patch import NotAppendable, patched
from gateway.insight.reading import Unreadable
from gateway.model.errors import ConfigError
from gateway.model.reasons import Reason
from gateway.policy.index import Rules, build_rules
from gateway.policy.rules import Match, Policy
from gateway.settings.compile.policy import PolicySource, compile_policy
from gateway.settings.gateway import GatewaySettings
from gateway.settings.load import load_settings, parse_policy, read_policy, without_collector
from gateway.settings.problems import ConfigErrors
from gateway.settings.source.files import Reader, is_there
from gateway.wire.replies import status_of

Refusals = (ConfigError, ConfigErrors, NotAppendable, TooMuch, Unreadable)
"""What ends the command with status 2."""

LEARNED_FILE = "learned.yaml"
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class PolicyText:
    """The file that rules are added to, and the whole policy that it is part of."""

    path: Path
    text: str
    sources: Sequence[PolicySource]
    settings: GatewaySettings

    def with_text(self, text: str) -> Policy:
        """The policy with this text in the file's place. Raises `ConfigErrors`."""
        others = [source for source in self.sources if source.name != self.path.name]
        changed = [parse_policy(text, str(self.path), self.path.name, self.path.parent)] if text.strip() else []
        return compile_policy((*others, *changed), self.settings, Reader()).policy


@without_collector()
def learn_from(
    source: Source, config: Path | None, policy: Path | None, group_by: str | None, wildcard_from: int, write: bool
) -> None:
    """Print a diff, or write. Raises one of `Refusals`."""
    file = _open_policy(load_settings(config, os.environ, policy))
    with source.records() as records:
        attempts = fold(records, status_of(Reason.NO_RULE))
    now = time.time()
    known = file.with_text(file.text)
    lesson = learn(attempts, _rules_of(known), now, group_by, wildcard_from)
    text = _text_with(lesson, file, known)
    left = learn(within_reach(attempts, lesson), _rules_of(file.with_text(text)), now, group_by, wildcard_from)
    source.tell()
    if write and text != file.text:
        write_whole(file.path, text.encode())
    elif not write:
        _print_diff(file, text)
    _sum_up(lesson, left, attempts, file.path if write else None)


def _open_policy(settings: GatewaySettings) -> PolicyText:
    """In a directory, a file of its own; a file that does not exist will be made."""
    path = Path(settings.policy)
    sources = read_policy(settings, Reader())[0] if is_there(path) else ()
    if path.is_dir():
        path = path / LEARNED_FILE
    return PolicyText(path, path.read_bytes().decode() if path.exists() else "", sources, settings)


def _rules_of(policy: Policy) -> Rules:
    return build_rules(enforced(policy), generation=1)


def _text_with(lesson: Lesson, file: PolicyText, policy: Policy) -> str:
    taken = [group.name for group in policy.groups]
    known = {workload: group.name for group in policy.groups if (workload := _only(group.match)) is not None}
    known |= {Workload("group", name): name for name in taken}
    groups = group_names(lesson.proposals, known, taken)
    names = rule_names(lesson.proposals, (rule.name for rule in policy.rules))
    return patched(file.text, lesson.proposals, names, groups, set(groups.values()) - set(taken))


def _only(match: tuple[Match, ...]) -> Workload | None:
    """The workload that a group matches, if it is a single one by a single fact."""
    if len(match) != 1:
        return None
    for key in ("cidr", "user", "namespace", "spiffe"):
        value = getattr(match[0], key)
        if value is not None and match[0] == Match(**{key: value}):
            return Workload(key, str(value))
    return None


def _print_diff(file: PolicyText, text: str) -> None:
    before, after = (each.splitlines(keepends=True) for each in (file.text, text))
    for line in difflib.unified_diff(before, after, f"a/{file.path.name}", f"b/{file.path.name}"):
        style = "green" if line.startswith("+") else ""
        say(answers(), line.rstrip("\r\n"), style)


def _sum_up(lesson: Lesson, left: Lesson, attempts: Mapping[Attempt, Occurrences], written: Path | None) -> None:
    console = complaints()
    hosts = sum(len(proposal.hosts) + len(proposal.cidrs) for proposal in lesson.proposals)
    count = sum(tally.count for tally in attempts.values())
    file = f" in {written}" if written is not None and lesson.proposals else ""
    say(console, f"{counted(count, 'attempt')} read, {lesson.allowed_already} allowed already")
    say(console, f"{counted(len(lesson.proposals), 'rule')} for {counted(hosts, 'destination')}{file}")
    still = [f"{host}:{proposal.port}" for proposal in left.proposals for host in (*proposal.hosts, *proposal.cidrs)]
    still += [f"{where}: it {why}" for where, why in left.left_out.items() if lesson.left_out.get(where) != why]
    for destination in still[:_SHOWN]:
        say(console, plain(f"still refused: {destination}"))
    for destination, why in list(lesson.left_out.items())[:_SHOWN]:
        say(console, plain(f"no rule for {destination}: it {why}"))
    if len(lesson.left_out) > _SHOWN:
        say(console, f"and for {len(lesson.left_out) - _SHOWN} more")
