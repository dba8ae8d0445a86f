"""Each import contract in pyproject.toml catches what it is there for: one bad import in a tree of empty rooms."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")
ROOMS = (
    "cli",
    "app",
    "serve",
    "intercept",
    "admin",
    "exchange",
    "insight",
    "kubernetes",
    "lock",
    "migrate",
    "net",
    "limits",
    "telemetry",
    "settings",
    "wire",
    "policy",
    "model",
)


def lint(root: Path, module: str, text: str) -> str:
    """What lint-imports says of empty rooms in which `module` holds `text`."""
    shutil.copy(ROOT / "pyproject.toml", root)
    files = {f"gateway/{room}/__init__.py": "" for room in ROOMS}
    files |= {"gateway/__init__.py": "", "gateway/model/addresses.py": "from socket import inet_pton\n", module: text}
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(content, encoding="utf-8")
    return subprocess.run([LINT_IMPORTS, "--no-cache"], cwd=root, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("contract", "module", "text"),
    [
        ("Imports go down the floors", "gateway/net/relay.py", "import gateway.serve\n"),
        ("Imports go down the floors", "gateway/net/relay.py", "import gateway.limits\n"),
        ("Imports go down the floors", "gateway/policy/decide.py", "import gateway.wire\n"),
        ("Imports go down the floors", "gateway/cellar/__init__.py", "import gateway.model\n"),
        ("Only app and cli know the settings", "gateway/serve/connection.py", "import gateway.settings\n"),
        ("admin knows telemetry and model only", "gateway/admin/health.py", "import gateway.net\n"),
        ("Imports go down the floors", "gateway/exchange/scope.py", "import gateway.admin\n"),
        ("exchange knows net, wire, policy and model only", "gateway/exchange/scope.py", "import gateway.telemetry\n"),
        ("lock knows model only", "gateway/lock/steps.py", "import gateway.policy\n"),
        ("kubernetes knows wire and model only", "gateway/kubernetes/pods.py", "import gateway.policy\n"),
        ("insight knows the formats", "gateway/insight/judging.py", "import gateway.wire\n"),
        ("migrate knows policy and model only", "gateway/migrate/rules.py", "import gateway.wire\n"),
        ("telemetry knows model only", "gateway/telemetry/recorder.py", "import gateway.policy\n"),
        ("settings knows policy and model only", "gateway/settings/loading.py", "import gateway.wire\n"),
        ("The ground floors have no clock", "gateway/wire/head.py", "import time\n"),
        ("The ground floors have no clock", "gateway/model/names.py", "import socket\n"),
        ("No import circles", "gateway/net/relay.py", "import gateway.net.dialer\n"),
    ],
)
def test_a_bad_import_breaks_its_contract(tmp_path: Path, contract: str, module: str, text: str) -> None:
    (tmp_path / "gateway" / "net").mkdir(parents=True)
    (tmp_path / "gateway" / "net" / "dialer.py").write_text("import gateway.net.relay\n", encoding="utf-8")
    report = lint(tmp_path, module, text)
    broken = [line for line in report.splitlines() if " BROKEN" in line]
    assert len(broken) == 1, report
    assert broken[0].startswith(contract), report


def test_empty_rooms_break_no_contract(tmp_path: Path) -> None:
    report = lint(tmp_path, "gateway/net/relay.py", "import asyncio\n")
    assert ", 0 broken." in report, report
