"""What follows reloads in a serving process goes on after a fault of ours, and does not hide it."""

import asyncio
from pathlib import Path

import pytest

from gateway.app import serving as serving_module
from gateway.app.configuration import Sources, load_configuration
from gateway.app.generation.entrances import Entrances
from gateway.app.generation.in_force import InForce
from gateway.app.live import endless
from gateway.app.live.reevaluation import Reevaluation
from gateway.app.serving import Serving
from gateway.telemetry.ledger import Ledger
from tests.app.policies import reading


async def test_open_tunnels_are_judged_again_after_a_fault_in_judging_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    faults, looked = [RuntimeError("planted")], asyncio.Event()

    async def look(_: Reevaluation) -> None:
        if faults:
            raise faults.pop()
        looked.set()

    monkeypatch.setattr(Reevaluation, "look", look)
    monkeypatch.setattr(endless, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(serving_module, "_freeze", lambda: None)
    (tmp_path / "policy.yaml").write_text("rules: []\n")
    (tmp_path / "gateway.yaml").write_text("telemetry: {access_log: [{path: access.log}]}\n")
    read = load_configuration(Sources(tmp_path / "gateway.yaml"), {})
    in_force = InForce(frozenset(), Entrances(read.head.settings, read.head.materials))
    serving = Serving(asyncio.get_running_loop(), read.head.settings, [], in_force, Ledger.alone(), lambda _: True)
    await in_force.take(1, reading(lambda: read)())
    await serving.start()
    await in_force.take(2, reading(lambda: read)())
    await asyncio.wait_for(looked.wait(), 60)
    assert "the reevaluation of open tunnels failed" in caplog.text
    assert "planted" in caplog.text
    await serving.end(0.0)
