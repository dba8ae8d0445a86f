"""`egress-gateway check`: everything that is wrong with configuration files, and warnings about them."""

import errno
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from gateway.app.configuration import NamedFiles, check_export, load_files
from gateway.cli.console import DAY, answers, complaints, counted, last_day, say
from gateway.model.errors import ConfigError
from gateway.policy.rules import Rule
from gateway.settings.gateway import GatewaySettings
from gateway.settings.load import GATEWAY_FILE, LoadedPolicy, load_policy, load_settings
from gateway.settings.policy import PolicyFile
from gateway.settings.problems import BadValue, ConfigErrors
from gateway.settings.section import keys_of
from gateway.settings.source.files import Reader, is_there, unreadable
from gateway.settings.source.yaml import parse_yaml

_GATEWAY_KEYS = frozenset(keys_of(GatewaySettings)) - frozenset(keys_of(PolicyFile))
_POLICY_KEYS = frozenset(keys_of(PolicyFile)) - frozenset(keys_of(GatewaySettings))

_EXPIRES_SOON = 14 * DAY
"""From so many seconds before a rule or the authority expires on there is a warning."""
_RENEWAL_OVERDUE = 3 * DAY
"""The same for other certificates, which machines renew, some of them often."""


def check_files(files: Sequence[Path], config: Path | None = None) -> bool:
    """Check each, or `./gateway.yaml` if none is named, and print all findings; False if any is invalid. `config` is
    the gateway.yaml that policies are checked with, for what they refer to: the authority of inspection, secrets."""
    verdicts = [_check(file, config) for file in files] if files else [_check_gateway(config)]
    return all(verdicts)


def _check(file: Path, config: Path | None) -> bool:
    try:
        file.stat()
        if not os.access(file, os.R_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as refusal:
        return _refuse(str(file), [ConfigError(str(file), str(unreadable(refusal)))])
    return _check_gateway(file) if is_gateway_file(file) else _check_policy(file, config)


def is_gateway_file(file: Path) -> bool:
    """By its top-level keys; where they do not tell (an empty file, broken YAML), by its name."""
    if file.is_dir():
        return False
    try:
        keys = frozenset(parse_yaml(Reader().read(file), str(file)).data)
    except (BadValue, ConfigErrors):
        keys = frozenset()
    of_gateway, of_policy = len(keys & _GATEWAY_KEYS), len(keys & _POLICY_KEYS)
    return "gateway" in file.name if of_gateway == of_policy else of_gateway > of_policy


def _check_gateway(file: Path | None) -> bool:
    name = str(file or GATEWAY_FILE)
    if file is None and not is_there(GATEWAY_FILE):
        name = f"defaults, as there is no {GATEWAY_FILE} here"
    try:
        settings = load_settings(file, os.environ)
    except ConfigErrors as refusal:
        return _refuse(name, refusal.problems)
    unloadable = [*_token_problems(settings), *_export_problems(settings)]
    try:
        named, loaded = load_files(settings)
    except ConfigErrors as refusal:
        return _refuse(name, [*refusal.problems, *unloadable])
    if unloadable:
        return _refuse(name, unloadable)
    return _accept(name, loaded, list(_certificate_warnings(named, time.time())))


def _token_problems(settings: GatewaySettings) -> Iterator[ConfigError]:
    """What a start refuses, and a reload bears: while there is no token nobody has it."""
    file = settings.admin.token_file
    if file is None:
        return
    from gateway.admin.access import TokenFile  # noqa: PLC0415  # it brings the admin server's library along

    try:
        TokenFile(file)
    except ConfigError as refusal:
        why = refusal.problem.removeprefix("admin.token_file: ")
        yield ConfigError(settings.document.place(("admin", "token_file")), f"{file}: {why}")


def _export_problems(settings: GatewaySettings) -> Iterator[ConfigError]:
    """What a start in this environment refuses."""
    try:
        check_export(settings, os.environ)
    except ConfigErrors as refusal:
        yield from refusal.problems


def _check_policy(path: Path, config: Path | None) -> bool:
    try:
        return _accept(str(path), load_policy(load_settings(config, os.environ, path)))
    except ConfigErrors as refusal:
        return _refuse(str(path), refusal.problems)


def _accept(name: str, loaded: LoadedPolicy, others: Sequence[str] = ()) -> bool:
    warnings = [*loaded.warnings, *_expiries(loaded.policy.rules, time.time()), *others]
    for warning in warnings:
        say(complaints(), f"warning: {warning}", "yellow")
    for note in loaded.notes:
        say(answers(), f"note: {note}")
    counts = [counted(len(loaded.policy.rules), "rule"), counted(len(loaded.policy.groups), "group")]
    if warnings:
        counts.append(counted(len(warnings), "warning"))
    say(answers(), f"{name}: ok, {', '.join(counts)}", "green")
    return True


def _expiries(rules: Sequence[Rule], now: float) -> Iterator[str]:
    """Rules that have expired or soon will: otherwise nothing is said before somebody is refused."""
    for rule in rules:
        if rule.expires is None or rule.expires > now + _EXPIRES_SOON:
            continue
        day = last_day(rule.expires)
        soon = f"expires soon: {day} is its last day"
        what = f"has expired ({day}): remove it, or give it a later day" if rule.expires <= now else soon
        yield f"{rule.ref.file}:{rule.ref.line}: rule {rule.name} {what}"


def _certificate_warnings(named: NamedFiles, now: float) -> Iterator[str]:
    for what, expiry in named.certificate_expiries():
        if expiry <= now:
            yield f"{what}: its certificate has expired"
        elif expiry <= now + (_EXPIRES_SOON if what == "authority" else _RENEWAL_OVERDUE):
            yield f"{what}: its certificate ends soon, at {time.strftime('%Y-%m-%d %H:%M', time.gmtime(expiry))} UTC"


def _refuse(name: str, problems: Sequence[ConfigError]) -> bool:
    for problem in problems:
        say(complaints(), str(problem), "red")
    say(answers(), f"{name}: {counted(len(problems), 'problem')}", "bold red")
    return False
