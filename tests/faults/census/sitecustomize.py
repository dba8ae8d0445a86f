"""Runs inside the gateway where `CENSUS` names a directory: tells every half second how many tasks the process has and,
once somebody has made `PID.collect` there, how many objects only the cyclic collector found."""

import gc
import os
import threading
import time
from asyncio import tasks
from pathlib import Path

_REGISTRY = getattr(tasks, "_scheduled_tasks", None)  # since Python 3.12


def _count() -> None:
    registry = tasks._all_tasks if _REGISTRY is None else _REGISTRY  # type: ignore[attr-defined] # not public
    file = Path(os.environ["CENSUS"], str(os.getpid()))
    while True:
        time.sleep(0.5)
        if file.with_suffix(".collect").exists():
            file.with_suffix(".collect").unlink()
            _write(file.with_suffix(".garbage"), gc.collect())
        try:
            alive = sum(not task.done() for task in list(registry))
        except RuntimeError:  # it changed meanwhile
            continue
        _write(file, alive)


def _write(file: Path, number: int) -> None:
    file.with_suffix(".new").write_text(str(number))
    file.with_suffix(".new").rename(file)


if "CENSUS" in os.environ:
    threading.Thread(target=_count, name="census", daemon=True).start()
