"""A fault of ours in a serving process costs neither what goes on beside connections nor their records."""

import asyncio
from pathlib import Path

import pytest

from gateway.app import serving as serving_module
from gateway.app.configuration import Configuration, Sources, load_configuration
from gateway.app.generation.entrances import Entrances
from gateway.app.generation.in_force import InForce
from gateway.app.live import endless
from gateway.app.live.limiting import Limiting
from gateway.app.live.reevaluation import Reevaluation
from gateway.app.serving import Serving
from gateway.telemetry.ledger import Ledger
from tests.app.policies import reading
from tests.telemetry.drafts import accepted


def made(folder: Path) -> tuple[Serving, InForce, Configuration]:
    """A process that listens nowhere, without a generation."""
    (folder / "policy.yaml").write_text("rules: []\n")
    (folder / "gateway.yaml").write_text("telemetry: {access_log: [{path: access.log}]}\n")
    read = load_configuration(Sources(folder / "gateway.yaml"), {})
    in_force = InForce(frozenset(), Entrances(read.head.settings, read.head.materials))
    serving = Serving(asyncio.get_running_loop(), read.head.settings, [], in_force, Ledger.alone(), lambda *_: True)
    return serving, in_force, read


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
    serving, in_force, read = made(tmp_path)
    await in_force.take(1, reading(lambda: read)())
    await serving.start()
    await in_force.take(2, reading(lambda: read)())
    await asyncio.wait_for(looked.wait(), 60)
    assert "the reevaluation of open tunnels failed" in caplog.text
    assert "planted" in caplog.text
    await serving.end(0.0)


async def test_records_are_written_whatever_fails_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def close(_: Limiting) -> None:
        raise RuntimeError("planted")

    serving, _, _ = made(tmp_path)
    serving.recorder.record(accepted())
    monkeypatch.setattr(Limiting, "close", close)
    with pytest.raises(RuntimeError, match="planted"):
        await serving.end(0.0)
    assert len((tmp_path / "access.log").read_text().splitlines()) == 1
