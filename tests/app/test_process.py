"""How many processes serve."""

import os
from pathlib import Path

import pytest

from gateway.app.process import count_workers
from gateway.settings.gateway import GatewaySettings

CPUS = len(os.sched_getaffinity(0))


def test_as_many_as_the_file_says(tmp_path: Path) -> None:
    assert count_workers(GatewaySettings()) == 1
    assert count_workers(GatewaySettings(workers=3), tmp_path / "none") == 3


@pytest.mark.parametrize(
    ("quota", "workers"), [("max 100000", CPUS), ("100000 100000", 1), ("50000 100000", 1), ("900000 1000", CPUS)]
)
def test_auto_is_one_for_each_cpu_that_may_be_used(tmp_path: Path, quota: str, workers: int) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    auto = GatewaySettings(workers="auto")
    assert count_workers(auto, file) == workers
    assert count_workers(auto, tmp_path / "none") == CPUS
