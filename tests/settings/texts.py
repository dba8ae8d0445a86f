"""Short ways from a text in a test to what the settings make of it."""

from pathlib import Path
from textwrap import dedent

from gateway.settings.compile.policy import Compiled, compile_policy
from gateway.settings.gateway import GatewaySettings
from gateway.settings.load import load_settings, parse_policy
from gateway.settings.problems import ConfigErrors
from gateway.settings.source.files import Reader


def compile_text(text: str, directory: Path = Path(), settings: GatewaySettings | None = None) -> Compiled:
    """The policy in `text`, whether or not its features exist. The file is called policy.yaml."""
    source = parse_policy(dedent(text), directory=directory)
    return compile_policy([source], settings or GatewaySettings(), Reader())


def policy_problems(text: str, directory: Path = Path()) -> list[str]:
    """What is wrong with the policy in `text`; empty if nothing."""
    try:
        compile_text(text, directory)
    except ConfigErrors as refusal:
        return [str(problem) for problem in refusal.problems]
    return []


def write(directory: Path, name: str, text: str) -> Path:
    """A file with that text, its indentation taken off."""
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text), encoding="utf-8")
    return path


def settings_problems(directory: Path, text: str, environ: dict[str, str] | None = None) -> list[str]:
    """What `run` has against gateway.yaml with that text, the directory taken off the file's name."""
    path = write(directory, "gateway.yaml", text)
    try:
        load_settings(path, environ or {})
    except ConfigErrors as refusal:
        return [str(problem).replace(f"{directory}/", "") for problem in refusal.problems]
    return []
