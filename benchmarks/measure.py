"""What a proxy costs, read from /proc over its whole process tree."""

import time
from pathlib import Path

import psutil

SETTLE_INTERVAL = 0.15
SETTLE_LIMIT = 5.0


def process_tree(pid: int) -> list[psutil.Process]:
    """The process and all its descendants."""
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def cpu_seconds(pid: int) -> float:
    """User and system time of the tree so far, including ended children. The kernel counts in steps of 10 ms."""
    return sum(sum(process.cpu_times()[:4]) for process in process_tree(pid))


def settled_cpu_seconds(pid: int) -> float:
    """The same, once it no longer grows: closing what the load opened is part of the cost."""
    deadline = time.monotonic() + SETTLE_LIMIT
    before = cpu_seconds(pid)
    while time.monotonic() < deadline:
        time.sleep(SETTLE_INTERVAL)
        now = cpu_seconds(pid)
        if now - before < 0.015:  # one tick may be the proxy's own timers
            return now
        before = now
    return before


def proportional_bytes(pid: int) -> int:
    """PSS of the tree: private memory plus each process's share of what is shared."""
    return sum(process.memory_full_info().pss for process in process_tree(pid))


def forget_peak(pid: int) -> None:
    """Reset what `peak_bytes` returns."""
    for process in process_tree(pid):
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")


def peak_bytes(pid: int) -> int:
    """The most that each process of the tree had resident (VmHWM), summed."""
    statuses = (Path(f"/proc/{process.pid}/status").read_text() for process in process_tree(pid))
    return sum(int(status.partition("VmHWM:")[2].split()[0]) * 1024 for status in statuses)


def resident_bytes(pid: int) -> int:
    """RSS of the tree."""
    return sum(process.memory_info().rss for process in process_tree(pid))
