"""Log files that are set aside: by size, by time, by several processes; compressed, and not too many."""

import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.telemetry.ledger import create_locks
from gateway.telemetry.logs.rotation import Rotation, RotationPlan
from gateway.telemetry.logs.sinks import FileSink
from tests.telemetry.drafts import StillClock

LINE = b"x" * 99 + b"\n"
DAY = 86_400.0


def written(path: Path, plan: RotationPlan, batches: int, clock: StillClock | None = None, step: float = 1.0) -> None:
    """One line a batch, `step` seconds between two; each is on the disk before the next one comes."""
    clock = clock or StillClock()
    for _ in range(batches):
        clock.now += step
        sink = FileSink(str(path), rotation=Rotation(str(path), plan, clock.time))
        sink.put(LINE, 1)
        sink.close(10.0)
        assert (sink.written, sink.lost) == (1, 0)
        if path.exists():
            os.utime(path, (clock.time(), clock.time()))


def aside(path: Path) -> list[Path]:
    return sorted(each for each in path.parent.iterdir() if each != path)


def test_a_file_is_set_aside_before_it_grows_too_large(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    written(path, RotationPlan(size=250, compress=False), batches=5)
    assert [len(each.read_bytes()) for each in aside(path)] == [200, 200]
    assert path.read_bytes() == LINE


def test_a_file_of_an_earlier_day_is_set_aside(tmp_path: Path) -> None:
    path, clock = tmp_path / "access.log", StillClock()
    written(path, RotationPlan(every=DAY, compress=False), 3, clock, step=10.0)
    assert aside(path) == []
    written(path, RotationPlan(every=DAY, compress=False), 1, clock, step=DAY)
    assert [each.read_bytes() for each in aside(path)] == [LINE * 3]


def test_what_is_set_aside_is_compressed_and_not_for_everybody(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    written(path, RotationPlan(size=150), batches=2)
    (packed,) = aside(path)
    assert packed.name.startswith("access.log.2027")
    assert packed.suffix == ".gz"
    assert gzip.decompress(packed.read_bytes()) == LINE
    assert packed.stat().st_mode & 0o777 == 0o640


def test_only_so_many_are_kept_and_nothing_else_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    other = tmp_path / "access.log.bak"
    other.write_text("mine")
    written(path, RotationPlan(size=100, keep=2), batches=6)
    assert len(aside(path)) == 3
    assert other.exists()


def test_after_a_clock_was_set_back_it_is_the_newest_that_are_kept(tmp_path: Path) -> None:
    path, clock = tmp_path / "access.log", StillClock()
    written(path, RotationPlan(size=100, keep=2, compress=False), 4, clock)
    clock.now -= DAY
    written(path, RotationPlan(size=100, keep=2, compress=False), 4, clock)
    day_before = [each.name.split(".")[2][:8] for each in aside(path)]
    assert day_before == ["20270114"] * 2


def test_what_a_process_that_ended_had_compressed_in_part_is_removed(tmp_path: Path) -> None:
    path, clock = tmp_path / "access.log", StillClock()
    abandoned, fresh = (tmp_path / f".access.log.20270101T00000{n}.000000Z.gz.part" for n in range(2))
    for part, age in ((abandoned, 4000.0), (fresh, 60.0)):
        part.write_bytes(b"half")
        os.utime(part, (clock.time() - age, clock.time() - age))
    written(path, RotationPlan(size=100), 2, clock)
    assert (abandoned.exists(), fresh.exists()) == (False, True)


def test_while_one_is_compressed_its_records_are_in_one_file_of_the_pattern(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`egress-gateway report access.log*` would end at a file that is not whole yet."""
    seen: list[Path] = []
    copy = shutil.copyfileobj

    def look(*arguments: Any) -> None:
        seen.extend(tmp_path.glob("access.log.*"))
        copy(*arguments)

    monkeypatch.setattr(shutil, "copyfileobj", look)
    written(tmp_path / "access.log", RotationPlan(size=150), batches=2)
    (plain,) = seen
    assert plain.suffix != ".part"


_ONE_OF_SEVERAL = """
import sys
from gateway.telemetry.ledger import Ledger, create_page
from gateway.telemetry.logs.rotation import Rotation, RotationPlan
from gateway.telemetry.logs.sinks import FileSink
path, locks, compress = sys.argv[1:]
rotation = Rotation(path, RotationPlan(size=1000, keep=100, compress=bool(int(compress))))
sink = FileSink(path, lock=Ledger.shared(create_page(), int(locks)).lock(0), rotation=rotation)
for _ in range(30):
    sink.put(b"x" * 99 + b"\\n", 1)
sink.close(10)
print(sink.written, sink.lost)
"""


@pytest.mark.parametrize("compress", ["0", "1"])
def test_several_processes_set_one_file_aside_once_and_lose_no_line(tmp_path: Path, compress: str) -> None:
    path, locks = tmp_path / "access.log", create_locks()
    command = [sys.executable, "-c", _ONE_OF_SEVERAL, str(path), str(locks), compress]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=[locks]) for _ in range(3)]
    assert [process.communicate(timeout=60)[0].split() for process in processes] == [[b"30", b"0"]] * 3
    files = [path, *aside(path)]
    texts = [gzip.decompress(each.read_bytes()) if each.suffix == ".gz" else each.read_bytes() for each in files]
    assert b"".join(texts) == LINE * 90
    assert {len(text) for text in texts[1:]} == {1000}


def test_what_is_being_compressed_was_open_to_others_at_no_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes, change = [], Path.chmod

    def look(self: Path, mode: int) -> None:
        modes.append(self.stat().st_mode & 0o777)
        change(self, mode)

    monkeypatch.setattr(Path, "chmod", look)
    umask = os.umask(0)
    try:
        written(tmp_path / "access.log", RotationPlan(size=150), batches=2)
    finally:
        os.umask(umask)
    assert modes == [0o640]


def test_a_file_that_cannot_be_set_aside_is_written_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "access.log"

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    written(path, RotationPlan(size=150), batches=3)
    assert path.read_bytes() == LINE * 3
