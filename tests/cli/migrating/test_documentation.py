"""What docs/equivalents.md says that `import` prints, it prints."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli.main import app

PAGE = (Path(__file__).parents[3] / "docs" / "equivalents.md").read_text(encoding="utf-8")
EXAMPLE = re.compile(
    r"^`(\S+\.yaml)`:\n\n```yaml\n(.*?)```\n\n`egress-gateway (import [^`]+)` prints:\n\n```yaml\n(.*?)```",
    re.MULTILINE | re.DOTALL,
)


@pytest.mark.parametrize(("file", "source", "command", "printed"), EXAMPLE.findall(PAGE), ids=lambda text: text[:20])
def test_an_import_prints_what_stands_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, source: str, command: str, printed: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(file).write_text(source, encoding="utf-8")
    result = CliRunner().invoke(app, command.split())
    assert (result.exit_code, result.stdout) == (0, printed)


def test_there_are_examples() -> None:
    assert [command.split()[1] for _, _, command, _ in EXAMPLE.findall(PAGE)] == ["network-policy", "istio"]
