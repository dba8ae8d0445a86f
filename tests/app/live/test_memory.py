"""Memory is short when nine tenths of what is allowed are in use, the page cache not counted."""

from pathlib import Path

import pytest

from gateway.app.live.memory import Memory
from tests.helpers.descriptors import none_left

MIB = 1 << 20


def cgroup(folder: Path, limit: str, used: int, cached: int = 0) -> Path:
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {cached}\nslab 7\n")
    return folder


@pytest.mark.parametrize(
    ("limit", "used", "cached", "short"),
    [
        (str(100 * MIB), 89 * MIB, 0, False),
        (str(100 * MIB), 91 * MIB, 0, True),
        (str(100 * MIB), 99 * MIB, 20 * MIB, False),
        ("max", 999 * MIB, 0, False),
    ],
    ids=["room", "short", "cache", "no limit"],
)
def test_a_container_counts_as_the_kubelet_counts_it(
    tmp_path: Path, limit: str, used: int, cached: int, short: bool
) -> None:
    assert Memory(None, cgroup(tmp_path, limit, used, cached)).is_short() is short


def test_without_a_cgroup_nothing_is_short(tmp_path: Path) -> None:
    assert not Memory(None, tmp_path / "nowhere").is_short()
    Memory(None).is_short()  # whatever this machine has: it can be read


def test_without_a_descriptor_to_look_with_nothing_is_short() -> None:
    """The connection that has the last one could neither be let in nor refused else."""
    memory = Memory(1)
    with none_left():
        assert not memory.is_short()
    assert memory.is_short()


def test_a_limit_of_ones_own_counts_what_this_process_has() -> None:
    assert Memory(MIB).is_short()
    assert not Memory(1 << 40).is_short()
