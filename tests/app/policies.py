"""Policies in files, as the process reads them."""

from pathlib import Path

from gateway.app.configuration import Configuration, load_configuration
from gateway.app.policy_in_force import PolicyInForce


def text(name: str) -> str:
    """A policy of one rule of that name."""
    return f"rules: [{{name: {name}, hosts: [{name}.test]}}]\n"


def write(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def load(path: Path) -> Configuration:
    return load_configuration(None, {}, path)


def in_force(path: Path) -> PolicyInForce:
    """What is there now, ready to be read again."""
    return PolicyInForce(load(path), lambda: load(path), frozenset())


def rules_of(policy: PolicyInForce) -> list[str]:
    """Their names, without their files."""
    return [rule.ref.name.partition("#")[2] for rule in policy.rules.policy.rules]
